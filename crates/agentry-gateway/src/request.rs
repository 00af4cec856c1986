//! What is asked of a model: as it came over the wire, or as a value.

use std::sync::OnceLock;

use agentry_core::chat::{ChatRequest, Invalid};
use agentry_core::relay::{Dialect, Raw};
use agentry_wire::head::Head;
use agentry_wire::ingress;
use agentry_wire::reach::Reach;
use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::cache::Key;
use crate::money::Size;

/// A call to a model. What came over the wire is read whole only when somebody must.
#[derive(Debug)]
pub enum Request {
    Wire(Box<Wire>),
    Value(Box<ChatRequest>),
}

/// A body, and what its head says.
#[derive(Debug)]
pub struct Wire {
    pub dialect: Dialect,
    pub head: Head,
    pub body: Bytes,
    read: OnceLock<Result<Box<ChatRequest>, Invalid>>,
    /// What guards have made of it: it is no longer sent as it came.
    is_changed: bool,
}

impl Wire {
    #[must_use]
    pub fn new(dialect: Dialect, head: Head, body: Bytes) -> Self {
        Self { dialect, head, body, read: OnceLock::new(), is_changed: false }
    }

    /// Whether the body may be sent on as it is.
    pub(crate) fn is_as_it_came(&self) -> bool {
        !self.is_changed
    }

    /// The body as it is sent to an upstream of the same dialect.
    pub(crate) fn raw(&self, model: &str) -> Raw {
        let rewritten = self.head.rewrite(self.dialect, &self.body, model);
        Raw {
            dialect: self.dialect,
            withhold_usage: rewritten.withholds_usage,
            body: rewritten.apply(&self.body),
            stream: self.head.stream,
            model: model.to_owned(),
            choices_max: self.head.choices as usize,
        }
    }

    /// Whether a stream ends with the bill, for this caller.
    pub(crate) fn wants_usage(&self) -> bool {
        match self.dialect {
            Dialect::ChatCompletions => self.head.wants_usage,
            Dialect::Responses | Dialect::Messages => true,
        }
    }
}

impl Request {
    /// What the caller names as `model`.
    #[must_use]
    pub fn model(&self) -> &str {
        match self {
            Self::Wire(wire) => &wire.head.model,
            Self::Value(request) => &request.model,
        }
    }

    #[must_use]
    pub fn stream(&self) -> bool {
        match self {
            Self::Wire(wire) => wire.head.stream,
            Self::Value(request) => request.stream,
        }
    }

    pub(crate) fn wire(&self) -> Option<&Wire> {
        match self {
            Self::Wire(wire) => Some(wire),
            Self::Value(_) => None,
        }
    }

    /// The request as a value. Reading one that came over the wire happens once.
    pub(crate) fn value(&self) -> Result<&ChatRequest, Invalid> {
        match self {
            Self::Value(request) => Ok(request),
            Self::Wire(wire) => {
                let read = || ingress::request(wire.dialect, &wire.body).map(Box::new);
                wire.read.get_or_init(read).as_ref().map(AsRef::as_ref).map_err(Clone::clone)
            }
        }
    }

    /// From here on this is what is asked.
    pub(crate) fn replace(&mut self, value: ChatRequest) {
        match self {
            Self::Value(request) => **request = value,
            Self::Wire(wire) => {
                wire.read = OnceLock::from(Ok(Box::new(value)));
                wire.is_changed = true;
            }
        }
    }

    /// The choices that are asked for, at least one.
    pub(crate) fn choices(&self) -> u32 {
        match self {
            Self::Wire(wire) => wire.head.choices.max(1),
            Self::Value(request) => request.n.unwrap_or(1).max(1),
        }
    }

    /// The most that the caller wants written for each choice.
    pub(crate) fn output_tokens_max(&self) -> Option<u64> {
        match self {
            Self::Wire(wire) => wire.head.output_tokens_max,
            Self::Value(request) => request.max_completion_tokens.or(request.max_tokens),
        }
    }

    /// What conversations that go on have in common.
    pub(crate) fn prefix(&self) -> Option<u64> {
        self.wire().map(|wire| wire.head.prefix)
    }

