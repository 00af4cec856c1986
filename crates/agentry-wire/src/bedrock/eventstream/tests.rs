use proptest::prelude::*;

use super::*;

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Result<bool, Broken>) {
    let mut decoder = Decoder::new(1_000);
    let mut frames = Vec::new();
    for piece in pieces {
        if let Err(broken) = decoder.push(piece, &mut frames) {
            return (frames, Err(broken));
        }
    }
    (frames, Ok(decoder.is_midway()))
}

fn event(name: &str, payload: &[u8]) -> Vec<u8> {
    let json = (":content-type", "application/json");
    written(&[(":event-type", name), json, (":message-type", "event")], payload)
}

#[test]
fn frames_are_read_however_they_are_cut() {
    let bytes = [event("a", b"{}"), event("b", b""), event("c", "é".as_bytes())].concat();
    let frame = |name: &str, payload: &[u8]| Frame {
        name: name.to_owned(),
        payload: payload.to_vec(),
        ..Frame::default()
    };
    let expected = vec![frame("a", b"{}"), frame("b", b""), frame("c", "é".as_bytes())];
    for size in 1..bytes.len() {
        assert_eq!(read(bytes.chunks(size)), (expected.clone(), Ok(false)), "pieces of {size}");
    }
    let (frames, midway) = read([&bytes[..bytes.len() - 1]]);
    assert_eq!((frames.len(), midway), (2, Ok(true)));
}

#[test]
fn exceptions_and_errors_are_told_apart() {
    let exception = written(
        &[(":message-type", "exception"), (":exception-type", "throttlingException")],
        b"{\"message\":\"slow\"}",
    );
    let error = written(
        &[(":message-type", "error"), (":error-code", "Broken"), (":error-message", "so")],
        b"",
    );
    let (frames, _) = read([exception.as_slice(), &error]);
    assert_eq!((frames[0].kind, frames[0].name.as_str()), (Kind::Exception, "throttlingException"));
    assert_eq!((frames[1].kind, frames[1].message.as_str()), (Kind::Error, "so"));
}

#[test]
fn a_damaged_frame_says_what_is_wrong() {
    let good = event("a", b"{}");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(read([bad.as_slice()]).1, Err(Broken::Sum), "byte {at}");
    }
    let long = event("a", &[b'x'; 2_000]);
    assert!(matches!(read([long.as_slice()]).1, Err(Broken::TooLong { bytes_max: 1_000, .. })));
    let resealed = |total: u32, headers: u32| {
        let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
        bytes.extend_from_slice(&crc32(&bytes).to_be_bytes());
        bytes.resize(usize::try_from(total).unwrap().max(16) - 4, 0xFF);
        bytes.extend_from_slice(&crc32(&bytes).to_be_bytes());
        bytes
    };
    assert_eq!(read([resealed(15, 0).as_slice()]).1, Err(Broken::Lengths));
    assert_eq!(read([resealed(20, 5).as_slice()]).1, Err(Broken::Lengths));
    assert_eq!(read([resealed(20, 4).as_slice()]).1, Err(Broken::Headers));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(bytes.chunks(7));
        // Also what is well sealed.
        let mut sealed = written(&[], &bytes);
        let headers = u32::try_from(bytes.len() / 2).unwrap();
        sealed[4..8].copy_from_slice(&headers.to_be_bytes());
        let sum = crc32(&sealed[..8]);
        sealed[8..12].copy_from_slice(&sum.to_be_bytes());
        let end = sealed.len() - 4;
        let sum = crc32(&sealed[..end]);
        sealed[end..].copy_from_slice(&sum.to_be_bytes());
        let (frames, result) = read(sealed.chunks(5));
        prop_assert!(frames.len() == 1 || result == Err(Broken::Headers));
    }
}
