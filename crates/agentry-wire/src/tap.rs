//! Streams that pass as they are: whole events are told apart, and what a bill or a cache needs is read off them.

use agentry_core::chat::FinishReason;
use agentry_core::model::ModelError;
use agentry_core::relay::{Frame, Marks};
use bytes::{Bytes, BytesMut};

/// What one event means, to someone who only passes it on.
pub trait Read: Send {
    /// Adds what an event tells to `marks`. An upstream's report of an error is an error here, and is not passed on.
    fn read(&mut self, event: &[u8], data: &[u8], marks: &mut Marks) -> Result<Pass, ModelError>;

    /// Whether the answer is complete although the upstream never said so: every choice has ended.
    fn is_complete(&self) -> bool;

    /// What callers wait for when the upstream leaves it out at the end of a complete answer.
    fn closing(&self) -> &'static [u8] {
        b""
    }
}

/// Whether an event is the caller's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It belongs to the answer.
    On,
    /// It passes on, but says nothing yet: the answer begins, the connection is kept alive.
    Preface,
    /// We asked for it, the caller did not.
    Withheld,
}

/// One event is not longer than this.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// A line's end and a blank line: two carriage returns and two line feeds.
const END_BYTES_MAX: usize = 4;

/// Cuts a stream into whole events. Any split of the same bytes passes the same bytes and marks.
pub struct Tap<R> {
    reader: R,
    /// An event that has begun.
    held: BytesMut,
    /// So much of it is known to have no end: a long event that comes in small pieces is not searched again and again.
    searched: usize,
    over: bool,
}

impl<R: Read> Tap<R> {
    #[must_use]
    pub fn new(reader: R) -> Self {
        Self { reader, held: BytesMut::new(), searched: 0, over: false }
    }

    /// Whether nothing is missing any more but the upstream's last word.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.over && self.reader.is_complete()
    }

    /// Whether the end was told.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Adds the events that `bytes` complete to `frames`: as few as possible. An error comes after the events before it.
    pub fn push(&mut self, bytes: Bytes, frames: &mut Vec<Frame>) -> Result<(), ModelError> {
        let bytes = if self.held.is_empty() {
            bytes
        } else {
            self.held.extend_from_slice(&bytes);
            // The end may have begun before.
            let from = self.searched.saturating_sub(END_BYTES_MAX);
            if event_length(self.held.get(from..).unwrap_or_default()).is_none() {
                return self.hold();
            }
            self.held.split().freeze()
        };
        let mut run = Run::default();
        while !run.marks.done
            && let Some(length) = event_length(bytes.get(run.end..).unwrap_or_default())
        {
            let event = bytes.get(run.end..run.end + length).unwrap_or_default();
            match self.event(event, &mut run.marks) {
                Ok(Pass::On) => {
                    run.marks.says = true;
                    run.end += length;
                }
                Ok(Pass::Preface) => run.end += length,
                Ok(Pass::Withheld) => run.skip(&bytes, length, frames),
                Err(error) => {
                    run.flush(&bytes, frames);
                    self.over = true;
                    return Err(error);
                }
            }
        }
        self.over = run.marks.done;
        let read = run.end;
        run.flush(&bytes, frames);
        if !self.over {
            self.held.extend_from_slice(bytes.get(read..).unwrap_or_default());
        }
        self.hold()
    }

    /// What is held has no end yet.
    fn hold(&mut self) -> Result<(), ModelError> {
        self.searched = self.held.len();
        if self.held.len() > EVENT_BYTES_MAX {
            self.over = true;
            let reason = format!("an event is longer than {EVENT_BYTES_MAX} bytes");
            return Err(ModelError::Malformed { reason });
        }
        Ok(())
    }

    /// The bytes have ended, by themselves or by `error`. What is missing to an answer whose every choice has ended is
    /// only a word.
    pub fn end(&mut self, error: Option<ModelError>) -> Result<Frame, ModelError> {
        self.over = true;
        let mut marks = Marks { done: true, ..Marks::default() };
        let held = self.held.split().freeze();
        let mut bytes = Bytes::new();
        // An event that lacks only its blank line counts; one that was cut in the middle does not.
        if !held.is_empty() && is_whole(&held) {
            let mut closed = BytesMut::from(held.as_ref());
            closed.extend_from_slice(b"\n\n");
            match self.event(&closed, &mut marks)? {
                Pass::On | Pass::Preface => bytes = closed.freeze(),
                Pass::Withheld => {}
            }
        }
        if self.reader.is_complete() {
            let bytes = [&*bytes, self.reader.closing()].concat().into();
            return Ok(Frame { bytes, marks });
        }
        Err(error.unwrap_or(ModelError::Truncated))
    }

    fn event(&mut self, event: &[u8], marks: &mut Marks) -> Result<Pass, ModelError> {
        let (mut name, mut data, mut lines): (&[u8], &[u8], _) = (b"", b"", 0);
        for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
            if let Some(value) = line.strip_prefix(b"data:") {
                data = value.trim_ascii();
                lines += 1;
            } else if let Some(value) = line.strip_prefix(b"event:") {
                name = value.trim_ascii();
            }
        }
        match lines {
            // A comment.
            0 => Ok(Pass::Preface),
            1 => self.reader.read(name, data, marks),
            _ => {
                let joined: Vec<&[u8]> = event
                    .split(|byte| matches!(byte, b'\n' | b'\r'))
                    .filter_map(|line| line.strip_prefix(b"data:"))
                    .collect();
                self.reader.read(name, &joined.join(&b'\n'), marks)
            }
        }
    }
}