    /// Bounds from above for what the upstream will count, and whether the model reads what is not in the request.
    pub(crate) fn size(&self) -> (Size, bool) {
        let (text_bytes, Reach { images, is_instructed, reads_elsewhere }) = self.reach();
        let instructions = if is_instructed { INSTRUCTIONS_TOKENS } else { 0 };
        let messages = match self {
            // Their braces count as text.
            Self::Wire(_) => 0,
            Self::Value(request) => request.messages.len() as u64,
        };
        let text_bytes = text_bytes.saturating_add(instructions);
        (Size { text_bytes, messages, images }, reads_elsewhere)
    }

    /// A picture that is in the request counts with its bytes too; one that is elsewhere is named so.
    fn reach(&self) -> (u64, Reach) {
        match self {
            Self::Wire(wire) => (wire.body.len() as u64, wire.head.reach(&wire.body)),
            Self::Value(request) => match serde_json::to_vec(request) {
                Ok(bytes) => (bytes.len() as u64, Reach::of(&bytes)),
                Err(_) => (u64::MAX, Reach { reads_elsewhere: true, ..Reach::default() }),
            },
        }
    }

    /// What the call will probably count against a limit of tokens; corrected when it is known.
    pub(crate) fn tokens_expected(&self) -> u64 {
        let read = match self {
            Self::Wire(wire) => wire.body.len() as u64 / BYTES_PER_TOKEN,
            Self::Value(request) => {
                let texts = request.messages.iter().map(|message| message.text().len() as u64);
                texts.sum::<u64>() / BYTES_PER_TOKEN
            }
        };
        read.saturating_add(self.output_tokens_max().unwrap_or(0))
    }

    /// Over everything that changes the answer, the tenant first. Nothing when that cannot be told, or when the same request
    /// is another one the next time.
    pub(crate) fn key(&self, tenant: &str, alias: &str, guards: u64) -> Option<Key> {
        let (form, digest) = match self {
            Self::Wire(wire) if wire.head.is_stateful => return None,
            Self::Wire(wire) => (wire.dialect.as_str(), wire.head.digest),
            Self::Value(request) => {
                let plain = ChatRequest { stream: false, stream_options: None, ..*request.clone() };
                let bytes = serde_json::to_vec(&plain).ok()?;
                ("value", xxhash_rust::xxh3::xxh3_128(&bytes))
            }
        };
        let mut place = Xxh3::new();
        for part in [tenant, alias, form] {
            place.update(&(part.len() as u64).to_le_bytes());
            place.update(part.as_bytes());
        }
        place.update(&guards.to_le_bytes());
        // Where a stream cannot be made of a whole answer, nor the other way round, the two are kept apart.
        let apart = self.wire().is_some_and(|wire| !ingress::is_readable(wire.dialect));
        place.update(&[u8::from(apart && self.stream())]);
        let mut key = [0; 32];
        let (head, tail) = key.split_at_mut(16);
        head.copy_from_slice(&digest.to_le_bytes());
        tail.copy_from_slice(&place.digest128().to_le_bytes());
        Some(Key(key))
    }

    /// Under what the call may be joined while it is under way: its pieces are read along as they are, so only by those
    /// who want the answer in the same form.
    pub(crate) fn flight(&self, Key(mut key): Key) -> Key {
        let ends_with_bill = self.wire().is_none_or(Wire::wants_usage);
        let [.., last] = &mut key;
        *last ^= u8::from(self.stream()) | u8::from(self.stream() && ends_with_bill) << 1;
        Key(key)
    }
}

/// Of English text, about.
const BYTES_PER_TOKEN: u64 = 4;

/// What an upstream adds at most to a request with tools or a schema: how they are to be used.
const INSTRUCTIONS_TOKENS: u64 = 1_000;

impl From<ChatRequest> for Request {
    fn from(request: ChatRequest) -> Self {
        Self::Value(Box::new(request))
    }
}

impl From<Wire> for Request {
    fn from(wire: Wire) -> Self {
        Self::Wire(Box::new(wire))
    }
}
