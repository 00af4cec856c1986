//! A conversation as vendors see it whose turns alternate and hold blocks: instructions apart, results of tools in the
//! user's turns, thoughts where they were.
//!
//! Serialised, these are the blocks of Anthropic's Messages. Nothing is copied that can be borrowed from the request.

use std::borrow::Cow;

use agentry_core::chat::{ChatRequest, Content, Message, Part, Role};
use agentry_core::model::ModelError;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::attachment;
use crate::reasoning;

/// What is sent: first the instructions, then the turns.
#[derive(Debug, Default)]
pub(crate) struct Conversation<'a> {
    pub(crate) system: Vec<Block<'a>>,
    pub(crate) turns: Vec<Turn<'a>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Turn<'a> {
    pub(crate) role: Speaker,
    pub(crate) content: Vec<Block<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Speaker {
    User,
    Assistant,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Block<'a> {
    Text {
        text: Cow<'a, str>,
        #[serde(flatten)]
        notes: Notes<'a>,
    },
    Image {
        source: Source<'a>,
        #[serde(flatten)]
        notes: Notes<'a>,
        #[serde(skip)]
        at: Place,
    },
    Document {
        source: Source<'a>,
        #[serde(flatten)]
        notes: Notes<'a>,
        #[serde(skip)]
        at: Place,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: Cow<'a, RawValue>,
        #[serde(flatten)]
        notes: Notes<'a>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<Self>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        #[serde(flatten)]
        notes: Notes<'a>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    /// In the vendor's own words.
    #[serde(untagged)]
    Own {
        #[serde(flatten)]
        fields: &'a Map<String, Value>,
        #[serde(skip)]
        at: Place,
    },
}

/// What may stand beside any block.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Notes<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) citations: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_control: Option<&'a Value>,
}

impl<'a> Notes<'a> {
    pub(crate) fn new(extra: &'a Map<String, Value>) -> Self {
        let given = |name: &str| extra.get(name).filter(|value| !value.is_null());
        Self {
            title: given("title").and_then(Value::as_str),
            context: given("context"),
            citations: given("citations"),
            cache_control: given("cache_control"),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Text { media_type: &'a str, data: String },
    Url { url: &'a str },
    File { file_id: &'a str },
}

/// Where in the request something is: which message, which part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) message: usize,
    pub(crate) part: usize,
}

impl Place {
    /// The upstream has no way to take what is here.
    pub(crate) fn refused(self, message: impl Into<String>) -> ModelError {
        let Self { message: at, part } = self;
        refused(&format!("messages[{at}].content[{part}]"), message)
    }
}

/// The request has something that this upstream cannot be asked for.
pub(crate) fn refused(param: &str, message: impl Into<String>) -> ModelError {
    ModelError::Invalid {
        message: message.into(),
        param: Some(param.to_owned()),
        upstream_code: None,
    }
}

impl<'a> Conversation<'a> {
    pub(crate) fn of(request: &'a ChatRequest) -> Result<Self, ModelError> {
        let mut conversation = Self::default();
        for (at, message) in request.messages.iter().enumerate() {
            match message.role {
                Role::System | Role::Developer => {
                    let blocks = said(message, at)?;
                    conversation.system.extend(blocks);
                }
                Role::User => conversation.turn(Speaker::User, said(message, at)?),
                Role::Assistant => conversation.turn(Speaker::Assistant, assistant(message, at)?),
                Role::Tool => conversation.turn(Speaker::User, vec![result(message, at)?]),
            }
        }
        Ok(conversation)
    }

    /// One speaker's messages that follow one another are one turn. Results come first in it, as vendors demand.
    fn turn(&mut self, role: Speaker, blocks: Vec<Block<'a>>) {
        match self.turns.last_mut() {
            Some(last) if last.role == role => last.content.extend(blocks),
            _ if blocks.is_empty() && role == Speaker::Assistant => {}
            _ => self.turns.push(Turn { role, content: blocks }),
        }
        if let Some(last) = self.turns.last_mut() {
            last.content.sort_by_key(|block| !matches!(block, Block::ToolResult { .. }));
        }
    }
}

fn said(message: &Message, at: usize) -> Result<Vec<Block<'_>>, ModelError> {
    let mut blocks = match &message.content {
        None => Vec::new(),
        Some(Content::Text(text)) => text_block(text, Notes::default()).into_iter().collect(),
        Some(Content::Parts(parts)) => {
            let mut blocks = Vec::with_capacity(parts.len());
            for (part_at, part) in parts.iter().enumerate() {
                blocks.extend(self::part(part, Place { message: at, part: part_at })?);
            }
            blocks
        }
    };
    if let Some(marker) = message.extra.get("cache_control").filter(|marker| !marker.is_null())
        && let Some(notes) = blocks.last_mut().and_then(Block::notes)
    {
        notes.cache_control = notes.cache_control.or(Some(marker));
    }
    Ok(blocks)
}

impl<'a> Block<'a> {
    fn notes(&mut self) -> Option<&mut Notes<'a>> {
        match self {
            Self::Text { notes, .. }
            | Self::Image { notes, .. }
            | Self::Document { notes, .. }
            | Self::ToolUse { notes, .. }
            | Self::ToolResult { notes, .. } => Some(notes),
            Self::Thinking { .. } | Self::RedactedThinking { .. } | Self::Own { .. } => None,
        }
    }
}

/// Vendors refuse blocks without text.
fn text_block<'a>(text: &'a str, notes: Notes<'a>) -> Option<Block<'a>> {
    (!text.is_empty()).then(|| Block::Text { text: text.into(), notes })
}

fn part(part: &Part, at: Place) -> Result<Option<Block<'_>>, ModelError> {
    match part {
        Part::Text { text, extra } => {
            // Only these two mean something to a vendor that has blocks.
            let Notes { citations, cache_control, .. } = Notes::new(extra);
            Ok(text_block(text, Notes { citations, cache_control, ..Notes::default() }))
        }
        Part::ImageUrl { image_url, extra } => attachment::image(image_url, extra, at).map(Some),
        Part::Other(fields) => match fields.get("type").and_then(Value::as_str).unwrap_or("") {
            "file" => attachment::file(fields, at).map(Some),
            "refusal" => {
                let text = fields.get("refusal").and_then(Value::as_str).unwrap_or("");
                Ok(text_block(text, Notes::default()))
            }
            kind if is_own(kind) => Ok(Some(Block::Own { fields, at })),
            kind => Err(at.refused(format!("this upstream takes no part of type `{kind}`"))),
        },
    }
}

/// Blocks of Messages for which chat completions have no word.
pub(super) fn is_own(kind: &str) -> bool {
    matches!(
        kind,
        "image"
            | "document"
            | "search_result"
            | "container_upload"
            | "server_tool_use"
            | "mcp_tool_use"
            | "compaction"
            | "tool_reference"
            | "browser_state"
    ) || kind.ends_with("_tool_result")
}

/// The field of an assistant's message that holds what happened on the vendor's side: server tools and their results.
pub const OWN_BLOCKS: &str = "content_blocks";

/// Thoughts first: they came before what was said and called.
fn assistant(message: &Message, at: usize) -> Result<Vec<Block<'_>>, ModelError> {
    let mut blocks: Vec<Block<'_>> =
        reasoning::details_of(message, reasoning::ANTHROPIC).filter_map(thought).collect();
    let own = message.extra.get(OWN_BLOCKS).and_then(Value::as_array).into_iter().flatten();
    blocks.extend(own.filter_map(Value::as_object).map(|fields| {
        let at = Place { message: at, part: 0 };
        Block::Own { fields, at }
    }));
    blocks.extend(said(message, at)?);
    blocks.extend(
        message.refusal.as_deref().and_then(|refusal| text_block(refusal, Notes::default())),
    );
    for call in &message.tool_calls {
        blocks.push(Block::ToolUse {
            id: plain_id(&call.id),
            name: &call.name,
            input: input(&call.arguments),
            notes: Notes::new(&call.extra),
        });
    }
    Ok(blocks)
}

/// Other vendors' names of calls may have signs that are refused here. A call and its result are renamed alike.
fn plain_id(id: &str) -> Cow<'_, str> {
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '-');
    if id.chars().all(is_plain) {
        return id.into();
    }
    id.chars().map(|sign| if is_plain(sign) { sign } else { '_' }).collect::<String>().into()
}

