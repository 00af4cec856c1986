//! Answers as they are written.

use std::io::IoSlice;

use agentry_core::Pieces;
use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode, Version};

/// What of an answer waits to be written.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pieces: Pieces,
    /// Small things behind the pieces, one after the other.
    small: BytesMut,
}

/// What is smaller is copied to what stands before it.
const SMALL: usize = 2 << 10;

impl Out {
    pub(crate) fn len(&self) -> usize {
        self.pieces.len() + self.small.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.small.is_empty()
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.small.extend_from_slice(bytes);
    }

    pub(crate) fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SMALL {
            self.copy(&bytes);
        } else {
            self.settle();
            self.pieces.push(bytes);
        }
    }

    pub(crate) fn push_chunk(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            let size = format!("{:x}\r\n", bytes.len());
            self.small.reserve(size.len() + bytes.len().min(SMALL) + 2);
            self.copy(size.as_bytes());
            self.push(bytes);
            self.copy(b"\r\n");
        }
    }

    pub(crate) fn push_last_chunk(&mut self) {
        self.copy(b"0\r\n\r\n");
    }

    /// Everything as pieces. Nothing stays allocated for what comes later.
    fn settle(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(std::mem::take(&mut self.small).freeze());
        }
    }

    /// As much as is written at once.
    pub(crate) fn slices<'a>(&'a mut self, slices: &mut [IoSlice<'a>]) -> usize {
        self.settle();
        self.pieces.chunks_vectored(slices)
    }

    pub(crate) fn advance(&mut self, bytes: usize) {
        self.pieces.advance(bytes);
        if self.pieces.is_empty() {
            self.pieces = Pieces::default();
        }
    }
}

/// How the end of an answer's body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    None,
    /// So much is missing.
    Length(u64),
    Chunks,
    /// With the end of the connection.
    Close,
}

/// What the request says of how it is answered.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) is_head: bool,
    pub(crate) version: Version,
    /// Whether another request may follow.
    pub(crate) is_kept: bool,
}

impl Telling {
    pub(crate) fn of(asked: &Asked, status: StatusCode, length: Option<u64>) -> Self {
        let is_bodiless = asked.is_head
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match length {
            _ if is_bodiless => Self::None,
            Some(length) => Self::Length(length),
            None if asked.version == Version::HTTP_11 => Self::Chunks,
            None => Self::Close,
        }
    }
}

/// Writes a head. How the body is framed is said here and nowhere else.
pub(crate) fn write_head(
    out: &mut Out,
    (status, headers): (StatusCode, &HeaderMap),
    (asked, telling): (&Asked, Telling),
) {
    let fields: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    out.small.reserve(fields + 128);
    let version = if asked.version == Version::HTTP_11 { "HTTP/1.1 " } else { "HTTP/1.0 " };
    out.copy(version.as_bytes());
    out.copy(status.as_str().as_bytes());
    out.copy(b" ");
    out.copy(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    out.copy(b"\r\n");
    for (name, value) in headers {
        // To HEAD it is told how long the body would be.
        let is_framing = name == CONTENT_LENGTH && !asked.is_head || name == TRANSFER_ENCODING;
        if !is_framing && name != CONNECTION {
            field(out, name.as_str(), value.as_bytes());
        }
    }
    match telling {
        Telling::Length(length) => field(out, "content-length", length.to_string().as_bytes()),
        Telling::Chunks => field(out, "transfer-encoding", b"chunked"),
        Telling::None | Telling::Close => {}
    }
    if !asked.is_kept {
        field(out, "connection", b"close");
    } else if asked.version != Version::HTTP_11 {
        field(out, "connection", b"keep-alive");
    }
    out.copy(b"\r\n");
}

fn field(out: &mut Out, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.copy(part);
    }
}

#[cfg(test)]
mod tests;
