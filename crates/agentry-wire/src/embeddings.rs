//! OpenAI's embeddings: what callers send and get, and what OpenAI and everyone compatible with it is sent and answers.
//!
//! A vector is kept as it was written. Only when the caller asked for the other of the two common forms is it rewritten.

mod vector;

use agentry_core::chat::{Invalid, Usage};
use agentry_core::embed::{EmbeddingInput, EmbeddingRequest, EmbeddingResponse, Vector};
use agentry_core::model::ModelError;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

pub use vector::{floats, to_base64};

/// Reads a request body that is already JSON, and names the parameter that is wrong.
pub fn request(body: Value) -> Result<EmbeddingRequest, Invalid> {
    let Value::Object(mut fields) = body else {
        return Err(invalid("", "the body must be a JSON object"));
    };
    let model: String = take(&mut fields, "model")?.unwrap_or_default();
    if model.is_empty() {
        return Err(invalid("model", "name a model; GET /v1/models lists them"));
    }
    let input = inputs(fields.shift_remove("input").unwrap_or_default())?;
    let request = EmbeddingRequest {
        model,
        input,
        dimensions: take(&mut fields, "dimensions")?,
        encoding_format: take(&mut fields, "encoding_format")?,
        user: take(&mut fields, "user")?,
        extra: fields,
    };
    if request.dimensions == Some(0) {
        return Err(invalid("dimensions", "at least one dimension is needed"));
    }
    Ok(request)
}

/// A text, texts, tokens, or several of either.
fn inputs(input: Value) -> Result<Vec<EmbeddingInput>, Invalid> {
    let kinds = "input is a string, an array of strings, an array of tokens, or an array of such";
    let items = match input {
        Value::String(text) => return Ok(vec![EmbeddingInput::Text(text)]),
        Value::Array(items) => items,
        _ => return Err(invalid("input", kinds)),
    };
    match items.first() {
        None => Err(invalid("input", "at least one input is needed")),
        Some(Value::Number(_)) => Ok(vec![tokens(items, "input")?]),
        Some(_) => items
            .into_iter()
            .enumerate()
            .map(|(at, item)| match item {
                Value::String(text) => Ok(EmbeddingInput::Text(text)),
                Value::Array(items) => tokens(items, &format!("input[{at}]")),
                _ => Err(invalid(&format!("input[{at}]"), kinds)),
            })
            .collect(),
    }
}

fn tokens(items: Vec<Value>, param: &str) -> Result<EmbeddingInput, Invalid> {
    if items.is_empty() {
        return Err(invalid(param, "at least one token is needed"));
    }
    let tokens: Option<Vec<u32>> =
        items.iter().map(|item| item.as_u64().and_then(|token| token.try_into().ok())).collect();
    tokens
        .map(EmbeddingInput::Tokens)
        .ok_or_else(|| invalid(param, "tokens are whole numbers that are not negative"))
}

/// The body for an upstream.
pub fn body(request: &EmbeddingRequest) -> Result<Bytes, ModelError> {
    let EmbeddingRequest { model, input, dimensions, encoding_format, user, extra } = request;
    let body = Body {
        model,
        input: input.iter().map(Input::from).collect(),
        dimensions: *dimensions,
        encoding_format: encoding_format.as_deref(),
        user: user.as_deref(),
        extra,
    };
    serde_json::to_vec(&body)
        .map(Bytes::from)
        .map_err(|error| ModelError::Internal { reason: error.to_string() })
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: Vec<Input<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_format: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Input<'a> {
    Text(&'a str),
    Tokens(&'a [u32]),
}

impl<'a> From<&'a EmbeddingInput> for Input<'a> {
    fn from(input: &'a EmbeddingInput) -> Self {
        match input {
            EmbeddingInput::Text(text) => Self::Text(text),
            EmbeddingInput::Tokens(tokens) => Self::Tokens(tokens),
        }
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    model: Option<String>,
    #[serde(borrow, default)]
    data: Option<Vec<Item<'a>>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(default)]
    index: Option<usize>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

/// Reads an upstream's answer, of whatever order. Some servers report an error under a good status.
pub fn response(body: &[u8], model: &str) -> Result<EmbeddingResponse, ModelError> {
    let malformed = |reason: String| ModelError::Malformed { reason };
    let answer: Answer<'_> =
        serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
    if let Some(error) = answer.error.filter(|error| !error.is_null()) {
        return Err(crate::error::from_good_status(&error, model));
    }
    let data = answer.data.ok_or_else(|| malformed("it has no data".to_owned()))?;
    let mut vectors = Vec::with_capacity(data.len());
    for (at, item) in data.into_iter().enumerate() {
        vectors.push((item.index.unwrap_or(at), vector::read(item.embedding)?));
    }
    vectors.sort_by_key(|(index, _)| *index);
    if vectors.iter().zip(0_usize..).any(|((index, _), at)| *index != at) {
        return Err(malformed("its vectors are not numbered one after the other".to_owned()));
    }
    Ok(EmbeddingResponse {
        model: answer.model.filter(|name| !name.is_empty()).unwrap_or_else(|| model.to_owned()),
        vectors: vectors.into_iter().map(|(_, vector)| vector).collect(),
        usage: answer.usage,
        extra: Map::new(),
    })
}

/// The body of the answer, with vectors in the form that the caller asked for.
pub fn whole(response: &EmbeddingResponse, encoding_format: Option<&str>) -> Vec<u8> {
    let EmbeddingResponse { model, vectors, usage, extra } = response;
    let data: Vec<Told<'_>> = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| Told {
            object: "embedding",
            index,
            embedding: Written { vector, encoding_format },
        })
        .collect();
    let prompt_tokens = usage.as_ref().map_or(0, |usage| usage.input_tokens);
    let total_tokens = usage.as_ref().map_or(0, Usage::total_tokens);
    let answer = Whole {
        object: "list",
        data,
        model,
        usage: Counted { prompt_tokens, total_tokens },
        extra,
    };
    // Strings and numbers only: this cannot fail.
    serde_json::to_vec(&answer).unwrap_or_default()
}

#[derive(Serialize)]
struct Whole<'a> {
    object: &'static str,
    data: Vec<Told<'a>>,
    model: &'a str,
    usage: Counted,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct Counted {
    prompt_tokens: u64,
    total_tokens: u64,
}

#[derive(Serialize)]
struct Told<'a> {
    object: &'static str,
    index: usize,
    embedding: Written<'a>,
}

struct Written<'a> {
    vector: &'a Vector,
    encoding_format: Option<&'a str>,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { vector, encoding_format } = self;
        match (vector, encoding_format) {
            (Vector::Floats(floats), Some("base64")) => to_base64(floats).serialize(serializer),
            (Vector::Floats(floats), _) => floats.serialize(serializer),
            (Vector::Base64(text), None | Some("float")) => match floats(vector) {
                Some(floats) => floats.serialize(serializer),
                None => text.serialize(serializer),
            },
            (Vector::Base64(text), Some(_)) => text.serialize(serializer),
            (Vector::Other(value), _) => value.serialize(serializer),
        }
    }
}

fn invalid(param: &str, reason: &str) -> Invalid {
    Invalid { param: param.to_owned(), reason: reason.to_owned() }
}

fn take<T: DeserializeOwned>(
    fields: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<T>, Invalid> {
    match fields.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value)
            .map(Some)
            .map_err(|error| invalid(name, &error.to_string())),
    }
}

#[cfg(test)]
mod tests;
