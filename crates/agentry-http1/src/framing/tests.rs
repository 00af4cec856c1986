use proptest::prelude::*;

use super::*;

/// What is handed out of `bytes` that come in two reads, how the body stands then, and whether anything followed it.
fn read(framing: &Framing, bytes: &[u8], cut: usize) -> Result<(Vec<u8>, Framing, bool), Flaw> {
    let (mut whole, mut more) = (Vec::new(), false);
    let (first, second) = bytes.split_at(cut);
    let (mut copied, mut shared) = (framing.clone(), framing.clone());
    for part in [first, second] {
        let decoded = copied.decode_copied(part)?;
        assert_eq!(shared.decode(Bytes::copy_from_slice(part))?, decoded);
        assert_eq!(shared, copied);
        whole.extend_from_slice(&decoded.piece);
        more |= decoded.rest > 0;
        decoded.flaw.map_or(Ok(()), Err)?;
    }
    Ok((whole, copied, more))
}

#[track_caller]
fn check(framing: &Framing, bytes: &[u8], expected: Result<(&[u8], Framing, bool), Flaw>) {
    let expected = expected.map(|(body, framing, more)| (body.to_vec(), framing, more));
    for cut in 0..=bytes.len() {
        assert_eq!(read(framing, bytes, cut), expected, "cut at {cut}: {:?}", bytes.escape_ascii());
    }
}

#[test]
fn a_body_of_known_length_ends_there() {
    check(&Framing::of_length(2), b"hi", Ok((b"hi", Framing::Over, false)));
    check(&Framing::of_length(3), b"hi", Ok((b"hi", Framing::Length(1), false)));
    check(&Framing::of_length(2), b"hiHTTP", Ok((b"hi", Framing::Over, true)));
    check(&Framing::of_length(0), b"", Ok((b"", Framing::Over, false)));
    check(&Framing::UntilClose, b"hi", Ok((b"hi", Framing::UntilClose, false)));
}

#[test]
fn chunks_are_put_together_and_what_is_beside_them_is_left_out() {
    let ends = |bytes: &[u8], body: &[u8], more| {
        check(&Framing::CHUNKED, bytes, Ok((body, Framing::Over, more)));
    };
    ends(b"2\r\nhi\r\n0\r\n\r\n", b"hi", false);
    ends(b"2\r\nhi\r\n3\r\n\r\n!\r\n0\r\n\r\n", b"hi\r\n!", false);
    ends(b"02\r\nhi\r\nA;name=\"x\"\r\n0123456789\r\n000\r\n\r\n", b"hi0123456789", false);
    ends(b"2 \t\r\nhi\r\n0 ; x\r\nTrailer: 1\r\nother: 2\r\n\r\n", b"hi", false);
    ends(b"0\r\n\r\n", b"", false);
    ends(b"0\r\n\r\nHTTP/1.1 200 OK", b"", true);
    let open = |bytes: &[u8], body: &[u8], at: At| {
        let left = Framing::Chunked(Chunked { at, aside: 0 });
        check(&Framing::CHUNKED, bytes, Ok((body, left, false)));
    };
    open(b"5\r\nhi", b"hi", At::Data { left: 3 });
    open(b"2\r\nhi\r\n0\r\n", b"hi", At::Trailer);
}

#[test]
fn what_is_no_chunk_is_refused() {
    let refuses = |bytes: &[u8], flaw: Flaw| check(&Framing::CHUNKED, bytes, Err(flaw));
    refuses(b"zz\r\n", Flaw::Size);
    refuses(b"\r\n", Flaw::Size);
    refuses(b"-1\r\n", Flaw::Size);
    refuses(b"2\nhi\n", Flaw::Size);
    refuses(b"2\rhi", Flaw::Size);
    refuses(b"2;x\nhi", Flaw::Size);
    refuses(b"1000000000000000\r\n", Flaw::Size);
    refuses(b"2\r\nhi!\r\n", Flaw::End);
    refuses(b"2\r\nhi\n", Flaw::End);
    refuses(b"2 1\r\nhi", Flaw::Size);
    refuses(b"2 \n", Flaw::Size);
    refuses(b"0\r\nx: 1\n\r\n", Flaw::Trailer);
    refuses(b"0\r\nGET / HTTP/1.1\r\n\r\n", Flaw::Trailer);
    refuses(b"0\r\n: 1\r\n\r\n", Flaw::Trailer);
    refuses(b"0\r\n x: 1\r\n\r\n", Flaw::Trailer);
    refuses(b"0\r\nx: 1\r\n 2\r\n\r\n", Flaw::Trailer);
    refuses(b"0\r\nx: \0\r\n\r\n", Flaw::Trailer);
    refuses(b"0\r\n\rx", Flaw::End);
    let long = [b"2;".as_slice(), &vec![b'x'; 20_000]].concat();
    assert_eq!({ Framing::CHUNKED }.decode_copied(&long), Err(Flaw::Aside));
    let many = b"1;xxxxxxxx\r\na\r\n".repeat(3_000);
    assert_eq!({ Framing::CHUNKED }.decode_copied(&many).unwrap().flaw, Some(Flaw::Aside));
    let trailers = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(5_000)].concat();
    assert_eq!({ Framing::CHUNKED }.decode_copied(&trailers), Err(Flaw::Aside));
}

#[test]
fn what_came_before_a_flaw_is_handed_out() {
    let decoded = { Framing::CHUNKED }.decode_copied(b"2\r\nhi\r\nzz").unwrap();
    let piece = Bytes::from_static(b"hi");
    assert_eq!(decoded, Decoded { piece, rest: 0, flaw: Some(Flaw::Size) });
}

#[test]
fn only_what_has_no_other_end_ends_with_the_connection() {
    for (mut framing, may) in [
        (Framing::UntilClose, true),
        (Framing::Over, true),
        (Framing::Length(1), false),
        (Framing::CHUNKED, false),
    ] {
        assert_eq!(framing.close(), may, "{framing:?}");
        assert!(framing.is_over());
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_read_the_same_in_any_pieces(
        bytes in prop::collection::vec(prop::sample::select(b"012aF\r\n; x".to_vec()), 0..60),
        cut in 0_usize..60,
    ) {
        let whole = read(&Framing::CHUNKED, &bytes, 0);
        prop_assert_eq!(read(&Framing::CHUNKED, &bytes, cut.min(bytes.len())), whole);
    }

    #[test]
    fn what_is_sent_in_chunks_comes_out_whole(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut sent = Vec::new();
        for chunk in &chunks {
            sent.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            sent.extend_from_slice(chunk);
            sent.extend_from_slice(b"\r\n");
        }
        sent.extend_from_slice(b"0\r\n\r\n");
        let read = read(&Framing::CHUNKED, &sent, cut.index(sent.len()));
        prop_assert_eq!(read, Ok((chunks.concat(), Framing::Over, false)));
    }
}
