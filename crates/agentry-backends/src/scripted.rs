//! An HTTP server for tests: it plays a script, one answer for each request, and keeps what it was sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use url::Url;

/// How one request is met.
#[derive(Debug, Clone)]
pub(crate) enum Play {
    /// This status and this body.
    Answer(u16, String),
    /// Reads the request and hangs up.
    HangUp,
}

/// What it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// `POST /path?query`
    pub(crate) line: String,
    /// Names in lower case, in order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(crate) struct Scripted {
    pub(crate) url: Url,
    seen: Receiver<Seen>,
    thread: JoinHandle<()>,
}

impl Scripted {
    /// Listens until the script is played.
    pub(crate) fn start(script: impl IntoIterator<Item = Play>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let script: Vec<Play> = script.into_iter().collect();
        let (tx, seen) = channel();
        let thread = std::thread::spawn(move || {
            for play in script {
                let Some(stream) = accept(&listener) else { return };
                serve(stream, play, &tx);
            }
        });
        Self { url, seen, thread }
    }

    pub(crate) fn answering(script: &[(u16, &str)]) -> Self {
        Self::start(script.iter().map(|&(status, body)| Play::Answer(status, body.to_owned())))
    }

    /// Every request, after the script has ended. Fails when fewer came than were scripted.
    pub(crate) fn finish(self) -> Vec<Seen> {
        self.thread.join().unwrap();
        self.seen.iter().collect()
    }
}

/// Waits for a connection, but not for ever: a missing request must fail the test, not hang it.
fn accept(listener: &TcpListener) -> Option<TcpStream> {
    listener.set_nonblocking(true).unwrap();
    for _ in 0..2_000 {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            return Some(stream);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

fn serve(mut stream: TcpStream, play: Play, seen: &Sender<Seen>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    seen.send(Seen { line, headers, body: String::from_utf8(body).unwrap() }).unwrap();
    match play {
        Play::HangUp => {}
        Play::Answer(status, body) => {
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    }
}

/// An address on which nobody listens.
pub(crate) fn nobody() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap()).parse().unwrap()
}

pub(crate) fn client() -> agentry_http::Client {
    agentry_http::Client::new(&agentry_http::Settings::default())
}
