//! What is asked of a model: as it came over the wire, or as a value.

use std::sync::OnceLock;

use agentry_core::chat::{ChatRequest, Invalid};
use agentry_core::relay::{Dialect, Raw};
use agentry_wire::head::Head;
use agentry_wire::ingress;
use bytes::Bytes;

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
}

impl Wire {
    #[must_use]
    pub fn new(dialect: Dialect, head: Head, body: Bytes) -> Self {
        Self { dialect, head, body, read: OnceLock::new() }
    }

    /// The body as it is sent to an upstream of the same dialect.
    pub(crate) fn raw(&self, model: &str) -> Raw {
        let rewritten = self.head.rewrite(self.dialect, &self.body, model);
        Raw {
            dialect: self.dialect,
            body: rewritten.apply(&self.body),
            stream: self.head.stream,
            model: model.to_owned(),
            withhold_usage: rewritten.withholds_usage,
            choices_max: self.head.choices as usize,
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
}

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
