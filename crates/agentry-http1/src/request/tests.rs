use proptest::prelude::*;

use super::*;

const MAX: usize = 1024;

/// Looks for a head in bytes that come one by one, and then all at once: both must say the same.
fn end_of(bytes: &[u8]) -> Result<Option<usize>, Flaw> {
    let (mut slowly, mut search) = (BytesMut::new(), Search::default());
    let mut said = Ok(None);
    for byte in bytes {
        slowly.extend_from_slice(&[*byte]);
        said = find_end(&mut slowly, &mut search, MAX);
        if said != Ok(None) {
            break;
        }
    }
    let at_once = find_end(&mut BytesMut::from(bytes), &mut Search::default(), MAX);
    // Who reads all at once may see one flaw behind the other.
    assert_eq!(said.is_ok(), at_once.is_ok(), "{}", bytes.escape_ascii());
    if said.is_ok() {
        assert_eq!(said, at_once, "{}", bytes.escape_ascii());
    }
    said
}

#[test]
fn the_end_of_a_head_is_found_however_it_comes() {
    let check = |bytes: &str, expected: Result<Option<usize>, Flaw>| {
        assert_eq!(end_of(bytes.as_bytes()), expected, "{bytes:?}");
    };
    check("", Ok(None));
    check("\r\n\r\n", Ok(None));
    check("GET / HTTP/1.1\r\n", Ok(None));
    check("GET / HTTP/1.1\r\na: b\r\n\r", Ok(None));
    check("GET / HTTP/1.1\r\n\r\n", Ok(Some(18)));
    check("GET / HTTP/1.1\r\n\r\nbody", Ok(Some(18)));
    check("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Ok(Some(18)));
    check("\nGET / HTTP/1.1\r\n\r\n", Err(Flaw::BareLineFeed));
    check("GET / HTTP/1.1\n\nGET", Err(Flaw::BareLineFeed));
    check("GET / HTTP/1.1\r\n\nGET", Err(Flaw::BareLineFeed));
    check(&"\r\n".repeat(MAX), Err(Flaw::HeadTooLong(MAX)));
    check("\x16\x03\x01", Err(Flaw::NotHttp(httparse::Error::Token)));
    let long = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(MAX));
    check(&long, Err(Flaw::HeadTooLong(MAX)));
    let whole = format!("{long}\r\n\r\n");
    let at_once = find_end(&mut BytesMut::from(whole.as_bytes()), &mut Search::default(), MAX);
    assert_eq!(at_once, Err(Flaw::HeadTooLong(MAX)));
}

/// The framing, whether the connection is kept, and whether the client waits to be asked.
fn outlook(lines: &str) -> Result<(Framing, bool, bool), Flaw> {
    let head = read(&Bytes::from(format!("{lines}\r\n\r\n").replace('|', "\r\n")))?;
    Ok((head.framing, head.is_kept, head.asks_first))
}

#[test]
fn a_head_says_what_comes_next() {
    let check = |lines: &str, expected: (Framing, bool, bool)| {
        assert_eq!(outlook(lines), Ok(expected), "{lines}");
    };
    check("GET / HTTP/1.1|host: a", (Framing::Over, true, false));
    check("GET / HTTP/1.1|connection: x, Close", (Framing::Over, false, false));
    check("GET / HTTP/1.0", (Framing::Over, false, false));
    check("GET / HTTP/1.0|connection: keep-alive", (Framing::Over, true, false));
    check("GET / HTTP/1.0|connection: keep-alive, close", (Framing::Over, false, false));
    check("POST / HTTP/1.1|content-length: 007", (Framing::Length(7), true, false));
    check("POST / HTTP/1.1|content-length: 0", (Framing::Over, true, false));
    check("POST / HTTP/1.1|Transfer-Encoding: Chunked", (Framing::CHUNKED, true, false));
    let asks = "POST / HTTP/1.1|expect: 100-Continue|content-length: 5";
    check(asks, (Framing::Length(5), true, true));
    let asks = "POST / HTTP/1.0|expect: 100-continue|content-length: 5";
    check(asks, (Framing::Length(5), false, false));
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let check = |lines: &str, flaw: Flaw| assert_eq!(outlook(lines), Err(flaw), "{lines}");
    let coding = "transfer-encoding: chunked";
    check(&format!("POST / HTTP/1.1|content-length: 5|{coding}"), Flaw::LengthAndCoding);
    check(&format!("POST / HTTP/1.1|{coding}|content-length: 5"), Flaw::LengthAndCoding);
    check("POST / HTTP/1.1|content-length: 5|content-length: 5", Flaw::Length);
    for length in ["", "+5", "-5", "5, 5", "5 5", "0x5", "5.0", "99999999999999999999", "\u{661}"] {
        check(&format!("POST / HTTP/1.1|content-length: {length}"), Flaw::Length);
    }
    for codings in
        ["gzip", "gzip, chunked", "chunked, chunked", "xchunked", "chunked;q=1", "identity", ""]
    {
        check(&format!("POST / HTTP/1.1|transfer-encoding: {codings}"), Flaw::Coding);
    }
    check(&format!("POST / HTTP/1.1|{coding}|{coding}"), Flaw::Coding);
    check(&format!("POST / HTTP/1.0|{coding}"), Flaw::Coding);
    check("GET / HTTP/1.1|host: a\n|x: y", Flaw::BareLineFeed);
}

