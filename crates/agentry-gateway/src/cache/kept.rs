//! One kept answer, and its form on the way to other instances.

use std::io;
use std::sync::Arc;

use agentry_core::MicroUsd;
use agentry_core::chat::{ChatResponse, Usage};
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{Folded, Tags};

#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    form: Form,
    /// `provider/model` that answered.
    target: Arc<str>,
    usage: Option<Usage>,
    /// What the call cost that brought it: so much does each hit save.
    cost_saved: Option<MicroUsd>,
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// The body of an unstreamed answer, in the dialect that the key names.
    Whole(Bytes),
    /// The frames of a streamed one, one after the other.
    Frames(Folded),
    /// Read and understood: it can be written in every dialect.
    Response(Arc<ChatResponse>),
}

impl Kept {
    #[must_use]
    pub fn new(
        form: Form,
        target: Arc<str>,
        usage: Option<Usage>,
        cost_saved: Option<MicroUsd>,
    ) -> Self {
        let content = match &form {
            Form::Whole(bytes) => bytes.len(),
            Form::Frames(frames) => frames.bytes(),
            // In memory every field is an allocation of its own.
            Form::Response(response) => json_bytes(response).saturating_mul(2),
        };
        let bytes = content + size_of::<Self>() + target.len();
        Self { form, target, usage, cost_saved, bytes }
    }

    #[must_use]
    pub fn form(&self) -> &Form {
        &self.form
    }

    #[must_use]
    pub fn target(&self) -> &Arc<str> {
        &self.target
    }

    #[must_use]
    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    #[must_use]
    pub fn cost_saved(&self) -> Option<MicroUsd> {
        self.cost_saved
    }

    /// How much memory it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// For the shared level: a line of JSON that says what follows, then the bytes themselves.
    pub fn encode(&self, tags: &Tags) -> Result<Bytes, Unreadable> {
        let Self { form, target, usage, cost_saved, bytes } = self;
        let head = Head {
            version: VERSION,
            form: match form {
                Form::Whole(_) => Kind::Whole,
                Form::Frames(_) => Kind::Frames,
                Form::Response(_) => Kind::Response,
            },
            target: Arc::clone(target),
            usage: usage.clone(),
            cost_saved: *cost_saved,
            tags: tags.written(),
        };
        let room = match form {
            Form::Frames(frames) => *bytes + frames.text_len(),
            Form::Whole(_) | Form::Response(_) => *bytes,
        };
        let mut buffer = BytesMut::with_capacity(room).writer();
        serde_json::to_writer(&mut buffer, &head)?;
        buffer.get_mut().put_u8(b'\n');
        match form {
            Form::Whole(bytes) => buffer.get_mut().put_slice(bytes),
            Form::Frames(frames) => buffer.get_mut().put_slice(&frames.text()),
            Form::Response(response) => serde_json::to_writer(&mut buffer, response.as_ref())?,
        }
        Ok(buffer.into_inner().freeze())
    }

    pub fn decode(encoded: &Bytes) -> Result<(Self, Tags), Unreadable> {
        let end = encoded.iter().position(|byte| *byte == b'\n').ok_or(Unreadable::NoHead)?;
        let head: Head = serde_json::from_slice(encoded.get(..end).unwrap_or_default())?;
        let Head { version, form, target, usage, cost_saved, tags } = head;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let content = encoded.slice(end + 1..);
        let form = match form {
            Kind::Whole => Form::Whole(content),
            Kind::Frames => Form::Frames(Folded::of(&content).closed()),
            Kind::Response => Form::Response(Arc::new(serde_json::from_slice(&content)?)),
        };
        Ok((Self::new(form, target, usage, cost_saved), Tags::read(tags)))
    }
}

/// What lies in the shared store under one of our keys is not ours, or not of this version.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("a kept answer has no head")]
    NoHead,
    #[error("a kept answer is of version {0}, this is {VERSION}")]
    Version(u32),
    #[error("a kept answer is not what its head says: {0}")]
    Json(#[from] serde_json::Error),
}

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    form: Kind,
    target: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost_saved: Option<MicroUsd>,
    tags: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Whole,
    Frames,
    Response,
}

/// Without making it.
fn json_bytes(response: &ChatResponse) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // What cannot be written is not kept either: `encode` says so.
    drop(serde_json::to_writer(&mut counter, response));
    counter.0
}

#[cfg(test)]
mod tests {
    use agentry_core::chat::{Choice, FinishReason, Head, Message};
    use serde_json::Map;

    use super::*;
    use crate::cache::Tag;

    fn response() -> ChatResponse {
        let head = Head { id: "a".into(), model: "m".into(), created: 7, extra: Map::new() };
        let choice = Choice {
            index: 0,
            message: Message::assistant("grüße\nzeile"),
            finish_reason: Some(FinishReason::Stop),
            logprobs: None,
            extra: Map::new(),
        };
        ChatResponse { head, choices: vec![choice], usage: None }
    }

    #[test]
    fn what_is_kept_survives_the_way_to_other_instances() {
        let check = |form: Form, usage: Option<Usage>, cost| {
            let kept = Kept::new(form, "p/m".into(), usage, cost);
            let tags = Tags::new([Tag::Tenant("t"), Tag::Alias("a")]);
            let (once, read) = Kept::decode(&kept.encode(&tags).unwrap()).unwrap();
            assert_eq!(read, tags);
            assert_eq!(once.target(), kept.target());
            assert_eq!(once.cost_saved(), kept.cost_saved());
            let tokens =
                |kept: &Kept| kept.usage().map(|usage| (usage.input_tokens, usage.output_tokens));
            assert_eq!(tokens(&once), tokens(&kept));
            match (once.form(), kept.form()) {
                (Form::Response(one), Form::Response(other)) => {
                    assert_eq!(one.text(), other.text());
                }
                (one, other) => assert_eq!(one, other),
            }
            assert_eq!(Kept::decode(&once.encode(&tags).unwrap()).unwrap().0, once);
        };
        check(Form::Whole(Bytes::from_static(b"{\"a\":\n1}")), None, None);
        check(Form::Whole(Bytes::new()), None, Some(MicroUsd(7)));
        let frames = Folded::of(b"data: {}\n\ndata: [DONE]\n\n").closed();
        check(Form::Frames(frames), Some(Usage::new(3, 4)), Some(MicroUsd(0)));
        check(Form::Response(Arc::new(response())), Some(Usage::new(1, 2)), None);
    }

    #[test]
    fn what_is_not_ours_is_refused_with_a_reason() {
        let check = |encoded: &'static [u8], says: &str| {
            let error = Kept::decode(&Bytes::from_static(encoded)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        };
        check(b"", "no head");
        check(b"nonsense\n", "not what its head says");
        check(b"{\"version\":9,\"form\":\"whole\",\"target\":\"a/b\",\"tags\":[]}\n", "version 9");
        check(
            b"{\"version\":1,\"form\":\"response\",\"target\":\"a/b\",\"tags\":[]}\n{}",
            "not what its head",
        );
    }
}
