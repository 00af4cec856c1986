//! Chat completions that pass as they are.

use std::sync::LazyLock;

use agentry_core::chat::{FinishReason, Usage};
use agentry_core::model::ModelError;
use agentry_core::relay::{Marks, RawWhole};
use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Report, from_good_status};
use crate::tap::{Pass, Read, worse};

/// Reads the marks off a streamed chat completion. Most chunks only carry text: they are not parsed.
#[derive(Debug, Default)]
pub struct Reader {
    /// Choices that have begun, and whether they have ended.
    choices: Vec<(u32, bool)>,
    /// Something was said: before that, every chunk is looked at.
    said: bool,
    /// The caller did not ask for it.
    withholds_usage: bool,
    /// How many choices were asked for.
    choices_max: usize,
}

impl Reader {
    #[must_use]
    pub fn new(choices_max: usize, withholds_usage: bool) -> Self {
        Self { choices_max, withholds_usage, ..Self::default() }
    }
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Vec<Ending>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Ending {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    delta: Option<Map<String, Value>>,
}

impl Read for Reader {
    fn read(&mut self, event: &[u8], data: &[u8], marks: &mut Marks) -> Result<Pass, ModelError> {
        if data == b"[DONE]" {
            marks.done = true;
            return Ok(Pass::On);
        }
        if event == b"error" {
            let report = Report::from_bytes(data);
            return Err(ModelError::BrokeOff { message: report.message });
        }
        if self.said && is_plain(data) {
            return Ok(Pass::On);
        }
        let chunk: Chunk = serde_json::from_slice(data)
            .map_err(|error| ModelError::Malformed { reason: format!("a chunk: {error}") })?;
        if let Some(error) = chunk.error {
            let report = Report::from_value(&error);
            return Err(ModelError::BrokeOff { message: report.message });
        }
        let choices = chunk.choices.unwrap_or_default();
        let only_usage = choices.is_empty() && chunk.usage.is_some();
        // Some servers repeat it in every chunk: the last one counts.
        marks.usage = chunk.usage.map(Box::new).or_else(|| marks.usage.take());
        for Ending { index, finish_reason, delta } in choices {
            self.said |= finish_reason.is_some() || delta.is_some_and(|delta| says(&delta));
            let reason = finish_reason.filter(|reason| !reason.is_empty());
            match self.choices.iter_mut().find(|(known, _)| *known == index) {
                Some((_, ended)) => *ended |= reason.is_some(),
                None => self.choices.push((index, reason.is_some())),
            }
            let reason = reason.map(|reason| FinishReason::from(reason.as_str()));
            marks.finish = worse(marks.finish.take(), reason);
        }
        Ok(match (only_usage && self.withholds_usage, self.said) {
            (true, _) => Pass::Withheld,
            (false, true) => Pass::On,
            (false, false) => Pass::Preface,
        })
    }

    fn is_complete(&self) -> bool {
        self.choices.len() >= self.choices_max.max(1)
            && self.choices.iter().all(|(_, ended)| *ended)
    }

    fn closing(&self) -> &'static [u8] {
        b"data: [DONE]\n\n"
    }
}

/// Whether a delta has more in it than whose turn it is.
fn says(delta: &Map<String, Value>) -> bool {
    delta.iter().any(|(name, value)| match value {
        _ if name == "role" => false,
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(_) | Value::Bool(_) | Value::Number(_) => true,
    })
}

/// Whether a chunk can be passed on unread: it ends nothing, bills nothing and reports nothing.
fn is_plain(data: &[u8]) -> bool {
    let is_null = |rest: &[u8]| {
        let value = rest.trim_ascii_start();
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii_start();
        value.starts_with(b"null")
    };
    let all_null = |name: &Finder<'_>| {
        let mut found = name.find_iter(data);
        found.all(|at| data.get(at + name.needle().len()..).is_some_and(is_null))
    };
    data.starts_with(b"{") && data.ends_with(b"}") && TELLING.iter().all(all_null)
}

/// Fields that are more than text, unless they are null.
static TELLING: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| ["\"finish_reason\"", "\"usage\"", "\"error\""].map(Finder::new));

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    choices: Option<Vec<Ending>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

/// Reads the marks off a whole answer that passes as it is. Some servers report an error under a good status.
pub fn whole(body: Bytes, model: &str) -> Result<RawWhole, ModelError> {
    let malformed = |reason: String| ModelError::Malformed { reason };
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))?;
    if let Some(error) = answer.error.filter(|error| !error.is_null()) {
        return Err(from_good_status(&error, model));
    }
    let choices = answer.choices.unwrap_or_default();
    if choices.is_empty() {
        return Err(malformed("it has no choices".to_owned()));
    }
    let reasons = choices.into_iter().map(|choice| choice.finish_reason);
    let finish = reasons
        .map(|reason| reason.map(|reason| FinishReason::from(reason.as_str())))
        .fold(None, worse);
    Ok(RawWhole { body, usage: answer.usage, finish })
}
