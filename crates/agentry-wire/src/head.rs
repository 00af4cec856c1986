//! What must be known of a request before anyone decides to read it whole: one pass over its bytes, without a tree.

use agentry_core::Pieces;
use agentry_core::chat::Invalid;
use agentry_core::relay::Dialect;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use twox_hash::{XxHash3_64, XxHash3_128};

use crate::reach::Reach;
use crate::skip;
use crate::skip::{NotJson, Noted};

/// The fields of a request that decide its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub model: String,
    pub stream: bool,
    /// The most that the caller wants written, if it says so.
    pub output_tokens_max: Option<u64>,
    /// How many answers are asked for.
    pub choices: u32,
    /// Whether the caller wants the bill at the end of a stream.
    pub wants_usage: bool,
    pub user: Option<String>,
    /// The answer changes something at the upstream, so that the same request means another one the next time.
    pub is_stateful: bool,
    /// Over everything that changes the answer, in any order of the fields. Not for secrets: it is fast, not cryptographic.
    pub digest: u128,
    /// The same over what conversations have in common: instructions, tools and the first message.
    pub prefix: u64,
    spans: Spans,
    noted: Noted,
}

/// Where the parts that may have to be rewritten are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Spans {
    model: (usize, usize),
    stream_options: Option<(usize, usize)>,
    /// Just behind the opening brace.
    start: usize,
}

impl Head {
    /// Reads the head of a JSON body, and makes sure that all of it is JSON.
    pub fn read(dialect: Dialect, body: &[u8]) -> Result<Self, Refused> {
        let draft = Draft::read(dialect, body);
        if draft.as_ref().map_or(true, |draft| draft.noted.is_beyond_ascii) {
            std::str::from_utf8(body).map_err(Refused::NotUtf8)?;
        }
        match draft {
            Ok(draft) => draft.finish(dialect).map_err(Refused::Invalid),
            // What is wrong with it, and where, a parser says best.
            Err(NotJson) => Err(match serde_json::from_slice::<Value>(body) {
                Err(error) => Refused::NotJson(error),
                Ok(_) => Refused::Invalid(invalid("", "the body must be a JSON object")),
            }),
        }
    }

    /// What the model is made to read beside the text. `body` is the one that this is the head of.
    #[must_use]
    pub fn reach(&self, body: &[u8]) -> Reach {
        Reach::beside(body, &self.noted.long)
    }

    /// The body with another model in it, and, if a stream does not report its bill by itself, with a request for that.
    #[must_use]
    pub fn rewrite(&self, dialect: Dialect, body: &[u8], model: &str) -> Rewritten {
        let withholds_usage =
            dialect == Dialect::ChatCompletions && self.stream && !self.wants_usage;
        let mut edits = Vec::with_capacity(2);
        if model != self.model {
            // A string is always JSON.
            edits.push((self.spans.model, serde_json::to_string(model).unwrap_or_default()));
        }
        if withholds_usage {
            match self.spans.stream_options {
                Some(span @ (start, end)) => edits.push((span, with_usage(body.get(start..end)))),
                None => edits.push((
                    (self.spans.start, self.spans.start),
                    r#""stream_options":{"include_usage":true},"#.to_owned(),
                )),
            }
        }
        edits.sort_by_key(|((start, _), _)| *start);
        Rewritten { edits, withholds_usage }
    }
}

/// The caller's options, and the bill.
fn with_usage(options: Option<&[u8]>) -> String {
    let options = options.and_then(|bytes| serde_json::from_slice::<Option<Map<_, _>>>(bytes).ok());
    let mut options: Map<String, Value> = options.flatten().unwrap_or_default();
    options.insert("include_usage".to_owned(), true.into());
    Value::Object(options).to_string()
}

/// What to change in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    edits: Vec<((usize, usize), String)>,
    pub withholds_usage: bool,
}

