//! What an answer is made of on its way from a target to everybody who reads it.

use std::sync::Arc;

use agentry_core::MicroUsd;
use agentry_core::chat::{ChatResponse, Event};
use agentry_core::relay::{Frame, Marks, RawWhole};
use agentry_wire::tap::worse;

use crate::cache;
use crate::cache::Folded;

/// Cheap to clone: several callers may read the same answer.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// Once, before everything else.
    Begun(Begun),
    Event(Arc<Event>),
    Frame(Frame),
    Whole(Arc<ChatResponse>),
    WholeBytes(Arc<RawWhole>),
}

/// Who answers.
#[derive(Debug, Clone)]
pub(crate) struct Begun {
    pub(crate) target: Arc<str>,
    pub(crate) attempts: u32,
    /// Of whole answers.
    pub(crate) cost: Option<MicroUsd>,
}

impl Piece {
    /// Whether the answer is complete with it.
    pub(crate) fn is_end(&self) -> bool {
        match self {
            Self::Begun(_) => false,
            Self::Event(event) => **event == Event::Done,
            Self::Frame(frame) => frame.marks.done,
            Self::Whole(_) | Self::WholeBytes(_) => true,
        }
    }
}

impl cache::Piece for Piece {
    type Past = Past;

    fn bytes(&self) -> usize {
        let content = match self {
            Self::Begun(_) => 0,
            Self::Event(event) => size_of::<Event>() + text_bytes(event),
            Self::Frame(frame) => frame.bytes.len(),
            // Only what is long counts here.
            Self::Whole(response) => response.text().len(),
            Self::WholeBytes(whole) => whole.body.len(),
        };
        size_of::<Self>() + content
    }
}

/// What was said of an answer so far.
#[derive(Default)]
pub(crate) struct Past {
    pieces: Vec<Piece>,
    bytes: usize,
    /// Come after the pieces.
    frames: Folded,
    /// Of all the frames.
    marks: Marks,
}

impl Past {
    fn frame(&self) -> Option<Piece> {
        let any = self.frames.text_len() > 0 || self.marks != Marks::default();
        any.then(|| Piece::Frame(Frame { bytes: self.frames.text(), marks: self.marks.clone() }))
    }
}

impl cache::Past<Piece> for Past {
    fn add(&mut self, piece: Piece) {
        if let Piece::Frame(Frame { bytes, marks }) = piece {
            self.frames.push(&bytes);
            let Marks { says, usage, finish, done } = marks;
            self.marks = Marks {
                says: self.marks.says || says,
                usage: usage.or_else(|| self.marks.usage.take()),
                finish: worse(self.marks.finish.take(), finish),
                done: self.marks.done || done,
            };
            return;
        }
        if let Some(frame) = self.frame() {
            self.bytes += cache::Piece::bytes(&frame);
            self.pieces.push(frame);
            (self.frames, self.marks) = Default::default();
        }
        self.bytes += cache::Piece::bytes(&piece);
        self.pieces.push(piece);
    }

    fn pieces(&self) -> Vec<Piece> {
        self.pieces.iter().cloned().chain(self.frame()).collect()
    }

    fn bytes(&self) -> usize {
        self.bytes + self.frames.bytes()
    }
}

fn text_bytes(event: &Event) -> usize {
    match event {
        Event::Text { text, .. } | Event::Reasoning { text, .. } | Event::Refusal { text, .. } => {
            text.len()
        }
        Event::ToolArguments { fragment, .. } => fragment.len(),
        Event::ToolCall { id, name, .. } => id.len() + name.len(),
        Event::Extra { fields, .. } => 64 * fields.len(),
        Event::Started(_)
        | Event::Logprobs { .. }
        | Event::Finished { .. }
        | Event::Usage(_)
        | Event::Done => 0,
    }
}

#[cfg(test)]
mod tests {
    use agentry_core::chat::FinishReason;
    use bytes::Bytes;

    use super::*;
    use crate::cache::Past as _;

    #[test]
    fn who_comes_late_is_told_all_that_was_said_in_fewer_pieces() {
        let frame = |bytes: &'static str, marks: Marks| {
            Piece::Frame(Frame { bytes: Bytes::from_static(bytes.as_bytes()), marks })
        };
        let begun = Piece::Begun(Begun { target: "p/m".into(), attempts: 1, cost: None });
        let says = || Marks { says: true, ..Marks::default() };
        let ends = Marks { finish: Some(FinishReason::Length), ..Marks::default() };
        let mut past = Past::default();
        for piece in [begun, frame("data: 1\n\n", says()), frame("data: 12\n\n", says())] {
            past.add(piece);
        }
        past.add(frame("data: 3\n\n", ends));
        let pieces = past.pieces();
        let [Piece::Begun(begun), Piece::Frame(frame)] = pieces.as_slice() else {
            panic!("{pieces:?}");
        };
        assert_eq!(&*begun.target, "p/m");
        assert_eq!(frame.bytes, "data: 1\n\ndata: 12\n\ndata: 3\n\n");
        let marks = Marks { says: true, finish: Some(FinishReason::Length), ..Marks::default() };
        assert_eq!(frame.marks, marks);
    }
}
