//! The file of rules.

use std::fmt;
use std::time::Duration;

use agentry_core::chat::{FinishReason, Usage};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Rules in their order: the first that matches answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub(super) when: When,
    pub(super) then: Then,
    pub(super) pace: Pace,
}

/// All that is given must hold; texts are compared without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct When {
    /// The model asked for.
    pub(super) model: Option<String>,
    pub(super) system_contains: OneOrMany,
    /// In the last message of a user.
    pub(super) user_contains: OneOrMany,
    /// Whether tools have answered since the last message of a user.
    pub(super) tool_results: Option<bool>,
    /// In what they answered.
    pub(super) tool_result_contains: OneOrMany,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Strings")]
pub(super) struct OneOrMany(pub(super) Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a string or an array of strings")]
enum Strings {
    One(String),
    Many(Vec<String>),
}

impl From<Strings> for OneOrMany {
    fn from(strings: Strings) -> Self {
        Self(match strings {
            Strings::One(text) => vec![text],
            Strings::Many(texts) => texts,
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Then {
    Answer(Answer),
    Refuse(Refusal),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) text: Option<String>,
    pub(super) calls: Vec<Call>,
    pub(super) usage: Option<Usage>,
    pub(super) finish_reason: FinishReason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) retry_after_ms: Option<u64>,
}

/// How the answer is written, and whether it ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Pace {
    /// Before anything is answered.
    first_ms: u64,
    /// Before each further chunk.
    chunk_ms: u64,
    /// Characters in a chunk; everything at once when it is not given.
    pub(super) chunk_chars: Option<usize>,
    /// The connection breaks after so many chunks.
    pub(super) cut_after: Option<usize>,
    /// The upstream reports an error after so many chunks.
    pub(super) error_after: Option<usize>,
}

impl Pace {
    pub(super) fn first(&self) -> Duration {
        Duration::from_millis(self.first_ms)
    }

    pub(super) fn chunk(&self) -> Duration {
        Duration::from_millis(self.chunk_ms)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAnswer {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    tool_calls: Vec<WireCall>,
    #[serde(default)]
    usage: Option<WireUsage>,
    #[serde(default)]
    finish_reason: Option<FinishReason>,
}

/// Arguments as a table are written as JSON; as a string they are sent as they are, valid or not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCall {
    name: String,
    #[serde(default)]
    arguments: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireUsage {
    input: u64,
    output: u64,
    #[serde(default)]
    cached_input: u64,
    #[serde(default)]
    reasoning: u64,
}

/// Everything that is wrong with a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

impl Script {
    pub fn from_toml(text: &str) -> Result<Self, Problems> {
        let value = toml::from_str(text).map_err(|error| Problems(vec![error.to_string()]))?;
        Self::from_value(value)
    }

    pub fn from_json(text: &str) -> Result<Self, Problems> {
        let value =
            serde_json::from_str(text).map_err(|error| Problems(vec![error.to_string()]))?;
        Self::from_value(value)
    }

    fn from_value(value: Value) -> Result<Self, Problems> {
        let mut reader = Reader::default();
        let Value::Object(mut fields) = value else {
            return Err(Problems(vec!["a script is a table with `rules`".to_owned()]));
        };
        let rules: Vec<Value> = reader.take(&mut fields, "", "rules").unwrap_or_default();
        reader.nothing_left(&fields, "");
        if rules.is_empty() && reader.problems.is_empty() {
            reader.problem("rules", "there are none: a script needs at least one [[rules]]");
        }
        let read = rules.into_iter().enumerate();
        let rules: Vec<_> =
            read.filter_map(|(at, rule)| reader.rule(&format!("rules[{at}]"), rule)).collect();
        if reader.problems.is_empty() { Ok(Self { rules }) } else { Err(Problems(reader.problems)) }
    }
}

/// Goes on after a problem, to find the others.
#[derive(Default)]
struct Reader {
    problems: Vec<String>,
}

impl Reader {
    fn problem(&mut self, path: &str, what: &str) {
        self.problems.push(format!("{path}: {what}"));
    }

    fn take<T: DeserializeOwned>(
        &mut self,
        fields: &mut Map<String, Value>,
        path: &str,
        name: &str,
    ) -> Option<T> {
        let value = fields.shift_remove(name)?;
        match serde_json::from_value(value) {
            Ok(value) => Some(value),
            Err(error) => {
                let dot = if path.is_empty() { "" } else { "." };
                self.problem(&format!("{path}{dot}{name}"), &error.to_string());
                None
            }
        }
    }

    fn nothing_left(&mut self, fields: &Map<String, Value>, path: &str) {
        for name in fields.keys() {
            let path = if path.is_empty() { "script" } else { path };
            self.problem(path, &format!("there is no `{name}` here"));
        }
    }

    fn rule(&mut self, path: &str, value: Value) -> Option<Rule> {
        let Value::Object(mut fields) = value else {
            self.problem(path, "a rule is a table with `when`, and `answer` or `error`");
            return None;
        };
        let before = self.problems.len();
        let given = |name| fields.contains_key(name);
        if given("answer") == given("error") {
            self.problem(path, "give either an `answer` or an `error`");
        }
        let when = self.take(&mut fields, path, "when").unwrap_or_default();
        let pace: Pace = self.take(&mut fields, path, "pace").unwrap_or_default();
        let answer = self.take(&mut fields, path, "answer");
        let refusal: Option<Refusal> = self.take(&mut fields, path, "error");
        self.nothing_left(&fields, path);
        self.check_pace(path, &pace);
        let then = match (answer, refusal) {
            (Some(answer), _) => self.answer(path, answer).map(Then::Answer),
            (None, Some(refusal)) => self.refusal(path, refusal).map(Then::Refuse),
            (None, None) => None,
        };
        (self.problems.len() == before).then_some(())?;
        then.map(|then| Rule { when, then, pace })
    }

    fn check_pace(&mut self, path: &str, pace: &Pace) {
        let path = format!("{path}.pace");
        if pace.chunk_chars == Some(0) {
            self.problem(&path, "chunk_chars must be at least 1");
        }
        if pace.cut_after.is_some() && pace.error_after.is_some() {
            self.problem(&path, "give either cut_after or error_after: an answer breaks only once");
        }
    }

    fn answer(&mut self, path: &str, answer: WireAnswer) -> Option<Answer> {
        let WireAnswer { text, tool_calls, usage, finish_reason } = answer;
        if text.is_none() && tool_calls.is_empty() {
            self.problem(&format!("{path}.answer"), "it says nothing: give `text` or `tool_calls`");
            return None;
        }
        let usual =
            if tool_calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        let calls = tool_calls.into_iter().enumerate();
        Some(Answer {
            text,
            calls: calls
                .filter_map(|(at, call)| {
                    self.call(&format!("{path}.answer.tool_calls[{at}]"), call)
                })
                .collect(),
            usage: usage.map(|WireUsage { input, output, cached_input, reasoning }| Usage {
                cached_input_tokens: cached_input,
                reasoning_tokens: reasoning,
                ..Usage::new(input, output)
            }),
            finish_reason: finish_reason.unwrap_or(usual),
        })
    }

    fn call(&mut self, path: &str, call: WireCall) -> Option<Call> {
        let WireCall { name, arguments } = call;
        let arguments = match arguments {
            Value::Null => "{}".to_owned(),
            Value::String(text) => text,
            object @ Value::Object(_) => object.to_string(),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                self.problem(&format!("{path}.arguments"), "a table, or a string sent as it is");
                return None;
            }
        };
        Some(Call { name, arguments })
    }

    fn refusal(&mut self, path: &str, refusal: Refusal) -> Option<Refusal> {
        if !(400..600).contains(&refusal.status) {
            self.problem(&format!("{path}.error.status"), "an error's status is from 400 to 599");
            return None;
        }
        Some(refusal)
    }
}
