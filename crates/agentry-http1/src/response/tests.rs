use http::HeaderValue;

use super::*;

fn written(out: &mut Out) -> String {
    let mut said = Vec::new();
    while !out.is_empty() {
        let mut slices = [IoSlice::new(&[]); 2];
        let count = out.slices(&mut slices);
        // No more than a few bytes at a time, over the ends of slices.
        let part: Vec<u8> =
            slices[..count].iter().flat_map(|slice| slice.to_vec()).take(7).collect();
        out.advance(part.len());
        said.extend(part);
    }
    String::from_utf8(said).unwrap()
}

#[test]
fn a_head_says_how_its_body_ends_and_nothing_else_does() {
    let check = |asked: (bool, Version, bool), status: u16, length: Option<u64>, expected: &str| {
        let (is_head, version, is_kept) = asked;
        let asked = Asked { is_head, version, is_kept };
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("1"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("99"));
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let status = StatusCode::from_u16(status).unwrap();
        let telling = Telling::of(&asked, status, length);
        let mut out = Out::default();
        write_head(&mut out, (status, &headers), (&asked, telling));
        assert_eq!(written(&mut out), expected.replace('|', "\r\n"));
    };
    let kept = (false, Version::HTTP_11, true);
    check(kept, 200, Some(2), "HTTP/1.1 200 OK|x-a: 1|content-length: 2||");
    check(kept, 200, None, "HTTP/1.1 200 OK|x-a: 1|transfer-encoding: chunked||");
    check(kept, 204, Some(0), "HTTP/1.1 204 No Content|x-a: 1||");
    check(kept, 304, None, "HTTP/1.1 304 Not Modified|x-a: 1||");
    check(kept, 599, Some(0), "HTTP/1.1 599 Unknown|x-a: 1|content-length: 0||");
    let last = (false, Version::HTTP_11, false);
    check(last, 200, Some(2), "HTTP/1.1 200 OK|x-a: 1|content-length: 2|connection: close||");
    let head = (true, Version::HTTP_11, true);
    check(head, 200, Some(2), "HTTP/1.1 200 OK|x-a: 1|content-length: 99||");
    let old = (false, Version::HTTP_10, true);
    check(old, 200, Some(2), "HTTP/1.0 200 OK|x-a: 1|content-length: 2|connection: keep-alive||");
    check(
        (false, Version::HTTP_10, false),
        200,
        None,
        "HTTP/1.0 200 OK|x-a: 1|connection: close||",
    );
}

#[test]
fn small_and_large_things_leave_in_their_order() {
    let large = "x".repeat(SMALL);
    let mut out = Out::default();
    out.push_chunk(Bytes::from_static(b"one"));
    out.push_chunk(Bytes::new());
    out.push_chunk(Bytes::from(large.clone()));
    out.push_chunk(Bytes::from_static(b"two"));
    out.push_last_chunk();
    let expected = format!("3\r\none\r\n{SMALL:x}\r\n{large}\r\n3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!(out.len(), expected.len());
    assert_eq!(written(&mut out), expected);
    assert!(out.is_empty());
}
