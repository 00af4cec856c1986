//! What the front door does with clients that mean ill, or do not know better. Raw bytes throughout.

use std::time::Duration;

use agentry_server::Settings;
use futures_util::future::join_all;

use crate::support::{Server, settings};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// What a client does.
enum Act {
    /// Sends this and then waits.
    Send(Vec<u8>),
    /// Sends the first, and then the second again and again.
    Drip(Vec<u8>, Vec<u8>),
}

/// What must happen: the answer starts with the first and contains the second; then the connection is closed.
struct Case(&'static str, Act, &'static str, &'static str);

fn send(bytes: impl Into<Vec<u8>>) -> Act {
    Act::Send(bytes.into())
}

fn drip(first: impl Into<Vec<u8>>, then: impl Into<Vec<u8>>) -> Act {
    Act::Drip(first.into(), then.into())
}

/// Runs every case against one server, all at the same time, and asks for its health at the end.
async fn check(cases: Vec<Case>) {
    let server = Server::start(settings()).await;
    join_all(cases.into_iter().map(async |Case(name, act, status, contains)| {
        let mut client = server.connect().await;
        let answer = match act {
            Act::Send(bytes) => {
                client.send(bytes).await;
                client.rest().await
            }
            Act::Drip(first, then) => {
                client.send(first).await;
                client.drip(&then, Duration::from_millis(50)).await
            }
        };
        let fits = match status {
            "" => answer.is_empty(),
            _ => answer.starts_with("HTTP/1.") && answer[9..].starts_with(status),
        };
        assert!(fits, "{name}: expected `{status}`, got {answer:?}");
        assert!(answer.contains(contains), "{name}: no {contains:?} in {answer:?}");
        if !contains.is_empty() {
            let id = answer.contains("x-request-id: ");
            assert!(id, "{name}: no request id in {answer:?}");
        }
    }))
    .await;
    server.assert_healthy("all of it").await;
    server.stop().await;
}

#[tokio::test]
async fn connections_that_go_nowhere_are_closed() {
    let chat =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let unread = PREFACE.iter().chain(EMPTY_SETTINGS).copied().collect::<Vec<_>>();
    check(vec![
        Case("says nothing", send(""), "", ""),
        Case("one byte", send("G"), "", ""),
        Case("a byte of the preface", send("P"), "", ""),
        Case("half a preface", send(&PREFACE[..12]), "", ""),
        Case("half a request line", send("GET /hea"), "", ""),
        Case("half a head", send("GET /health HTTP/1.1\r\nhost: a\r\n"), "", ""),
        Case("a head that drips", drip("GET /health HTTP/1.1\r\n", "x"), "", ""),
        Case("header lines that drip", drip("GET /health HTTP/1.1\r\n", "x: y\r\n"), "", ""),
        Case("empty lines that drip", drip("\r\n", "\r\n"), "", ""),
        Case(
            "keeps the connection",
            send("GET /health HTTP/1.1\r\nhost: a\r\n\r\n"),
            "200",
            "alive",
        ),
        Case(
            "half a second head",
            send("GET /health HTTP/1.1\r\nhost: a\r\n\r\nGET /hea"),
            "200",
            "alive",
        ),
        Case("no body", send(format!("{chat}content-length: 9\r\n\r\n")), "408", "body_too_slow"),
        Case(
            "half a body",
            send(format!("{chat}content-length: 9\r\n\r\n{{")),
            "408",
            "after 1 bytes",
        ),
        Case(
            "a body that drips",
            drip(format!("{chat}content-length: 9000\r\n\r\n"), " "),
            "408",
            "body_too_slow",
        ),
        Case(
            "chunks that drip",
            drip(format!("{chat}transfer-encoding: chunked\r\n\r\n"), "1\r\n \r\n"),
            "408",
            "body_too_slow",
        ),
        Case(
            "half a chunk",
            send(format!("{chat}transfer-encoding: chunked\r\n\r\n5\r\nab")),
            "408",
            "",
        ),
    ])
    .await;

    // HTTP/2 answers with frames, so only the closing counts.
    let server = Server::start(settings()).await;
    let half_headers = [&unread[..], &[0, 0, 40, 1, 4, 0, 0, 0, 1, 0x82]].concat();
    for (name, bytes) in [
        ("a preface and no settings", PREFACE.to_vec()),
        ("settings and no request", unread),
        ("half a header frame", half_headers),
        ("a preface and nonsense", [PREFACE, b"GET / HTTP/1.1\r\n\r\n"].concat()),
    ] {
        server.exchange(bytes).await;
        server.assert_healthy(name).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn requests_with_two_meanings_are_refused() {
    let post =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let (cl, te) = ("content-length: 5\r\n", "transfer-encoding: chunked\r\n");
    let body = "0\r\n\r\n";
    let get = "GET /health HTTP/1.1\r\nhost: a\r\n\r\n";
    let case = |name, bytes: String, status, contains| Case(name, send(bytes), status, contains);
    check(vec![
        case("length, coding", format!("{post}{cl}{te}\r\n{body}"), "400", "framing_ambiguous"),
        case("coding, length", format!("{post}{te}{cl}\r\n{body}"), "400", "framing_ambiguous"),
        case(
            "shouted",
            format!("{post}{}{te}\r\n{body}", cl.to_uppercase()),
            "400",
            "framing_ambiguous",
        ),
        case(
            "both on GET",
            format!("GET /health HTTP/1.1\r\nhost: a\r\n{te}{cl}\r\n{body}"),
            "400",
            "framing_ambiguous",
        ),
        case(
            "both, zero",
            format!("{post}content-length: 0\r\n{te}\r\n{body}"),
            "400",
            "framing_ambiguous",
        ),
        case(
            "both in the second",
            format!("{get}{post}{cl}{te}\r\n{body}"),
            "200",
            "framing_ambiguous",
        ),
        case(
            "two lengths",
            format!("{post}content-length: 5\r\ncontent-length: 6\r\n\r\n"),
            "400",
            "",
        ),
        case("a signed length", format!("{post}content-length: +5\r\n\r\n"), "400", ""),
        case("a list of lengths", format!("{post}content-length: 5, 5\r\n\r\n"), "400", ""),
        case("a strange coding", format!("{post}transfer-encoding: xchunked\r\n\r\n"), "400", ""),
        case("a coding on 1.0", format!("POST / HTTP/1.0\r\n{te}\r\n"), "400", ""),
        case("a space before the colon", format!("{post}x-a : b\r\n\r\n"), "400", ""),
        case("a folded line", format!("{post}x-a: b\r\n c\r\n\r\n"), "400", ""),
        case("a NUL in a header", format!("{post}x-a: \0\r\n\r\n"), "400", ""),
        case("an overflowing chunk", format!("{post}{te}\r\nfffffffffffffffff\r\n"), "400", ""),
    ])
    .await;
}

#[tokio::test]
async fn requests_for_no_host_are_refused() {
    let case = |name, bytes: String, status, contains| Case(name, send(bytes), status, contains);
    check(vec![
        case("bare line feeds", "GET /health HTTP/1.1\nhost: a\n\n".into(), "400", "CR LF"),
        case("no host", "GET /health HTTP/1.1\r\n\r\n".into(), "400", "host_missing"),
        case(
            "two hosts",
            "GET /health HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n".into(),
            "400",
            "host_duplicate",
        ),
        case(
            "an empty host",
            "GET /health HTTP/1.1\r\nhost:\r\n\r\n".into(),
            "400",
            "host_invalid",
        ),
        case(
            "a strange host",
            "GET /health HTTP/1.1\r\nhost: a b/c\r\n\r\n".into(),
            "400",
            "host_invalid",
        ),
        case(
            "a target elsewhere",
            "GET http://b/health HTTP/1.1\r\nhost: a\r\n\r\n".into(),
            "400",
            "host_duplicate",
        ),
        case(
            "a target elsewhere without host",
            "GET http://a/health HTTP/1.1\r\n\r\n".into(),
            "400",
            "host_missing",
        ),
        case(
            "a whole target",
            "GET http://a/health HTTP/1.1\r\nhost: A\r\n\r\n".into(),
            "200",
            "alive",
        ),
        case(
            "a host for a target",
            "GET a:1 HTTP/1.1\r\nhost: a\r\n\r\n".into(),
            "400",
            "head_invalid",
        ),
        case("1.0 without host", "GET /health HTTP/1.0\r\n\r\n".into(), "200", "alive"),
        case("no such version", "GET /health HTTP/3.7\r\nhost: a\r\n\r\n".into(), "400", ""),
        case("no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".into(), "400", ""),
    ])
    .await;
}

#[tokio::test]
async fn requests_that_are_too_much_are_refused() {
    let head = "GET /health HTTP/1.1\r\nhost: a\r\n";
    let post =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let lines: String = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = "y".repeat(600_000);
    let body = "z".repeat(300_000);
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    check(vec![
        Case("too many headers", send(format!("{head}{lines}\r\n")), "431", ""),
        Case("a long header", send(format!("{head}x: {long}\r\n\r\n")), "431", ""),
        Case(
            "a long path",
            send(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", &long[..70_000])),
            "4",
            "",
        ),
        Case(
            "a large body",
            send(format!("{post}content-length: {}\r\n\r\n{body}", body.len())),
            "413",
            "10000 bytes",
        ),
        Case(
            "a large chunked body",
            send(format!("{post}transfer-encoding: chunked\r\n\r\n{chunked}")),
            "413",
            "body_too_large",
        ),
        Case(
            "a boast",
            send(format!("{post}content-length: 99999999999\r\n\r\n")),
            "413",
            "body_too_large",
        ),
        Case(
            "asks before it sends",
            send(format!("{post}expect: 100-continue\r\ncontent-length: 100000000\r\n\r\n")),
            "413",
            "body_too_large",
        ),
    ])
    .await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_to_come_back() {
    let server =
        Server::start(Settings { connections_max: 2, idle: Duration::from_secs(60), ..settings() })
            .await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut client = server.connect().await;
        client.send("GET /health HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.until("alive").await;
        kept.push(client);
    }
    let refused = server.get("/health").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("too_many_connections"), "{refused}");

    kept.pop();
    // The place is free once the server has seen the connection end.
    let served = async {
        while !server.get("/health").await.starts_with("HTTP/1.1 200 ") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, served).await.expect("a free place");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let server = Server::start(settings()).await;
    let body = r#"{"model":"fast","stream":true,"messages":[{"role":"user","content":"flood"}]}"#;
    let mut client = server.connect().await;
    client.send(crate::support::post("/v1/chat/completions", body)).await;
    server.model.wait_open(1).await;
    server.model.wait_open(0).await;
    server.assert_healthy("a flood").await;
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_spoken_and_bounded() {
    use hyper::client::conn::http2;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let server = Server::start(Settings { idle: Duration::from_secs(60), ..settings() }).await;
    let stream = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let (mut sender, connection) = http2::handshake::<_, _, http_body_util::Empty<bytes::Bytes>>(
        TokioExecutor::new(),
        TokioIo::new(stream),
    )
    .await
    .unwrap();
    #[expect(clippy::disallowed_methods, reason = "ends with the test")]
    tokio::spawn(connection);
    let request = |uri: &str| http::Request::get(uri).body(http_body_util::Empty::new()).unwrap();
    let good = sender.send_request(request("http://a/health")).await.unwrap();
    assert_eq!(good.status(), 200);
    assert!(good.headers().contains_key("x-request-id"));

    let mut torn = request("http://a/health");
    torn.headers_mut().insert("host", "b".parse().unwrap());
    assert_eq!(sender.send_request(torn).await.unwrap().status(), 400);
    drop(sender);

    // The first frame says how many streams are allowed: setting 3.
    let mut client = server.connect().await;
    client.send([PREFACE, EMPTY_SETTINGS].concat()).await;
    let frames = client.rest().await;
    let bytes = frames.as_bytes();
    let streams = [0, 3, 0, 0, 0, 100];
    assert!(bytes.windows(6).any(|window| window == streams), "{bytes:?}");
    server.stop().await;
}
