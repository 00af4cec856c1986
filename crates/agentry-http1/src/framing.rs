//! Where a body ends.

use bytes::{Buf as _, Bytes, BytesMut};

/// Why bytes are no chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("the size of a chunk is none")]
    Size,
    #[error("a chunk does not end where it should")]
    End,
    #[error("there is too much beside the data of its chunks")]
    Aside,
    #[error("what follows its last chunk is no field")]
    Trailer,
}

/// How the end of a body is told, and how far that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are missing.
    Length(u64),
    Chunked(Chunked),
    /// It ends with the connection.
    UntilClose,
    Over,
}

/// What some bytes were.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    pub piece: Bytes,
    /// How much there was behind the body.
    pub rest: usize,
    /// What is wrong behind the piece.
    pub flaw: Option<Flaw>,
}

/// How far chunks were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunked {
    at: At,
    /// How much there was beside their data, and beside what says how much data there is.
    aside: u16,
}

/// In which part of a chunk the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind the size: spaces, if anything.
    SizeSpace {
        size: u64,
    },
    /// Between the size and the line's end: nothing there matters.
    Extension {
        size: u64,
    },
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataEnd,
    DataEndLine,
    /// At the beginning of a line of the trailer, or of the empty line that ends the body.
    Trailer,
    TrailerName,
    /// Behind its colon.
    TrailerLine,
    TrailerLineEnd,
    End,
    Over,
}

/// The extensions of all chunks and the trailers are not longer than this together.
const ASIDE_BYTES_MAX: u16 = 16 << 10;

impl Framing {
    pub const CHUNKED: Self =
        Self::Chunked(Chunked { at: At::Size { size: 0, digits: 0 }, aside: 0 });

    #[must_use]
    pub fn of_length(length: u64) -> Self {
        if length == 0 { Self::Over } else { Self::Length(length) }
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        *self == Self::Over
    }

    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Over => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// The connection has ended. Says whether the body may end there.
    pub fn close(&mut self) -> bool {
        let may = matches!(self, Self::UntilClose | Self::Over);
        *self = Self::Over;
        may
    }

    /// What of `bytes` belongs to the body, in memory of its own size.
    pub fn decode_copied(&mut self, bytes: &[u8]) -> Result<Decoded, Flaw> {
        let (parts, rest, flaw) = self.parts(bytes)?;
        let piece = match parts {
            Parts::None => Bytes::new(),
            Parts::One(start, end) => {
                Bytes::copy_from_slice(bytes.get(start..end).unwrap_or_default())
            }
            Parts::Many(parts) => gathered(bytes, &parts),
        };
        Ok(Decoded { piece, rest, flaw })
    }

    /// The same without a copy, if it can be.
    pub fn decode(&mut self, mut bytes: Bytes) -> Result<Decoded, Flaw> {
        let (parts, rest, flaw) = self.parts(&bytes)?;
        let piece = match parts {
            Parts::None => Bytes::new(),
            Parts::One(start, end) => {
                bytes.truncate(end);
                bytes.advance(start);
                bytes
            }
            Parts::Many(parts) => gathered(&bytes, &parts),
        };
        Ok(Decoded { piece, rest, flaw })
    }

    /// Where the body is in `bytes`, how much follows it, and what is wrong behind that. It is an error if nothing is right.
    fn parts(&mut self, bytes: &[u8]) -> Result<(Parts, usize, Option<Flaw>), Flaw> {
        let length = bytes.len();
        let mut parts = Parts::default();
        let rest = match self {
            Self::UntilClose => {
                parts.add(0, length);
                0
            }
            Self::Over => length,
            Self::Length(left) => {
                let taken = length.min(usize::try_from(*left).unwrap_or(usize::MAX));
                *self = Self::of_length(*left - taken as u64);
                parts.add(0, taken);
                length - taken
            }
            Self::Chunked(chunked) => {
                let walked = chunked.walk(bytes, |start, end| parts.add(start, end));
                if chunked.at == At::Over {
                    *self = Self::Over;
                }
                match walked {
                    Ok(rest) => rest,
                    Err(flaw) if matches!(parts, Parts::None) => return Err(flaw),
                    Err(flaw) => return Ok((parts, 0, Some(flaw))),
                }
            }
        };
        Ok((parts, rest, None))
    }
}

