//! The forms in which vectors are written.

use std::borrow::Cow;

use agentry_core::embed::Vector;
use agentry_core::model::ModelError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

/// Whole numbers are not made floats, and several forms at once stay what they are.
pub(super) fn read(raw: &RawValue) -> Result<Vector, ModelError> {
    let malformed =
        |error: serde_json::Error| ModelError::Malformed { reason: format!("a vector: {error}") };
    let text = raw.get();
    let fractions = text.contains(['.', 'e', 'E']);
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(text).map(Vector::Base64),
        Some(b'[') if fractions => serde_json::from_str(text).map(Vector::Floats),
        _ => serde_json::from_str(text).map(Vector::Other),
    }
    .map_err(malformed)
}

/// Little-endian, as every client reads them.
#[must_use]
pub fn to_base64(floats: &[f32]) -> String {
    let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

/// The numbers of a vector, if that is what it holds.
#[must_use]
pub fn floats(vector: &Vector) -> Option<Cow<'_, [f32]>> {
    match vector {
        Vector::Floats(floats) => Some(Cow::Borrowed(floats)),
        Vector::Base64(text) => {
            let bytes = STANDARD.decode(text).ok()?;
            let (floats, rest) = bytes.as_chunks::<4>();
            rest.is_empty().then(|| floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        }
        Vector::Other(value) => {
            value.as_array()?.iter().map(|number| Some(number.as_f64()? as f32)).collect()
        }
    }
}
