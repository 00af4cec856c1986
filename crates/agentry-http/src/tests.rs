use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::*;

const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(20);

/// Serves each connection with `serve` until it is dropped.
struct Peer {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Peer {
    async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio_util::task::TaskTracker::new().spawn(async move {
            let tracker = tokio_util::task::TaskTracker::new();
            while let Ok((stream, _)) = listener.accept().await {
                tracker.spawn(serve(stream));
            }
        });
        Self { address, _task: AbortOnDropHandle::new(task) }
    }

    /// Reads the head of a request, writes `answer`, and then keeps the connection or drops it.
    async fn answering(answer: &'static str, then: Then) -> Self {
        Self::start(move |mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            match then {
                Then::Close => {}
                Then::Hang => std::future::pending().await,
            }
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}/x", self.address)
    }
}

#[derive(Clone, Copy)]
enum Then {
    Close,
    Hang,
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

async fn fetch(url: &str, deadlines: Deadlines) -> Result<Response<Bytes>, Error> {
    Client::new(&Settings::default()).fetch(get(url), &deadlines, 1_000).await
}

/// What is left of a result when times and addresses are taken out of it.
fn outline(result: Result<Response<Bytes>, Error>) -> String {
    match result {
        Ok(response) => format!("{} {:?}", response.status().as_u16(), response.body()),
        Err(Error::TimedOut { phase, .. }) => format!("timed out: {phase:?}"),
        Err(Error::Connect { .. }) => "connect".to_owned(),
        Err(Error::Broken { .. }) => "broken".to_owned(),
        Err(Error::TooLarge { bytes_max }) => format!("larger than {bytes_max}"),
        Err(Error::InvalidUrl { reason, .. }) => reason.to_owned(),
    }
}

async fn check(answer: &'static str, then: Then, deadlines: Deadlines, expected: &str) {
    let peer = Peer::answering(answer, then).await;
    assert_eq!(outline(fetch(&peer.url(), deadlines).await), expected, "{answer:?}");
}

#[tokio::test]
async fn a_response_comes_back_whole_or_with_the_reason_why_not() {
    let long = Deadlines::within(LONG);
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    check(ok, Then::Hang, long, "200 b\"hi\"").await;
    check("HTTP/1.1 503 No\r\n\r\nbusy", Then::Close, long, "503 b\"busy\"").await;
    let chunked =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    check(chunked, Then::Hang, long, "200 b\"abc\"").await;
    check("", Then::Close, long, "broken").await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", Then::Close, long, "broken").await;
    check(ok, Then::Hang, Deadlines::within(Duration::MAX), "200 b\"hi\"").await;
    check("SSH-2.0-x\r\n\r\n", Then::Close, long, "broken").await;
    let huge: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1_001)).into_boxed_str());
    check(huge, Then::Close, long, "larger than 1000").await;
}

#[tokio::test]
async fn each_wait_has_its_own_deadline() {
    let head = Deadlines { head: SHORT, idle: LONG, total: LONG };
    check("", Then::Hang, head, "timed out: Head").await;
    let idle = Deadlines { head: LONG, idle: SHORT, total: LONG };
    check("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", Then::Hang, idle, "timed out: Idle")
        .await;
    let total = Deadlines { head: LONG, idle: LONG, total: SHORT };
    check("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", Then::Hang, total, "timed out: Total")
        .await;
    check("", Then::Hang, Deadlines { head: LONG, idle: LONG, total: SHORT }, "timed out: Total")
        .await;
}

