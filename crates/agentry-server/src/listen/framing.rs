//! Tells heads from bodies in the bytes of one HTTP/1 connection.
//!
//! The HTTP library drops `Content-Length` when it also sees `Transfer-Encoding`, so nobody behind it can tell that a
//! request carried both. Such a request means different things to different servers; it is refused. This follows the bytes
//! just far enough to notice, and to know since when a head has been unfinished.

/// Why a head is refused although the HTTP library would take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    LengthAndCoding,
    BareLineFeed,
}

/// A flaw and the request it belongs to; requests of a connection count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flawed {
    pub(crate) request: u64,
    pub(crate) flaw: Flaw,
}

#[derive(Debug, Default)]
pub(crate) struct Framing {
    state: State,
    /// The beginning of the line that is being read.
    line: Vec<u8>,
    /// The last byte of it that came, kept or not.
    last: Option<u8>,
    head: Head,
    heads: u64,
}

/// Longer lines are cut: no line that decides about framing is longer.
const LINE_MAX: usize = 256;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a request line; empty lines are allowed here.
    #[default]
    Start,
    Head,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// Not understood. The library refuses such a request and closes the connection.
    Lost,
}

#[derive(Debug, Default, Clone, Copy)]
struct Head {
    length: Option<u64>,
    coding: bool,
    bare_line_feed: bool,
}

impl Framing {
    /// Whether a head has begun and not ended.
    pub(crate) fn in_head(&self) -> bool {
        match self.state {
            State::Start => !self.line.is_empty(),
            State::Head => true,
            State::Body(_)
            | State::ChunkSize
            | State::Chunk(_)
            | State::ChunkEnd
            | State::Trailers
            | State::Lost => false,
        }
    }

    /// How many heads have ended.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }

    /// Follows `bytes`; answers the first flawed head that ends in them.
    pub(crate) fn observe(&mut self, mut bytes: &[u8]) -> Option<Flawed> {
        let mut flawed = None;
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Lost => return flawed,
                State::Body(left) => self.skip(bytes, left, State::Body, State::Start),
                State::Chunk(left) => self.skip(bytes, left, State::Chunk, State::ChunkEnd),
                State::Start
                | State::Head
                | State::ChunkSize
                | State::ChunkEnd
                | State::Trailers => {
                    let (rest, found) = self.take_line(bytes);
                    flawed = flawed.or(found);
                    rest
                }
            };
        }
        flawed
    }

    fn skip<'a>(
        &mut self,
        bytes: &'a [u8],
        left: u64,
        more: fn(u64) -> State,
        done: State,
    ) -> &'a [u8] {
        let here = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - here as u64;
        self.state = if left == 0 { done } else { more(left) };
        bytes.get(here..).unwrap_or_default()
    }

    fn take_line<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], Option<Flawed>) {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let room = LINE_MAX.saturating_sub(self.line.len());
        self.line.extend(part.iter().take(room));
        self.last = part.last().copied().or(self.last);
        let Some(end) = end else { return (&[], None) };

        let returned = self.last.take() == Some(b'\r');
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let flawed = self.end_line(&line, returned);
        line.clear();
        self.line = line;
        (bytes.get(end + 1..).unwrap_or_default(), flawed)
    }

    fn end_line(&mut self, line: &[u8], returned: bool) -> Option<Flawed> {
        match self.state {
            State::Start if line.is_empty() => None,
            State::Start => {
                self.head = Head { bare_line_feed: !returned, ..Head::default() };
                self.state = State::Head;
                None
            }
            State::Head => {
                self.head.bare_line_feed |= !returned;
                if line.is_empty() {
                    return self.end_head();
                }
                self.field(line);
                None
            }
            State::ChunkSize => {
                self.state = match chunk_size(line) {
                    Some(0) => State::Trailers,
                    Some(size) => State::Chunk(size),
                    None => State::Lost,
                };
                None
            }
            State::ChunkEnd => {
                self.state = if line.is_empty() { State::ChunkSize } else { State::Lost };
                None
            }
            State::Trailers => {
                if line.is_empty() {
                    self.state = State::Start;
                }
                None
            }
            State::Body(_) | State::Chunk(_) | State::Lost => None,
        }
    }

    fn field(&mut self, line: &[u8]) {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let name = halves.next().unwrap_or_default().trim_ascii();
        let value = halves.next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            // An unreadable length is refused by the library.
            self.head.length = Some(length.unwrap_or(u64::MAX));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.head.coding = true;
        }
    }

    fn end_head(&mut self) -> Option<Flawed> {
        self.heads += 1;
        self.state = match self.head {
            Head { coding: true, .. } => State::ChunkSize,
            Head { length: None | Some(0), .. } => State::Start,
            Head { length: Some(length), .. } => State::Body(length),
        };
        let flaw = match self.head {
            Head { coding: true, length: Some(_), .. } => Flaw::LengthAndCoding,
            Head { bare_line_feed: true, .. } => Flaw::BareLineFeed,
            Head { .. } => return None,
        };
        Some(Flawed { request: self.heads, flaw })
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests;