fn thought(detail: &Value) -> Option<Block<'_>> {
    let text = |name: &str| detail.get(name).and_then(Value::as_str);
    match text("type")? {
        "reasoning.text" => Some(Block::Thinking {
            thinking: text("text").unwrap_or(""),
            signature: text("signature").filter(|signature| !signature.is_empty())?,
        }),
        "reasoning.encrypted" => Some(Block::RedactedThinking { data: text("data")? }),
        _ => None,
    }
}

/// Arguments must be an object there. What a model wrote that is none is kept under a name.
fn input(arguments: &str) -> Cow<'_, RawValue> {
    let object = |text: &str| text.trim_ascii_start().starts_with('{');
    match serde_json::from_str::<&RawValue>(arguments) {
        Ok(raw) if object(raw.get()) => Cow::Borrowed(raw),
        _ => {
            let text = if arguments.trim().is_empty() {
                "{}".to_owned()
            } else {
                let mut fields = Map::new();
                fields.insert("input".to_owned(), arguments.into());
                Value::Object(fields).to_string()
            };
            Cow::Owned(RawValue::from_string(text).unwrap_or_default())
        }
    }
}

fn result(message: &Message, at: usize) -> Result<Block<'_>, ModelError> {
    let mut content = said(message, at)?;
    // The marker belongs to the result itself.
    if message.extra.contains_key("cache_control")
        && let Some(notes) = content.last_mut().and_then(Block::notes)
    {
        notes.cache_control = None;
    }
    Ok(Block::ToolResult {
        tool_use_id: plain_id(message.tool_call_id.as_deref().unwrap_or_default()),
        content,
        is_error: message.extra.get("is_error").and_then(Value::as_bool).unwrap_or(false),
        notes: Notes {
            cache_control: message.extra.get("cache_control").filter(|marker| !marker.is_null()),
            ..Notes::default()
        },
    })
}
