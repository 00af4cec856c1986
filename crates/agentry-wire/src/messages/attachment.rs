//! Images and files, between the parts of chat completions and the sources of blocks.

use agentry_core::model::ModelError;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Map, Value};

use super::turns::{Block, Notes, Place, Source};

/// `data:TYPE;base64,DATA`, taken apart.
pub(crate) fn data_uri(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?;
    let media_type = media_type.split(';').next().unwrap_or(media_type);
    Some((if media_type.is_empty() { "text/plain" } else { media_type }, data))
}

fn is_remote(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

pub(super) fn image<'a>(
    image_url: &'a Value,
    extra: &'a Map<String, Value>,
    at: Place,
) -> Result<Block<'a>, ModelError> {
    // Some clients send the URL itself.
    let url = image_url.get("url").unwrap_or(image_url).as_str().unwrap_or("");
    let source = match data_uri(url) {
        // The word that many use is not the word there is.
        Some(("image/jpg", data)) => Source::Base64 { media_type: "image/jpeg", data },
        Some((media_type, data)) => Source::Base64 { media_type, data },
        None if is_remote(url) => Source::Url { url },
        None => {
            return Err(
                at.refused("an image is an https URL or a URI like data:image/png;base64,…")
            );
        }
    };
    let notes = Notes { cache_control: Notes::new(extra).cache_control, ..Notes::default() };
    Ok(Block::Image { source, notes, at })
}

/// `{"type": "file", "file": {"filename", "file_data" or "file_id"}}`.
pub(super) fn file(fields: &Map<String, Value>, at: Place) -> Result<Block<'_>, ModelError> {
    let file = fields.get("file").unwrap_or(&Value::Null);
    let text = |name: &str| file.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut notes = Notes::new(fields);
    notes.title = notes.title.or_else(|| text("filename"));
    let document = |source| Ok(Block::Document { source, notes, at });
    if let Some(data) = text("file_data") {
        return match data_uri(data) {
            Some((media_type, data)) if media_type.starts_with("image/") => {
                let notes = Notes { cache_control: notes.cache_control, ..Notes::default() };
                Ok(Block::Image { source: Source::Base64 { media_type, data }, notes, at })
            }
            Some((media_type, data)) if is_text(media_type) => {
                let bytes = BASE64_STANDARD.decode(data.trim_ascii());
                let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let Some(data) = text else {
                    return Err(
                        at.refused("the file is said to be text but is not UTF-8 in base64")
                    );
                };
                document(Source::Text { media_type: "text/plain", data })
            }
            Some((media_type, data)) => document(Source::Base64 { media_type, data }),
            None if is_remote(data) => document(Source::Url { url: data }),
            None => Err(at.refused(
                "`file_data` is a URI like data:application/pdf;base64,… or an https URL",
            )),
        };
    }
    match text("file_id") {
        Some(file_id) => document(Source::File { file_id }),
        None => Err(at.refused("a file needs `file_data` or `file_id`")),
    }
}

pub(crate) fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/") || media_type == "application/json"
}