/// Where the data is in what was read: nearly always in one place.
#[derive(Default)]
enum Parts {
    #[default]
    None,
    One(usize, usize),
    Many(Vec<(usize, usize)>),
}

impl Parts {
    fn add(&mut self, start: usize, end: usize) {
        match self {
            Self::None => *self = Self::One(start, end),
            Self::One(first, last) => *self = Self::Many(vec![(*first, *last), (start, end)]),
            Self::Many(parts) => parts.push((start, end)),
        }
    }
}

fn gathered(bytes: &[u8], parts: &[(usize, usize)]) -> Bytes {
    let mut whole = BytesMut::with_capacity(parts.iter().map(|(start, end)| end - start).sum());
    for (start, end) in parts {
        whole.extend_from_slice(bytes.get(*start..*end).unwrap_or_default());
    }
    whole.freeze()
}

impl Chunked {
    /// Tells where data is in `bytes`, and how much follows the body.
    fn walk(&mut self, bytes: &[u8], mut data: impl FnMut(usize, usize)) -> Result<usize, Flaw> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if let At::Data { left } = self.at {
                let here = bytes.len() - at;
                let taken = here.min(usize::try_from(left).unwrap_or(usize::MAX));
                data(at, at + taken);
                at += taken;
                let left = left - taken as u64;
                self.at = if left == 0 { At::DataEnd } else { At::Data { left } };
                continue;
            }
            if self.at == At::Over {
                return Ok(bytes.len() - at);
            }
            let next = self.at.next(*byte)?;
            if next.is_aside() {
                if self.aside >= ASIDE_BYTES_MAX {
                    return Err(Flaw::Aside);
                }
                self.aside += 1;
            }
            self.at = next;
            at += 1;
        }
        Ok(0)
    }
}

impl At {
    fn is_aside(self) -> bool {
        matches!(
            self,
            Self::SizeSpace { .. } | Self::Extension { .. } | Self::TrailerName | Self::TrailerLine
        )
    }

    /// After a byte that is no data.
    fn next(self, byte: u8) -> Result<Self, Flaw> {
        Ok(match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                if digits >= 15 {
                    return Err(Flaw::Size);
                }
                Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return Err(Flaw::Size),
            (Self::Size { size, .. } | Self::SizeSpace { size }, b';') => Self::Extension { size },
            (Self::Size { size, .. } | Self::SizeSpace { size }, b' ' | b'\t') => {
                Self::SizeSpace { size }
            }
            (
                Self::Size { size, .. } | Self::SizeSpace { size } | Self::Extension { size },
                b'\r',
            ) => Self::SizeEnd { size },
            // A bare line feed ends a line for some, and not for others.
            (Self::Extension { .. }, b'\n') => return Err(Flaw::Size),
            (Self::Extension { size }, _) => Self::Extension { size },
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailer,
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::DataEnd, b'\r') => Self::DataEndLine,
            (Self::DataEndLine, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::Trailer, b'\r') => Self::End,
            (Self::TrailerLine, b'\r') => Self::TrailerLineEnd,
            (Self::Trailer | Self::TrailerName, _) if is_of_name(byte) => Self::TrailerName,
            (Self::TrailerName, b':') => Self::TrailerLine,
            (Self::TrailerLine, _) if byte == b'\t' || !byte.is_ascii_control() => {
                Self::TrailerLine
            }
            // What is none may be a request for others.
            (Self::Trailer | Self::TrailerName | Self::TrailerLine, _) => {
                return Err(Flaw::Trailer);
            }
            (Self::TrailerLineEnd, b'\n') => Self::Trailer,
            (Self::End, b'\n') => Self::Over,
            (Self::Size { .. } | Self::SizeSpace { .. } | Self::SizeEnd { .. }, _) => {
                return Err(Flaw::Size);
            }
            (
                Self::Data { .. }
                | Self::DataEnd
                | Self::DataEndLine
                | Self::TrailerLineEnd
                | Self::End
                | Self::Over,
                _,
            ) => return Err(Flaw::End),
        })
    }
}

/// Of the name of a field.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
