//! One scripted reply: what is sent, in which pieces, and how it ends.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::Dialect;

/// How the client can tell where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `content-length`, as it is.
    Length,
    /// `content-length`, wrong by so many bytes.
    WrongLength(i64),
    Chunked,
    /// Nothing says; the connection is closed after it.
    UntilClose,
}

/// In which pieces the bytes are written to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Each piece of the body with one write.
    Pieces,
    /// Everything with one write.
    AtOnce,
    EachByte,
    /// Each piece of the body so long after the last.
    Paced(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The connection can be used again.
    KeepAlive,
    /// FIN, whether the body was complete or not.
    Close,
    /// RST.
    Reset,
    /// Nothing more comes, and the connection stays.
    Hang,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    /// Of the body; a stream has one for each event.
    pieces: Vec<Vec<u8>>,
    framing: Framing,
    writes: Writes,
    pub(super) ending: Ending,
    /// How many pieces are sent before it ends; all, with the end of the framing, when it does not say.
    stops_after: Option<usize>,
    /// Sent in place of everything.
    raw: Option<Vec<u8>>,
}

impl Reply {
    fn new(status: u16, kind: &str, pieces: Vec<Vec<u8>>, framing: Framing) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            pieces,
            framing,
            writes: Writes::Pieces,
            ending: Ending::KeepAlive,
            stops_after: None,
            raw: None,
        }
    }

    /// A body with a length.
    #[must_use]
    pub fn body(kind: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(200, kind, vec![bytes.into()], Framing::Length)
    }

    #[must_use]
    pub fn json(value: &Value) -> Self {
        Self::body("application/json", value.to_string())
    }

    /// Server-sent events, one piece each.
    #[must_use]
    pub fn events(events: Vec<Vec<u8>>) -> Self {
        Self::new(200, "text/event-stream; charset=utf-8", events, Framing::Chunked)
    }

    /// These bytes instead of a response.
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        let reply = Self::new(200, "", Vec::new(), Framing::UntilClose);
        Self { raw: Some(bytes.into()), ending: Ending::Close, ..reply }
    }

    /// Takes the request and says nothing.
    #[must_use]
    pub fn hangs() -> Self {
        Self { ending: Ending::Hang, ..Self::raw(Vec::new()) }
    }

    /// Takes the request and closes.
    #[must_use]
    pub fn closes() -> Self {
        Self::raw(Vec::new())
    }

    #[must_use]
    pub fn resets() -> Self {
        Self { ending: Ending::Reset, ..Self::raw(Vec::new()) }
    }

    /// `location` with a status of the 300s.
    #[must_use]
    pub fn redirects(status: u16, location: &str) -> Self {
        Self::body("text/html", "<html>moved</html>").status(status).header("location", location)
    }

    /// An error in OpenAI's shape, with what OpenAI says under that status.
    #[must_use]
    pub fn error(status: u16) -> Self {
        let (kind, code) = super::failure::openai(status);
        let message = format!("the vendor says {status}");
        let error = json!({ "message": message, "type": kind, "param": null, "code": code });
        Self::json(&json!({ "error": error })).status(status)
    }

    /// The same in Anthropic's shape.
    #[must_use]
    pub fn anthropic_error(status: u16) -> Self {
        let kind = super::failure::anthropic(status);
        let error = json!({ "type": kind, "message": format!("the vendor says {status}") });
        let body = json!({ "type": "error", "error": error, "request_id": "req_vendor" });
        Self::json(&body).status(status).header("request-id", "req_vendor")
    }

    /// The same in Gemini's shape.
    #[must_use]
    pub fn gemini_error(status: u16) -> Self {
        let error = json!({
            "code": status, "message": format!("the vendor says {status}"),
            "status": super::failure::gemini(status),
        });
        Self::json(&json!({ "error": error })).status(status)
    }

    /// The same in any.
    #[must_use]
    pub fn error_in(dialect: Dialect, status: u16) -> Self {
        match dialect {
            Dialect::Chat | Dialect::Responses => Self::error(status),
            Dialect::Messages => Self::anthropic_error(status),
            Dialect::Gemini => Self::gemini_error(status),
        }
    }

    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Replaces one of the same name.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        let mut reply = self.without_header(name);
        reply.headers.push((name.to_owned(), value.to_owned()));
        reply
    }

    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// Replaces fields of the body's `error`.
    #[must_use]
    pub fn with_error(self, fields: &Value) -> Self {
        let mut body: Value = serde_json::from_slice(&self.pieces.concat()).expect("a JSON body");
        for (name, value) in fields.as_object().expect("an object") {
            body["error"][name] = value.clone();
        }
        Self { pieces: vec![body.to_string().into_bytes()], ..self }
    }

    #[must_use]
    pub fn saying(self, message: &str) -> Self {
        self.with_error(&json!({ "message": message }))
    }

    #[must_use]
    pub fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        if framing == Framing::UntilClose && self.ending == Ending::KeepAlive {
            self.ending = Ending::Close;
        }
        self
    }

    #[must_use]
    pub fn written(mut self, writes: Writes) -> Self {
        self.writes = writes;
        self
    }

    /// Cuts the body into pieces of `length`; an event or a character may be cut in the middle.
    #[must_use]
    pub fn in_pieces_of(self, length: usize) -> Self {
        let pieces = self.pieces.concat().chunks(length).map(<[u8]>::to_vec).collect();
        Self { pieces, ..self }
    }

    /// Puts `bytes` before the piece number `at`.
    #[must_use]
    pub fn with_piece(mut self, at: usize, bytes: impl Into<Vec<u8>>) -> Self {
        self.pieces.insert(at, bytes.into());
        self
    }

    /// Ends like this when so many pieces have been sent.
    #[must_use]
    pub fn stops_after(mut self, pieces: usize, ending: Ending) -> Self {
        self.stops_after = Some(pieces);
        self.ending = ending;
        self
    }

    /// How many pieces the body has.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// All that is sent.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.raw.clone().unwrap_or_else(|| self.parts().concat())
    }

    pub(super) fn write(&self, stream: &mut TcpStream) -> io::Result<()> {
        let mut parts: Vec<Vec<u8>> = match &self.raw {
            Some(raw) => vec![raw.clone()],
            None => self.parts(),
        };
        match self.writes {
            Writes::Pieces | Writes::Paced(_) => {}
            Writes::AtOnce => parts = vec![parts.concat()],
            Writes::EachByte => {
                parts = parts.concat().into_iter().map(|byte| vec![byte]).collect();
            }
        }
        for (number, part) in parts.iter().enumerate() {
            if let Writes::Paced(pace) = self.writes
                && number > 0
            {
                std::thread::sleep(pace);
            }
            stream.write_all(part)?;
        }
        Ok(())
    }

    /// The head, each piece in its framing, and the end of the framing.
    fn parts(&self) -> Vec<Vec<u8>> {
        let length = i64::try_from(self.pieces.iter().map(Vec::len).sum::<usize>()).unwrap_or(0);
        let framing = match self.framing {
            Framing::Length => format!("content-length: {length}\r\n"),
            Framing::WrongLength(by) => format!("content-length: {}\r\n", length + by),
            Framing::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
            Framing::UntilClose => "connection: close\r\n".to_owned(),
        };
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("HTTP/1.1 {} Scripted\r\n{headers}{framing}\r\n", self.status);
        let mut parts = vec![head.into_bytes()];
        let sent = self.stops_after.unwrap_or(self.pieces.len());
        for piece in self.pieces.iter().take(sent) {
            parts.push(match self.framing {
                Framing::Chunked => {
                    let size = format!("{:x}\r\n", piece.len()).into_bytes();
                    [size, piece.clone(), b"\r\n".to_vec()].concat()
                }
                Framing::Length | Framing::WrongLength(_) | Framing::UntilClose => piece.clone(),
            });
        }
        if self.framing == Framing::Chunked && self.stops_after.is_none() {
            parts.push(b"0\r\n\r\n".to_vec());
        }
        parts
    }
}
