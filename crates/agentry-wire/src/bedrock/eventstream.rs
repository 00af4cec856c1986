//! `application/vnd.amazon.eventstream`: frames with two lengths, headers, a payload and two sums.

use super::crc::crc32;

/// Both lengths and their sum.
const PRELUDE_BYTES: usize = 12;
const SUM_BYTES: usize = 4;

/// One frame: what it is, by its headers, and what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// Of the event, the exception or the error.
    pub(super) name: String,
    /// Only errors say it in a header.
    pub(super) message: String,
    pub(super) payload: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Event,
    /// Of the service: the payload says more.
    Exception,
    /// Of the transport.
    Error,
}

/// The bytes are not such frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("a frame of {bytes} bytes is longer than {bytes_max}")]
    TooLong { bytes: usize, bytes_max: usize },
    #[error("the lengths of a frame contradict each other")]
    Lengths,
    #[error("a frame was damaged on its way: its checksum is wrong")]
    Sum,
    #[error("the headers of a frame are unreadable")]
    Headers,
}

/// Holds at most one unfinished frame, of at most `bytes_max`.
#[derive(Debug)]
pub(super) struct Decoder {
    bytes_max: usize,
    held: Vec<u8>,
}

impl Decoder {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: Vec::new() }
    }

    /// Whether a frame has begun.
    pub(super) fn is_midway(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes the next bytes, however they were cut, and adds the frames that they complete to `frames`.
    pub(super) fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), Broken> {
        self.held.extend_from_slice(bytes);
        let mut read = 0;
        let result = loop {
            let rest = self.held.get(read..).unwrap_or_default();
            match length(rest, self.bytes_max) {
                Ok(Some(length)) => match rest.get(..length) {
                    Some(bytes) => match frame(bytes) {
                        Ok(frame) => frames.push(frame),
                        Err(broken) => break Err(broken),
                    },
                    None => break Ok(()),
                },
                Ok(None) => break Ok(()),
                Err(broken) => break Err(broken),
            }
            read += length(rest, self.bytes_max).ok().flatten().unwrap_or(rest.len());
        };
        self.held.drain(..read.min(self.held.len()));
        result
    }
}

/// How long the frame is that begins here, once its prelude is there.
fn length(bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, Broken> {
    let Some((prelude, _)) = bytes.split_at_checked(PRELUDE_BYTES) else { return Ok(None) };
    let (lengths, sum) = prelude.split_at(PRELUDE_BYTES - SUM_BYTES);
    if number(sum) != u64::from(crc32(lengths)) {
        return Err(Broken::Sum);
    }
    let (total, headers) = lengths.split_at(4);
    let length = |bytes| usize::try_from(number(bytes)).unwrap_or(usize::MAX);
    let (total, headers) = (length(total), length(headers));
    if headers.saturating_add(PRELUDE_BYTES + SUM_BYTES) > total {
        return Err(Broken::Lengths);
    }
    if total > bytes_max {
        return Err(Broken::TooLong { bytes: total, bytes_max });
    }
    Ok(Some(total))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn frame(bytes: &[u8]) -> Result<Frame, Broken> {
    let (sealed, sum) =
        bytes.split_at_checked(bytes.len().saturating_sub(SUM_BYTES)).ok_or(Broken::Lengths)?;
    if number(sum) != u64::from(crc32(sealed)) {
        return Err(Broken::Sum);
    }
    let headers = usize::try_from(number(sealed.get(4..8).unwrap_or_default()));
    let rest = sealed.get(PRELUDE_BYTES..).ok_or(Broken::Lengths)?;
    let (mut headers, payload) =
        rest.split_at_checked(headers.unwrap_or(usize::MAX)).ok_or(Broken::Lengths)?;
    let mut frame = Frame { payload: payload.to_vec(), ..Frame::default() };
    while !headers.is_empty() {
        let (name, value) = header(&mut headers).ok_or(Broken::Headers)?;
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b":message-type" => {
                frame.kind = match value {
                    b"event" => Kind::Event,
                    b"exception" => Kind::Exception,
                    _ => Kind::Error,
                }
            }
            b":event-type" | b":exception-type" | b":error-code" => frame.name = text(),
            b":error-message" => frame.message = text(),
            _ => {}
        }
    }
    Ok(frame)
}

/// The next header: a name, a type, a value.
fn header<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut take = |count: usize| -> Option<&'a [u8]> {
        let (taken, left) = rest.split_at_checked(count)?;
        *rest = left;
        Some(taken)
    };
    let length = *take(1)?.first()?;
    let name = take(usize::from(length))?;
    let kind = *take(1)?.first()?;
    let length = match kind {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        6 | 7 => usize::try_from(number(take(2)?)).ok()?,
        9 => 16,
        _ => return None,
    };
    Some((name, take(length)?))
}

/// A frame as the service writes it.
#[cfg(test)]
pub(super) fn written(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    for (name, value) in headers {
        fields.push(u8::try_from(name.len()).unwrap());
        fields.extend_from_slice(name.as_bytes());
        fields.push(7);
        fields.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        fields.extend_from_slice(value.as_bytes());
    }
    let total = PRELUDE_BYTES + fields.len() + payload.len() + SUM_BYTES;
    let mut bytes = u32::try_from(total).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(&u32::try_from(fields.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&crc32(&bytes).to_be_bytes());
    bytes.extend_from_slice(&fields);
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&crc32(&bytes).to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests;