/// Events that follow one another and pass as one frame.
#[derive(Default)]
struct Run {
    start: usize,
    end: usize,
    marks: Marks,
}

impl Run {
    /// Ends the frame and leaves out the event that follows it; what that one told is told with the next frame.
    fn skip(&mut self, bytes: &Bytes, length: usize, frames: &mut Vec<Frame>) {
        if self.end > self.start {
            let bytes = bytes.slice(self.start..self.end);
            frames.push(Frame { bytes, marks: Marks::default() });
        }
        self.end += length;
        self.start = self.end;
    }

    fn flush(self, bytes: &Bytes, frames: &mut Vec<Frame>) {
        if self.end > self.start || self.marks != Marks::default() {
            frames.push(Frame { bytes: bytes.slice(self.start..self.end), marks: self.marks });
        }
    }
}

/// How long the first event of `bytes` is, its blank line included.
fn event_length(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        let at = from + rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        let line_end = after_line_end(bytes, at)?;
        match bytes.get(line_end) {
            None => return None,
            Some(b'\n') => return Some(line_end + 1),
            Some(b'\r') => return after_line_end(bytes, line_end),
            Some(_) => from = line_end,
        }
    }
}

/// Where the line after the line end at `at` begins. A carriage return that ends the bytes may be half of one.
fn after_line_end(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Some(at + 2),
        (Some(b'\r'), None) => None,
        _ => Some(at + 1),
    }
}

fn is_whole(held: &[u8]) -> bool {
    let last = held.rsplit(|byte| matches!(byte, b'\n' | b'\r')).find(|line| !line.is_empty());
    let Some(data) = last.and_then(|line| line.strip_prefix(b"data:")) else { return false };
    let data = data.trim_ascii();
    data == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok()
}

/// The reason that says most against keeping an answer.
#[must_use]
pub fn worse(one: Option<FinishReason>, other: Option<FinishReason>) -> Option<FinishReason> {
    let badness = |reason: &Option<FinishReason>| match reason {
        None => 0,
        Some(FinishReason::Stop) => 1,
        Some(FinishReason::ToolCalls) => 2,
        Some(FinishReason::Other(_)) => 3,
        Some(FinishReason::Length) => 4,
        Some(FinishReason::ContentFilter) => 5,
    };
    if badness(&other) > badness(&one) { other } else { one }
}

#[cfg(test)]
mod tests;