impl Rewritten {
    /// The changed body. What is left of it is not copied when it is large.
    #[must_use]
    pub fn apply(self, body: &Bytes) -> Pieces {
        let part =
            |from, to| body.get(from..to).map_or_else(Bytes::new, |part| body.slice_ref(part));
        let mut pieces = Pieces::default();
        let mut from = 0;
        for ((start, end), text) in self.edits {
            pieces.push(part(from, start));
            pieces.push(text.into());
            from = end;
        }
        pieces.push(part(from, body.len()));
        if body.len() < LARGE { pieces.into_bytes().into() } else { pieces }
    }
}

/// Why a body is no request.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the body is not UTF-8")]
    NotUtf8(std::str::Utf8Error),
    #[error(transparent)]
    NotJson(serde_json::Error),
    #[error(transparent)]
    Invalid(Invalid),
}

/// The fields of a request that matter here, as they stand in its text.
#[derive(Default)]
struct Draft<'a> {
    model: Option<Piece<'a>>,
    stream: Option<Piece<'a>>,
    stream_options: Option<Piece<'a>>,
    output_tokens_max: [Option<Piece<'a>>; 2],
    choices: Option<Piece<'a>>,
    user: Option<Piece<'a>>,
    is_stateful: bool,
    digest: u128,
    prefix: u64,
    /// Which of [`DECISIVE`] were there.
    seen: u16,
    /// What could be understood in two ways.
    ambiguous: Option<Invalid>,
    /// Just behind the opening brace.
    start: usize,
    noted: Noted,
}

/// Parsers disagree about which of two fields of one name counts. So that what is admitted, screened and billed is what the
/// upstream reads, these may be there once, and in plain letters.
const DECISIVE: [&str; 15] = [
    "model",
    "messages",
    "input",
    "system",
    "instructions",
    "tools",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "user",
    "conversation",
    "background",
];

/// A value and where it begins.
#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a [u8],
    start: usize,
}

impl<'a> Draft<'a> {
    /// Of what may not be UTF-8, if it says so.
    fn read(dialect: Dialect, bytes: &'a [u8]) -> Result<Self, NotJson> {
        let mut at = skip::space(bytes, 0);
        if bytes.get(at) != Some(&b'{') {
            return Err(NotJson);
        }
        let mut draft = Self { start: at + 1, ..Self::default() };
        at = skip::space(bytes, at + 1);
        if bytes.get(at) == Some(&b'}') {
            at += 1;
        } else {
            loop {
                let name_end = skip::string(bytes, at, &mut draft.noted)?;
                let name = bytes.get(at + 1..name_end - 1).ok_or(NotJson)?;
                let name = std::str::from_utf8(name).map_err(|_| NotJson)?;
                let start = skip::colon(bytes, name_end)?;
                let end = skip::value(bytes, start, &mut draft.noted)?;
                let value = bytes.get(start..end).ok_or(NotJson)?;
                draft.field(dialect, name, Piece { text: value, start });
                at = skip::space(bytes, end);
                match bytes.get(at) {
                    Some(b',') => at = skip::space(bytes, at + 1),
                    Some(b'}') => {
                        at += 1;
                        break;
                    }
                    _ => return Err(NotJson),
                }
            }
        }
        if skip::space(bytes, at) == bytes.len() { Ok(draft) } else { Err(NotJson) }
    }

    fn field(&mut self, dialect: Dialect, name: &str, value: Piece<'a>) {
        self.note(name);
        let slot = match (name, dialect) {
            ("model", _) => &mut self.model,
            ("stream", _) => &mut self.stream,
            ("stream_options", Dialect::ChatCompletions) => &mut self.stream_options,
            ("user", Dialect::ChatCompletions | Dialect::Responses)
            | ("metadata", Dialect::Messages) => &mut self.user,
            ("max_tokens", Dialect::ChatCompletions | Dialect::Messages)
            | ("max_output_tokens", Dialect::Responses) => {
                self.hash(name, value.text);
                &mut self.output_tokens_max[0]
            }
            ("max_completion_tokens", Dialect::ChatCompletions) => {
                self.hash(name, value.text);
                &mut self.output_tokens_max[1]
            }
            ("n", Dialect::ChatCompletions) => {
                self.hash(name, value.text);
                &mut self.choices
            }
            ("conversation" | "background", Dialect::Responses) => {
                self.is_stateful |= !matches!(value.text, b"null" | b"false");
                return;
            }
            // Whether the response can be gone on with, for whoever gets it.
            ("store", Dialect::Responses) => return self.hash(name, value.text),
            // Kept with the answer at the upstream, and without influence on it.
            ("metadata" | "store" | "safety_identifier" | "prompt_cache_key", _) => return,
            _ => return self.hash(name, value.text),
        };
        *slot = Some(value);
    }

