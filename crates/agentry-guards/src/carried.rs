//! What stands in fields that have no type of their own: text, data, or text that travels as data.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

/// Fields whose strings are not text: changing them would break what they carry.
const OPAQUE: [&str; 14] = [
    "id",
    "type",
    "role",
    "name",
    "format",
    "signature",
    "thought_signature",
    "encrypted_content",
    "data",
    "file_data",
    "file_id",
    "url",
    "mime_type",
    "media_type",
];

/// What a string in a field is.
pub(crate) enum Carried<'a> {
    Text,
    /// A file of text in base64, behind the head of a URI.
    File {
        head: &'a str,
        text: String,
    },
    /// Nothing to be read, nor to be changed.
    Data,
}

/// `is_text` says what the object is in which the field stands.
pub(crate) fn carried<'a>((name, is_text): (&str, bool), value: &'a str) -> Carried<'a> {
    // The source of a document may be its text.
    if !OPAQUE.contains(&name) || (name == "data" && is_text) {
        return Carried::Text;
    }
    if name == "file_data"
        && let Some((head, text)) = file(value)
    {
        return Carried::File { head, text };
    }
    Carried::Data
}

pub(crate) fn is_text(fields: &Map<String, Value>) -> bool {
    fields.get("type").and_then(Value::as_str) == Some("text")
}

pub(crate) fn is_opaque(name: &str) -> bool {
    OPAQUE.contains(&name)
}

/// The file behind the head of its URI.
pub(crate) fn encode(head: &str, text: &str) -> String {
    format!("{head}{}", STANDARD.encode(text))
}

/// Whoever reads the file may be less strict than the standard.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Nothing when it is elsewhere, or not made of text, whatever its type says.
fn file(value: &str) -> Option<(&str, String)> {
    let data = match value.strip_prefix("data:") {
        Some(uri) => uri.split_once(',')?.1,
        None => value,
    };
    let head = value.strip_suffix(data).unwrap_or_default();
    let data: Vec<u8> = data.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let text = String::from_utf8(LENIENT.decode(data).ok()?).ok()?;
    Some((head, text))
}

/// The bytes of text in them.
pub(crate) fn size_of_fields(fields: &Map<String, Value>) -> usize {
    let is_text = is_text(fields);
    let of_field = |(name, value): (&String, &Value)| match value {
        Value::String(text) => match carried((name, is_text), text) {
            Carried::Text => text.len(),
            Carried::File { head: _, text } => text.len(),
            Carried::Data => 0,
        },
        value => size_of_value(value),
    };
    fields.iter().map(of_field).sum()
}

fn size_of_value(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(size_of_value).sum(),
        Value::Object(fields) => size_of_fields(fields),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
