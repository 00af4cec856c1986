//! Requests on a connection: however the bytes are cut, the same ones are answered, and none behind one that is refused.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_http1::{Flaw, Incoming, Patience, serve};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::pieces;
use crate::Shape;

/// Longer than an input may take.
const LONG: Duration = Duration::from_secs(600);

const PATIENCE: Patience =
    Patience { head_bytes_max: 1 << 12, head: LONG, idle: LONG, write_stall: LONG, linger: LONG };

/// What was asked, and with how many bytes; or that it was refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Heard {
    Whole(String, Bytes),
    Refused,
}

pub(crate) fn http1(data: &[u8]) -> u64 {
    let (whole, answers) = talk(&[data]);
    let (cut, _) = talk(&pieces(data));
    assert_eq!(whole, cut, "a split changes the requests");
    let (after, _) = talk(&[&large(), data]);
    assert_eq!(after.get(1..), Some(whole.as_slice()), "a large request changes those after it");
    let refused = whole.iter().position(|heard| *heard == Heard::Refused);
    assert!(refused.is_none_or(|at| at + 1 == whole.len()), "something follows what was refused");
    assert!(answers <= whole.len(), "more is answered than was asked");
    for heard in &whole {
        if let Heard::Whole(_, body) = heard {
            assert!(body.len() <= data.len(), "a body of more than there is");
        }
    }
    let kinds = whole.iter().map(|heard| match heard {
        Heard::Whole(asked, body) => (asked.len().min(20), body.len().min(9)),
        Heard::Refused => (0, 0),
    });
    Shape::new().with(kinds.take(5).collect::<Vec<_>>()).with(answers.min(5)).done()
}

/// What comes after such a request is read in another way.
fn large() -> Vec<u8> {
    const LENGTH: usize = 9000;
    let mut large = format!("POST / HTTP/1.1\r\ncontent-length: {LENGTH}\r\n\r\n").into_bytes();
    large.resize(large.len() + LENGTH, b'x');
    large
}

/// What is heard of bytes that come in `parts`, and how many answers come back.
fn talk(parts: &[&[u8]]) -> (Vec<Heard>, usize) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        for end in [&ours, &theirs] {
            end.set_nonblocking(true).expect("a socket that does not block");
        }
        let notes = Arc::default();
        let ((), answers) = tokio::join!(answer(ours, &notes), ask(theirs, parts));
        let heard = notes.lock().expect("nobody panicked").clone();
        (heard, answers)
    })
}

async fn answer(stream: UnixStream, notes: &Arc<Mutex<Vec<Heard>>>) {
    let stream = std::net::TcpStream::from(OwnedFd::from(stream));
    let stream = tokio::net::TcpStream::from_std(stream).expect("a socket of the runtime");
    let service = |request| -> Pin<Box<dyn Future<Output = _>>> {
        let notes = Arc::clone(notes);
        Box::pin(async move {
            let heard = hear(request).await;
            notes.lock().expect("nobody panicked").push(heard);
            Response::new(Full::new(Bytes::from_static(b"<>")))
        })
    };
    // How it ended shows in what was heard.
    let _ = serve((stream, Bytes::new()), &PATIENCE, service, std::future::pending()).await;
}

async fn hear(request: Result<Request<Incoming>, Flaw>) -> Heard {
    let Ok(request) = request else { return Heard::Refused };
    let asked = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
    let announced = request.body().size_hint().exact();
    match request.into_body().collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            assert!(announced.is_none_or(|length| length == body.len() as u64), "another length");
            Heard::Whole(asked, body)
        }
        Err(_) => Heard::Refused,
    }
}

async fn ask(stream: UnixStream, parts: &[&[u8]]) -> usize {
    let stream = tokio::net::UnixStream::from_std(stream).expect("a socket of the runtime");
    let (mut read, mut write) = stream.into_split();
    let send = async {
        for part in parts {
            // Who refuses the rest may be gone.
            if write.write_all(part).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        // The clock stands still until nobody has anything to do: all of it was read, as far as it will be.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let _ = write.shutdown().await;
    };
    let mut answers = Vec::new();
    let take = async {
        let _ = read.read_to_end(&mut answers).await;
    };
    tokio::join!(send, take);
    answers.windows(8).filter(|window| *window == b"HTTP/1.1" || *window == b"HTTP/1.0").count()
        - answers.windows(12).filter(|window| *window == b"HTTP/1.1 100").count()
}
