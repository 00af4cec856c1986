use super::*;

/// Feeds `wire` whole, and then again one byte at a time: both must find the same.
fn check(wire: &str, expected: Option<(u64, Flaw)>, in_head: bool) {
    let expected = expected.map(|(request, flaw)| Flawed { request, flaw });
    let mut whole = Framing::default();
    assert_eq!(whole.observe(wire.as_bytes()), expected, "whole: {wire:?}");
    assert_eq!(whole.in_head(), in_head, "whole: {wire:?}");

    let mut single = Framing::default();
    let mut found = None;
    for byte in wire.as_bytes() {
        let flawed = single.observe(&[*byte]);
        found = found.or(flawed);
    }
    assert_eq!(found, expected, "single: {wire:?}");
    assert_eq!(single.in_head(), in_head, "single: {wire:?}");
}

#[test]
fn heads_are_told_from_bodies() {
    let both = Some((1, Flaw::LengthAndCoding));
    let long = "x".repeat(600);
    for (wire, expected, in_head) in [
        ("", None, false),
        ("\r\n\r\n", None, false),
        ("G", None, true),
        ("GET / HTTP/1.1\r\nHost: a\r\n", None, true),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", None, false),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", None, false),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", both, false),
        ("POST / HTTP/1.1\r\ntransfer-ENCODING:chunked\r\ncontent-length:3\r\n\r\n", both, false),
        // What looks like a head inside a body is not one.
        (
            "POST / HTTP/1.1\r\nContent-Length: 47\r\n\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            None,
            false,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nContent-Length: 1\r\n\r\n",
            None,
            false,
        ),
        // The second request of a connection.
        (
            "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiPOST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: x\r\n\r\n",
            Some((2, Flaw::LengthAndCoding)),
            false,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
            None,
            true,
        ),
        ("GET / HTTP/1.1\nHost: a\n\n", Some((1, Flaw::BareLineFeed)), false),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Some((1, Flaw::BareLineFeed)), false),
    ] {
        check(wire, expected, in_head);
    }
    check(&format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"), None, false);
    check(&format!("GET / HTTP/1.1\r\nX: {long}\n\r\n"), Some((1, Flaw::BareLineFeed)), false);
}
