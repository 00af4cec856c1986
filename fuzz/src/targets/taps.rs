//! Streams that pass as they are.

use agentry_core::model::ModelError;
use agentry_core::relay::{Frame, Marks};
use agentry_wire::tap::{Read, Tap, worse};
use agentry_wire::{chat as chat_wire, messages as messages_wire, responses as responses_wire};
use bytes::Bytes;

use super::pieces;
use crate::Shape;

pub(crate) fn chat(data: &[u8]) -> u64 {
    let whole = Bytes::copy_from_slice(data);
    let body = chat_wire::whole(whole, "m").is_ok();
    let shown = pass(|| chat_wire::Reader::new(1, false), data);
    let withheld = pass(|| chat_wire::Reader::new(2, true), data);
    Shape::new().with((body, shown, withheld)).done()
}

pub(crate) fn messages(data: &[u8]) -> u64 {
    let body = messages_wire::whole_marks(Bytes::copy_from_slice(data), "m").is_ok();
    let shown = pass(|| messages_wire::Reader::new("m"), data);
    Shape::new().with((body, shown)).done()
}

pub(crate) fn responses(data: &[u8]) -> u64 {
    let body = responses_wire::whole_marks(Bytes::copy_from_slice(data), "m").is_ok();
    let shown = pass(|| responses_wire::Reader, data);
    Shape::new().with((body, shown)).done()
}

#[derive(Default)]
struct Passed {
    bytes: Vec<u8>,
    marks: Marks,
    error: Option<ModelError>,
}

impl Passed {
    fn rest(&self) -> (&Marks, &Option<ModelError>, usize) {
        (&self.marks, &self.error, self.bytes.len())
    }

    fn take(&mut self, frame: Frame) {
        let Frame { bytes, marks: Marks { says, usage, finish, done } } = frame;
        self.bytes.extend_from_slice(&bytes);
        self.marks.says |= says;
        self.marks.done |= done;
        self.marks.usage = usage.or(self.marks.usage.take());
        self.marks.finish = worse(self.marks.finish.take(), finish);
    }
}

fn pass<R: Read>(reader: impl Fn() -> R, data: &[u8]) -> u64 {
    let whole = read(Tap::new(reader()), &[data]);
    let parts = read(Tap::new(reader()), &pieces(data));
    // Bytes would hide in a message what else differs.
    assert_eq!(whole.rest(), parts.rest(), "a split changes what is understood");
    assert!(whole.bytes == parts.bytes, "a split changes what passes");
    assert!(whole.marks.done != whole.error.is_some(), "an answer ends once, well or badly");
    let Passed { bytes, marks, error } = whole;
    let finish = marks.finish.map(|reason| reason.as_str().len());
    let shape = Shape::new().with((bytes.is_empty(), marks.says, marks.usage.is_some(), finish));
    error.iter().fold(shape, |shape, error| shape.words(&error.to_string())).done()
}

fn read<R: Read>(mut tap: Tap<R>, parts: &[&[u8]]) -> Passed {
    let mut passed = Passed::default();
    for part in parts {
        let mut frames = Vec::new();
        let result = tap.push(Bytes::copy_from_slice(part), &mut frames);
        frames.into_iter().for_each(|frame| passed.take(frame));
        if let Err(error) = result {
            passed.error = Some(error);
            return passed;
        }
        if tap.is_over() {
            return passed;
        }
    }
    match tap.end(None) {
        Ok(frame) => passed.take(frame),
        Err(error) => passed.error = Some(error),
    }
    passed
}
