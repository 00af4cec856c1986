//! Blocks in Converse's words.

use std::borrow::Cow;

use agentry_core::model::ModelError;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::messages::Turn as Said;
use crate::messages::{Block, Notes, Place, Source, Speaker};

#[derive(Serialize)]
pub(super) struct Turn<'a> {
    role: Speaker,
    content: Vec<Piece<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Piece<'a> {
    Text(Cow<'a, str>),
    Image {
        format: &'a str,
        source: Bytes<'a>,
    },
    Document {
        format: &'static str,
        name: String,
        source: Bytes<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        context: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        citations: Option<&'a Value>,
    },
    ToolUse {
        tool_use_id: Cow<'a, str>,
        name: &'a str,
        input: Cow<'a, RawValue>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<Self>,
        status: &'static str,
    },
    ReasoningContent(Thought<'a>),
    CachePoint(CachePoint<'a>),
}

#[derive(Serialize)]
pub(super) struct Bytes<'a> {
    /// In base64.
    bytes: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Thought<'a> {
    ReasoningText { text: &'a str, signature: &'a str },
    RedactedContent(&'a str),
}

#[derive(Serialize)]
pub(super) struct CachePoint<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'a str>,
}

/// Everything before it is to be cached.
pub(super) fn cache_point(marker: &Value) -> CachePoint<'_> {
    CachePoint { kind: "default", ttl: marker.get("ttl").and_then(Value::as_str) }
}

impl<'a> Turn<'a> {
    pub(super) fn of(turn: Said<'a>) -> Result<Self, ModelError> {
        let Said { role, content } = turn;
        Ok(Self { role, content: all(content)? })
    }
}

pub(super) fn all(blocks: Vec<Block<'_>>) -> Result<Vec<Piece<'_>>, ModelError> {
    let mut pieces = Vec::with_capacity(blocks.len());
    for block in blocks {
        let marker = marker(&block);
        pieces.extend(piece(block)?);
        pieces.extend(marker.map(|marker| Piece::CachePoint(cache_point(marker))));
    }
    Ok(pieces)
}

fn marker<'a>(block: &Block<'a>) -> Option<&'a Value> {
    match block {
        Block::Text { notes, .. }
        | Block::Image { notes, .. }
        | Block::Document { notes, .. }
        | Block::ToolUse { notes, .. }
        | Block::ToolResult { notes, .. } => notes.cache_control,
        Block::Thinking { .. } | Block::RedactedThinking { .. } | Block::Own { .. } => None,
    }
}

fn piece(block: Block<'_>) -> Result<Option<Piece<'_>>, ModelError> {
    Ok(Some(match block {
        // A blank text is refused.
        Block::Text { text, .. } if text.trim().is_empty() => return Ok(None),
        Block::Text { text, .. } => Piece::Text(text),
        Block::Image { source, at, .. } => image(source, at)?,
        Block::Document { source, notes, at } => document(source, notes, at)?,
        Block::ToolUse { id, name, input, .. } => Piece::ToolUse { tool_use_id: id, name, input },
        Block::ToolResult { tool_use_id, content, is_error, .. } => {
            let mut content = all(content)?;
            if content.is_empty() {
                // Something is demanded.
                content.push(Piece::Text("(no output)".into()));
            }
            let status = if is_error { "error" } else { "success" };
            Piece::ToolResult { tool_use_id, content, status }
        }
        Block::Thinking { thinking: text, signature } => {
            Piece::ReasoningContent(Thought::ReasoningText { text, signature })
        }
        Block::RedactedThinking { data } => Piece::ReasoningContent(Thought::RedactedContent(data)),
        Block::Own { fields, at } => {
            let kind = fields.get("type").and_then(Value::as_str).unwrap_or("");
            return Err(at.refused(format!("this upstream takes no block of type `{kind}`")));
        }
    }))
}

fn image(source: Source<'_>, at: Place) -> Result<Piece<'_>, ModelError> {
    let Source::Base64 { media_type, data } = source else {
        return Err(at.refused("this upstream fetches nothing: send the image as a data URI"));
    };
    match media_type.strip_prefix("image/") {
        Some(format @ ("png" | "jpeg" | "gif" | "webp")) => {
            Ok(Piece::Image { format, source: Bytes { bytes: data.into() } })
        }
        _ => {
            Err(at
                .refused(format!("this upstream takes png, jpeg, gif and webp, not {media_type}")))
        }
    }
}

fn document<'a>(source: Source<'a>, notes: Notes<'a>, at: Place) -> Result<Piece<'a>, ModelError> {
    let (format, bytes) = match source {
        Source::Text { data, .. } => ("txt", BASE64_STANDARD.encode(data).into()),
        Source::Base64 { media_type, data } => match format_of(media_type) {
            Some(format) => (format, data.into()),
            None => {
                return Err(at.refused(format!("this upstream reads no {media_type}")));
            }
        },
        Source::Url { .. } | Source::File { .. } => {
            return Err(at.refused("this upstream fetches nothing: send the file as a data URI"));
        }
    };
    let Place { message, part } = at;
    let name = name(notes.title.unwrap_or("document"), &format!("{message}-{part}"));
    let Notes { context, citations, .. } = notes;
    Ok(Piece::Document { format, name, source: Bytes { bytes }, context, citations })
}

fn format_of(media_type: &str) -> Option<&'static str> {
    Some(match media_type {
        "application/pdf" => "pdf",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        _ => return None,
    })
}

/// Names are unique, and have few signs and no two spaces in a row.
fn name(title: &str, suffix: &str) -> String {
    let plain: String = title
        .chars()
        .map(|sign| if sign.is_ascii_alphanumeric() || "-()[]".contains(sign) { sign } else { ' ' })
        .take(100)
        .collect();
    let words: Vec<&str> = plain.split_whitespace().chain([suffix]).collect();
    words.join(" ")
}
