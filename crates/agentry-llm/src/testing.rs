//! A vendor on loopback that answers as it is told, and what it heard.

use std::net::SocketAddr;
use std::time::Duration;

use agentry_core::model::CallContext;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Answers every request with the same bytes and then keeps the connection, or hangs up.
pub(crate) struct Vendor {
    pub(crate) address: SocketAddr,
    /// The head and the body of each request, and the end of each connection.
    heard: mpsc::Receiver<Heard>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Request { head: String, body: Value },
    HungUp,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Then {
    Close,
    Wait,
}

impl Vendor {
    pub(crate) async fn start(answer: impl Into<Vec<u8>>, then: Then) -> Self {
        let answer = answer.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tx, heard) = mpsc::channel(16);
        let serve = async move {
            while let Ok((stream, _)) = listener.accept().await {
                converse(stream, &answer, then, &tx).await;
            }
        };
        Self { address, heard, _task: AbortOnDropHandle::new(TaskTracker::new().spawn(serve)) }
    }

    pub(crate) async fn heard(&mut self) -> Heard {
        tokio::time::timeout(LONG, self.heard.recv()).await.unwrap().unwrap()
    }
}

async fn converse(mut stream: TcpStream, answer: &[u8], then: Then, tx: &mpsc::Sender<Heard>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    tx.send(Heard::Request { head, body: serde_json::from_slice(&body).unwrap() }).await.unwrap();
    stream.write_all(answer).await.unwrap();
    if then == Then::Wait {
        assert!(stream.read_u8().await.is_err(), "a second request on a connection in use");
        tx.send(Heard::HungUp).await.unwrap();
    }
}

pub(crate) fn http(status: &str, content_type: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\nretry-after: 3\r\n\r\n{body}")
}

pub(crate) fn sse(body: &str) -> String {
    http("200 OK", "text/event-stream; charset=utf-8", body)
}

pub(crate) fn cx(timeout: Duration) -> CallContext {
    let deadline = Some(std::time::Instant::now() + timeout);
    CallContext { deadline, ..CallContext::new("call", "test") }
}