    /// Remembers a name, and whether it makes the request mean two things.
    fn note(&mut self, name: &str) {
        let escaped = memchr::memchr(b'\\', name.as_bytes());
        let plain =
            escaped.and_then(|_| serde_json::from_str::<String>(&format!("\"{name}\"")).ok());
        let plain = plain.as_deref().unwrap_or(name);
        let Some(at) = DECISIVE.iter().position(|known| *known == plain) else { return };
        let reason = if escaped.is_some() {
            "write the name of this parameter without escapes"
        } else if self.seen & (1 << at) != 0 {
            "this parameter is there twice"
        } else {
            self.seen |= 1 << at;
            return;
        };
        self.ambiguous.get_or_insert_with(|| invalid(plain, reason));
    }

    /// Fields may come in any order, so their hashes are added up.
    fn hash(&mut self, name: &str, value: &[u8]) {
        // The length keeps a name and a value from being taken for another pair.
        let seed = XxHash3_64::oneshot_with_seed(value.len() as u64, name.as_bytes());
        self.digest = self.digest.wrapping_add(XxHash3_128::oneshot_with_seed(seed, value));
        if matches!(name, "messages" | "input" | "system" | "instructions" | "tools") {
            let beginning = value.get(..PREFIX_BYTES).unwrap_or(value);
            self.prefix = self.prefix.wrapping_add(XxHash3_64::oneshot(beginning));
        }
    }

    fn finish(self, dialect: Dialect) -> Result<Head, Invalid> {
        if let Some(ambiguous) = self.ambiguous {
            return Err(ambiguous);
        }
        let model = self.model.ok_or_else(|| invalid("model", "this parameter is required"))?;
        let name: String = read("model", Some(model))?.unwrap_or_default();
        if name.is_empty() {
            return Err(invalid("model", "name a model; GET /v1/models lists them"));
        }
        let options: Option<Options> = read("stream_options", self.stream_options)?;
        let choices: Option<u32> = read("n", self.choices)?;
        if choices == Some(0) {
            return Err(invalid("n", "at least one choice must be asked for"));
        }
        let user = if dialect == Dialect::Messages {
            read::<Metadata>("metadata", self.user)?.and_then(|metadata| metadata.user_id)
        } else {
            read::<String>("user", self.user)?
        };
        // An upstream may go by either name.
        let [older, newer] = self.output_tokens_max;
        let output_tokens_max =
            read::<u64>("max_tokens", older)?.max(read("max_completion_tokens", newer)?);
        let span = |piece: Piece<'_>| (piece.start, piece.start + piece.text.len());
        Ok(Head {
            model: name,
            stream: read("stream", self.stream)?.unwrap_or_default(),
            output_tokens_max,
            choices: choices.unwrap_or(1),
            wants_usage: options.is_some_and(|options| options.include_usage),
            user,
            is_stateful: self.is_stateful,
            digest: self.digest,
            prefix: self.prefix,
            spans: Spans {
                model: span(model),
                stream_options: self.stream_options.map(span),
                start: self.start,
            },
            noted: self.noted,
        })
    }
}

/// From here on pieces are cheaper than a copy.
const LARGE: usize = 16 << 10;

/// So much of a conversation's beginning tells it from others.
const PREFIX_BYTES: usize = 1024;

#[derive(Deserialize)]
struct Options {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    user_id: Option<String>,
}

/// `null` is as good as nothing.
fn read<T: DeserializeOwned>(param: &str, value: Option<Piece<'_>>) -> Result<Option<T>, Invalid> {
    value.map_or(Ok(None), |value| {
        serde_json::from_slice(value.text).map_err(|error| invalid(param, &error.to_string()))
    })
}

fn invalid(param: &str, reason: &str) -> Invalid {
    Invalid { param: param.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
