//! What a vendor was asked.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::Value;

const HEAD_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Clone)]
pub struct Received {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub at: Instant,
}

impl Received {
    /// The first of that name, in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Null when it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// In the body or, as with Gemini, in the path; empty when none is named.
    #[must_use]
    pub fn model(&self) -> String {
        if let Some(model) = self.json()["model"].as_str() {
            return model.to_owned();
        }
        let named = self.path.split_once("/models/").and_then(|(_, rest)| rest.split_once(':'));
        named.map(|(model, _)| model.to_owned()).unwrap_or_default()
    }

    #[must_use]
    pub fn is_streamed(&self) -> bool {
        self.json()["stream"] == true || self.path.contains(":streamGenerateContent")
    }
}

/// The last byte of a request, seen but not taken from the socket.
pub(super) struct Last {
    is_there: bool,
}

impl Last {
    pub(super) fn consume(self, stream: &mut TcpStream) -> io::Result<()> {
        if self.is_there { stream.read_exact(&mut [0]) } else { Ok(()) }
    }
}

/// Reads one request, all but the last byte of its body; nothing when the caller has gone.
pub(super) fn read(stream: &mut TcpStream) -> io::Result<Option<(Received, Last)>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 || head.len() > HEAD_BYTES_MAX {
            return Ok(None);
        }
        head.extend_from_slice(&byte);
    }
    let at = Instant::now();
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut received = Received { method, path, headers, body: Vec::new(), at };
    let length = received.header("content-length").and_then(|length| length.parse().ok());
    let length: usize = length.unwrap_or(0);
    let mut last = Last { is_there: false };
    if length > 0 {
        received.body = vec![0; length - 1];
        stream.read_exact(&mut received.body)?;
        let mut byte = [0];
        last.is_there = stream.peek(&mut byte)? == 1;
        received.body.extend_from_slice(&byte);
    }
    Ok(Some((received, last)))
}

/// Says nothing until the caller gives up.
pub(super) fn wait_for_the_end(stream: &mut TcpStream) -> io::Result<()> {
    while stream.read(&mut [0; 1024])? > 0 {}
    Ok(())
}