#[test]
fn what_is_no_request_is_refused() {
    let is_no_http = |lines: &str| {
        let said = outlook(lines);
        assert!(matches!(said, Err(Flaw::NotHttp(_) | Flaw::Target)), "{lines:?}: {said:?}");
    };
    is_no_http("GET /");
    is_no_http("GET / HTTP/2.0");
    is_no_http("GET x HTTP/1.1");
    is_no_http("GET h:1 HTTP/1.1");
    is_no_http("CONNECT h:1 HTTP/1.1");
    is_no_http("GET / HTTP/1.1|x-a : b");
    is_no_http("GET / HTTP/1.1|x-a: b| c");
    is_no_http("GET / HTTP/1.1| x-a: b");
    is_no_http("GET / HTTP/1.1|x-a");
    is_no_http("GET / HTTP/1.1|x-a: \0");
    is_no_http("GET / HTTP/1.1|x\u{e9}: b");
    is_no_http("G(T / HTTP/1.1");
    is_no_http("GET  HTTP/1.1");
    let target = format!("GET /{} HTTP/1.1", "x".repeat(TARGET_MAX));
    assert_eq!(outlook(&target), Err(Flaw::TargetTooLong));
    let fields = |count: usize| format!("GET / HTTP/1.1{}", "|a: b".repeat(count));
    assert_eq!(outlook(&fields(FIELDS_MAX)), Ok((Framing::Over, true, false)));
    assert_eq!(outlook(&fields(FIELDS_MAX + 1)), Err(Flaw::FieldsTooMany));
}

#[test]
fn a_head_keeps_its_fields_as_they_came() {
    let head =
        Bytes::from_static(b"POST /v1/x?y=z HTTP/1.1\r\nHost: a:1\r\nX-A: 1\r\nx-a:  2 \r\n\r\n");
    let parts = read(&head).unwrap().parts;
    assert_eq!((parts.method.as_str(), parts.uri.to_string().as_str()), ("POST", "/v1/x?y=z"));
    let said: Vec<_> = parts.headers.get_all("x-a").iter().collect();
    assert_eq!(said, ["1", "2"]);
}

proptest! {
    #[test]
    fn whatever_comes_is_taken_or_refused(bytes in prop::collection::vec(
        prop::sample::select(b"GET /ab:1.\r\n\r\n\n \t\0\x80".to_vec()), 0..120,
    )) {
        if let Ok(Some(end)) = end_of(&bytes) {
            let start = bytes.len() - {
                let mut left = BytesMut::from(bytes.as_slice());
                let _ = find_end(&mut left, &mut Search::default(), MAX);
                left.len()
            };
            let head = Bytes::copy_from_slice(&bytes[start..start + end]);
            // Whether it is one or not: nothing panics, and what is taken has no bare line feed.
            if read(&head).is_ok() {
                prop_assert!(!head.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r'));
            }
        }
    }
}
