use super::*;

fn outlook(method: &Method, head: &'static str) -> Result<Option<(u16, Framing, bool)>, Flaw> {
    let read = read(&Bytes::from_static(head.as_bytes()), method)?;
    Ok(read.map(|(length, said)| {
        assert_eq!(length, head.len());
        let Head::Last(response, Outlook { framing, is_kept }) = said else { panic!("{head:?}") };
        (response.status().as_u16(), framing, is_kept)
    }))
}

#[test]
fn a_head_says_where_its_body_ends_and_whether_another_may_follow() {
    let check = |head, expected| assert_eq!(outlook(&Method::POST, head), expected, "{head:?}");
    let says = |framing, is_kept| Ok(Some((200, framing, is_kept)));
    let seven = || Framing::Length(7);
    check("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", says(seven(), true));
    check("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", says(Framing::Over, true));
    check("HTTP/1.1 200 OK\r\n\r\n", says(Framing::UntilClose, false));
    let closes = "HTTP/1.1 200 OK\r\nConnection: Close\r\ncontent-length: 7\r\n\r\n";
    check(closes, says(seven(), false));
    let closes = "HTTP/1.1 200 OK\r\nconnection: a, close\r\ncontent-length: 7\r\n\r\n";
    check(closes, says(seven(), false));
    check("HTTP/1.0 200 OK\r\ncontent-length: 7\r\n\r\n", says(seven(), false));
    let kept = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 7\r\n\r\n";
    check(kept, says(seven(), true));
    let twice = "HTTP/1.1 200 OK\r\ncontent-length: 7, 7\r\ncontent-length: 7\r\n\r\n";
    check(twice, says(seven(), true));
    let chunked = || Framing::CHUNKED;
    check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", says(chunked(), true));
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n", says(chunked(), true));
    check("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", says(Framing::UntilClose, false));
    let both = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 7\r\n\r\n";
    check(both, says(chunked(), false));
    let nothing = |status| Ok(Some((status, Framing::Over, true)));
    check("HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n", nothing(204));
    check("HTTP/1.1 304 Not Modified\r\n\r\n", nothing(304));
    check("HTTP/1.1 200 OK\r\ncontent-le", Ok(None));
    let two = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\ncontent-length: 8\r\n\r\n";
    check(two, Err(Flaw::Length));
    for length in ["-1", "+1", "x", "", "1 2", "99999999999999999999"] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let flaw = read(&head.clone().into(), &Method::GET).unwrap_err();
        assert_eq!(flaw, Flaw::Length, "{head}");
    }
    check("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Err(Flaw::Coding));
    check("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", Err(Flaw::Upgrade));
    check("SSH-2.0-x\r\n\r\n", Err(Flaw::Head(httparse::Error::Version)));
    let head = outlook(&Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n");
    assert_eq!(head, says(Framing::Over, true));
}

#[test]
fn the_fields_of_a_head_are_read_and_repeated_ones_kept() {
    let head = Bytes::from_static(b"HTTP/1.1 429 No\r\nRetry-After: 7\r\nA: 1\r\na: 2\r\n\r\nbody");
    let Some((_, Head::Last(response, _))) = read(&head, &Method::POST).unwrap() else { panic!() };
    let headers = response.headers();
    assert_eq!(headers.get("retry-after").unwrap(), "7");
    let repeated: Vec<_> = headers.get_all("a").iter().collect();
    assert_eq!(repeated, ["1", "2"]);
}

#[test]
fn what_only_comes_before_the_response_is_stepped_over() {
    let early =
        Bytes::from_static(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    assert!(matches!(read(&early, &Method::GET), Ok(Some((37, Head::Early)))));
}

#[test]
fn a_head_that_does_not_end_is_given_up() {
    let long = Bytes::from(format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(BYTES_MAX)));
    assert_eq!(read(&long, &Method::GET).unwrap_err(), Flaw::HeadTooLong);
}

#[test]
fn the_head_of_a_request_says_how_its_body_is_framed() {
    let check = |method: Method, uri: &str, body: &'static str, expected: &str| {
        let request = Request::builder().method(method).uri(uri).header("x-a", "1");
        let request = request.header("Content-Length", "99").body(body.into()).unwrap();
        assert_eq!(std::str::from_utf8(&write(&request, "h:1")).unwrap(), expected);
    };
    let expected = "POST /v1?a=b HTTP/1.1\r\nhost: h:1\r\nx-a: 1\r\ncontent-length: 2\r\n\r\n";
    check(Method::POST, "http://h:1/v1?a=b", "hi", expected);
    let expected = "POST / HTTP/1.1\r\nhost: h:1\r\nx-a: 1\r\ncontent-length: 0\r\n\r\n";
    check(Method::POST, "http://h:1", "", expected);
    check(Method::GET, "http://h:1?q", "", "GET /?q HTTP/1.1\r\nhost: h:1\r\nx-a: 1\r\n\r\n");
    let named = Request::get("http://h/").header("Host", "other");
    let named = named.body(Pieces::default()).unwrap();
    assert_eq!(write(&named, "h"), "GET / HTTP/1.1\r\nhost: other\r\n\r\n");
}
