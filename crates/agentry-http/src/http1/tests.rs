use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Two ends of one connection.
async fn pair() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (theirs, _) = listener.accept().await.unwrap();
    (Connection::new(Io::Plain(ours)), theirs)
}

async fn body(transfer: &mut Transfer) -> Result<Vec<u8>, String> {
    let mut whole = Vec::new();
    while let Some(piece) = std::future::poll_fn(|cx| transfer.poll_piece(cx)).await {
        whole.extend_from_slice(&piece.map_err(|broken| broken.to_string())?);
    }
    Ok(whole)
}

/// In more pieces than are written at once.
fn post(bytes: usize) -> Request<Pieces> {
    let body = Bytes::from(vec![b'x'; bytes]);
    let cut = |part| body.slice(bytes * part / 20..bytes * (part + 1) / 20);
    Request::post("http://h/").body((0..20).map(cut).collect()).unwrap()
}

/// More than any socket takes in while nobody reads.
const HUGE: usize = 64 << 20;

#[tokio::test]
async fn a_response_is_heard_that_comes_before_the_request_has_left() {
    let (connection, mut theirs) = pair().await;
    let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
    theirs.write_all(answer).await.unwrap();
    let response = connection.send(post(HUGE), "h").await.unwrap();
    assert_eq!(response.status(), 413);
    let mut transfer = response.into_body();
    assert_eq!(body(&mut transfer).await.unwrap(), b"no");
    assert!(transfer.into_connection().is_none(), "the rest of the request is still to come");
}

#[tokio::test]
async fn a_request_goes_on_after_the_response_has_begun() {
    let (connection, mut theirs) = pair().await;
    let serve = async {
        theirs.read_u8().await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        theirs.write_all(head).await.unwrap();
        let mut left = HUGE;
        let mut space = vec![0; 1 << 20];
        while left > 0 {
            left -= theirs.read(&mut space).await.unwrap().min(left);
        }
        theirs.write_all(b"2\r\nhi\r\n0\r\n\r\n").await.unwrap();
    };
    let ask = async {
        let mut transfer = connection.send(post(HUGE), "h").await.unwrap().into_body();
        body(&mut transfer).await
    };
    assert_eq!(tokio::join!(ask, serve).0.unwrap(), b"hi");
}

#[tokio::test]
async fn a_large_request_and_a_large_response_pass_whole() {
    let (connection, mut theirs) = pair().await;
    let large = 3 << 20;
    let serve = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(theirs.read_u8().await.unwrap());
        }
        let mut got = vec![0; large];
        theirs.read_exact(&mut got).await.unwrap();
        assert!(got.iter().all(|byte| *byte == b'x'));
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {large}\r\n\r\n");
        theirs.write_all(head.as_bytes()).await.unwrap();
        theirs.write_all(&vec![b'y'; large]).await.unwrap();
        theirs
    };
    let ask = async {
        let response = connection.send(post(large), "h").await.unwrap();
        let mut transfer = response.into_body();
        assert_eq!(transfer.left(), Some(large as u64));
        let whole = body(&mut transfer).await.unwrap();
        assert_eq!(whole.len(), large);
        assert!(whole.iter().all(|byte| *byte == b'y'));
        transfer.into_connection().unwrap()
    };
    let (mut connection, _theirs) = tokio::join!(ask, serve);
    assert!(connection.is_quiet());
}

#[tokio::test]
async fn a_response_may_come_byte_by_byte() {
    let (connection, mut theirs) = pair().await;
    let serve = async {
        let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        for byte in answer {
            theirs.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let ask = async {
        let mut transfer = connection.send(post(0), "h").await.unwrap().into_body();
        body(&mut transfer).await.unwrap()
    };
    assert_eq!(tokio::join!(ask, serve).0, b"hi");
}

#[tokio::test]
async fn what_breaks_off_is_told_from_what_ends() {
    let check = async |answer: &'static str, expected: Result<&str, &str>| {
        let (connection, mut theirs) = pair().await;
        theirs.write_all(answer.as_bytes()).await.unwrap();
        theirs.shutdown().await.unwrap();
        let said = match connection.send(post(2), "h").await {
            Ok(response) => body(&mut response.into_body()).await,
            Err(broken) => Err(broken.to_string()),
        };
        let said = said.map(|body| String::from_utf8(body).unwrap());
        assert_eq!(said.as_deref().map_err(String::as_str), expected, "{answer:?}");
    };
    check("HTTP/1.1 200 OK\r\n\r\nhi", Ok("hi")).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", Ok("hi")).await;
    let early = Err("it was closed before the response ended");
    check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi", early).await;
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n", early).await;
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n", early).await;
    let nothing = Err("it was closed before the response began");
    check("", nothing).await;
    check("HTTP/1.1 200 OK\r\ncontent-l", nothing).await;
}

#[tokio::test]
async fn an_idle_connection_is_not_used_once_anything_came_or_it_was_closed() {
    let (mut connection, mut theirs) = pair().await;
    assert!(connection.is_quiet());
    theirs.write_all(b"HTTP/1.1 200 OK").await.unwrap();
    let Io::Plain(ours) = &connection.io else { panic!("it has no TLS") };
    ours.readable().await.unwrap();
    assert!(!connection.is_quiet());

    let (mut connection, theirs) = pair().await;
    drop(theirs);
    let Io::Plain(ours) = &connection.io else { panic!("it has no TLS") };
    ours.readable().await.unwrap();
    assert!(!connection.is_quiet());
}