#[tokio::test]
async fn a_body_that_trickles_for_ever_ends_at_the_total_deadline() {
    let peer = Peer::start(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let total = Deadlines { head: LONG, idle: LONG, total: SHORT };
    let client = Client::new(&Settings::default());
    let result = client.fetch(get(&peer.url()), &total, usize::MAX).await;
    assert_eq!(outline(result), "timed out: Total");
}

#[tokio::test]
async fn what_never_left_is_told_from_what_may_have_arrived() {
    // A port that was just free, and has nobody behind it.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused = fetch(&format!("http://{closed}/"), Deadlines::within(LONG)).await.unwrap_err();
    assert!(matches!(refused, Error::Connect { .. }), "{refused}");
    assert!(refused.to_string().contains("refused"), "{refused}");
    assert!(!refused.may_have_been_processed());

    let hung_up = Peer::answering("", Then::Close).await;
    let broken = fetch(&hung_up.url(), Deadlines::within(LONG)).await.unwrap_err();
    assert!(broken.may_have_been_processed(), "{broken}");

    for url in ["ftp://host/", "/relative", "host:80"] {
        let error = fetch(url, Deadlines::within(LONG)).await.unwrap_err();
        assert!(matches!(error, Error::InvalidUrl { .. }), "{url}: {error}");
        assert!(!error.may_have_been_processed());
    }
}

#[tokio::test]
async fn connecting_has_a_deadline_that_includes_the_handshake() {
    // It accepts, and then says nothing: a TLS handshake that never ends.
    let peer = Peer::start(|stream| async move {
        let _held = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let client = Client::new(&Settings { connect_timeout: SHORT, ..Settings::default() });
    let url = format!("https://{}/", peer.address);
    let error = client.fetch(get(&url), &Deadlines::within(LONG), 10).await.unwrap_err();
    assert_eq!(error, Error::TimedOut { phase: Phase::Connect, after: SHORT });
    assert!(!error.may_have_been_processed());
}

#[tokio::test]
async fn https_offers_both_versions_of_http_and_says_why_it_failed() {
    let (hello, mut heard) = tokio::sync::mpsc::channel(1);
    let peer = Peer::start(move |mut stream| {
        let hello = hello.clone();
        async move {
            let mut bytes = vec![0; 4_096];
            let length = stream.read(&mut bytes).await.unwrap();
            bytes.truncate(length);
            hello.send(bytes).await.unwrap();
            // A fatal alert: handshake failure.
            stream.write_all(&[21, 3, 3, 0, 2, 2, 40]).await.unwrap();
        }
    })
    .await;
    let url = format!("https://localhost:{}/", peer.address.port());
    let error = fetch(&url, Deadlines::within(LONG)).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(error.to_string().contains("HandshakeFailure"), "{error}");
    let hello = heard.recv().await.unwrap();
    for offered in [&b"localhost"[..], b"\x02h2", b"\x08http/1.1"] {
        assert!(hello.windows(offered.len()).any(|window| window == offered), "{offered:?}");
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let (connections, mut seen) = tokio::sync::mpsc::channel(8);
    let peer = Peer::start(move |mut stream| {
        let connections = connections.clone();
        async move {
            connections.send(()).await.unwrap();
            while read_head(&mut stream).await.starts_with("GET") {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
                stream.write_all(answer).await.unwrap();
            }
        }
    })
    .await;
    let client = Client::new(&Settings::default());
    for _ in 0..3 {
        let response = client.fetch(get(&peer.url()), &Deadlines::within(LONG), 10).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert!(seen.recv().await.is_some());
    assert!(seen.try_recv().is_err(), "more than one connection was opened");
}

#[tokio::test]
async fn chunks_are_handed_out_as_they_arrive_and_a_dropped_body_hangs_up() {
    let (hung_up, mut heard) = tokio::sync::mpsc::channel(1);
    let peer = Peer::start(move |mut stream| {
        let hung_up = hung_up.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nfirst").await.unwrap();
            // Ends when the client closes its side.
            let _ = stream.read_u8().await;
            hung_up.send(()).await.unwrap();
        }
    })
    .await;
    let client = Client::new(&Settings::default());
    let response = client.send(get(&peer.url()), &Deadlines::within(LONG)).await.unwrap();
    let mut body = response.into_body();
    assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b"first"))));
    drop(body);
    assert_eq!(tokio::time::timeout(LONG, heard.recv()).await, Ok(Some(())));
}

#[tokio::test]
async fn no_request_hears_what_was_meant_for_another() {
    /// Whether a second request goes over the connection of the first.
    #[derive(PartialEq)]
    enum Next {
        Same,
        Another,
    }
    use Next::{Another, Same};
    let check = async |answer: &'static str, first: &str, next: Next| {
        let (opened, mut connections) = tokio::sync::mpsc::channel(8);
        let peer = Peer::start(move |mut stream| {
            let opened = opened.clone();
            async move {
                opened.send(()).await.unwrap();
                read_head(&mut stream).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
                while !read_head(&mut stream).await.is_empty() {
                    let again = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nagain";
                    stream.write_all(again).await.unwrap();
                }
            }
        })
        .await;
        let client = Client::new(&Settings::default());
        let within = Deadlines::within(LONG);
        let said = client.fetch(get(&peer.url()), &within, 100).await;
        assert_eq!(outline(said), first, "{answer:?}");
        // As soon as there is anything to be used again, and as soon as it is known what came with it.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        let said = outline(client.fetch(get(&peer.url()), &within, 100).await);
        let expected = if next == Same { "200 b\"again\"" } else { first };
        assert_eq!(said, expected, "the second time, after {answer:?}");
        connections.recv().await.unwrap();
        assert_eq!(connections.try_recv().is_err(), next == Same, "{answer:?}");
    };
    let hi = "200 b\"hi\"";
    check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", hi, Same).await;
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", hi, Same)
        .await;
    check("HTTP/1.1 204 No Content\r\n\r\n", "204 b\"\"", Same).await;
    check("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", hi, Same)
        .await;
    check(
        "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        hi,
        Same,
    )
    .await;
    check("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi", hi, Another).await;
    check("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", hi, Another).await;
    let forged = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
    check(forged, hi, Another).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi\r\n", hi, Another).await;
    // Half of it is read, and nobody waits for the rest.
    let larger = "larger than 100";
    check(concat!("HTTP/1.1 200 OK\r\ncontent-length: 150\r\n\r\n", "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789", "0123456789012345678901234567890123456789"), larger, Another).await;
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi!",
        "broken",
        Another,
    )
    .await;
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhi", "broken", Another).await;
}
