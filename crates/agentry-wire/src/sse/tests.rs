use proptest::prelude::*;

use super::*;

const BYTES_MAX: usize = 64;

fn frame(event: &str, data: &str) -> Frame {
    Frame { event: event.as_bytes().to_vec(), data: data.as_bytes().to_vec() }
}

/// Decodes `pieces` in their order, to the end.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Frame>, TooLong> {
    let mut decoder = Decoder::new(BYTES_MAX);
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece, &mut frames)?;
        assert!(decoder.held() <= BYTES_MAX + 1);
    }
    decoder.finish(&mut frames);
    Ok(frames)
}

#[track_caller]
fn check(input: &str, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(event, data)| frame(event, data)).collect();
    let bytes = input.as_bytes();
    assert_eq!(decode([bytes]), Ok(expected.clone()), "{input:?}");
    assert_eq!(decode(bytes.chunks(1)), Ok(expected), "{input:?} byte by byte");
}

#[test]
fn events_are_separated_by_blank_lines_whatever_ends_a_line() {
    check("data: a\n\ndata: b\n\n", &[("", "a"), ("", "b")]);
    check("data: a\r\n\r\ndata: b\r\n\r\n", &[("", "a"), ("", "b")]);
    check("data: a\r\rdata: b\r\r", &[("", "a"), ("", "b")]);
    check("\n\n\ndata: a\n\n\n\n", &[("", "a")]);
}

#[test]
fn fields_are_read_as_the_standard_says() {
    check("event: error\ndata: {}\n\n", &[("error", "{}")]);
    check("data:a\ndata:  b\ndata\n\n", &[("", "a\n b\n")]);
    check(": ping\nid: 7\nretry: 3\ndata: a\n\n", &[("", "a")]);
    check("event: lonely\n\ndata: a\n\n", &[("", "a")]);
    check("\u{feff}data: a\n\ndata: é\n\n", &[("", "a"), ("", "é")]);
    check("", &[]);
}

#[test]
fn an_event_that_lacks_only_its_blank_line_counts() {
    check("data: a\n\ndata: b", &[("", "a"), ("", "b")]);
    check("data: a\n\ndata: b\n", &[("", "a"), ("", "b")]);
}

#[test]
fn an_event_that_is_too_long_is_an_error_and_takes_no_more_memory() {
    let too_long = Err(TooLong { bytes_max: BYTES_MAX });
    let endless_line = vec![b'x'; 10_000];
    assert_eq!(decode([endless_line.as_slice()]), too_long);
    assert_eq!(decode(endless_line.chunks(7)), too_long);
    let endless_event = "data: 0123456789\n".repeat(1_000);
    assert_eq!(decode(endless_event.as_bytes().chunks(11)), too_long);
    let unreadable_name = [b"event: ".as_slice(), &[0xff; 50], b"\ndata: x\n\n"].concat();
    assert_eq!(
        decode(unreadable_name.chunks(1)).unwrap(),
        [Frame { event: vec![0xff; 50], data: b"x".to_vec() }]
    );
    let many_short_ones = "data: 0123456789\n\n".repeat(1_000);
    assert_eq!(decode([many_short_ones.as_bytes()]).unwrap().len(), 1_000);
}

/// Bytes that look like events more often than chance would have it.
fn nearly_events() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"data: ".to_vec()),
        Just(b"data".to_vec()),
        Just(b"event: error".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b":".to_vec()),
        Just(b"\xef\xbb\xbf".to_vec()),
        Just("é".as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_split_of_any_bytes_gives_the_same_events(
        bytes in nearly_events(),
        cuts in proptest::collection::vec(1_usize..9, 1..8),
    ) {
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        for size in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, tail) = rest.split_at(rest.len().min(*size));
            pieces.push(piece);
            rest = tail;
        }
        prop_assert_eq!(decode(pieces), decode([bytes.as_slice()]));
    }
}
