//! What upstreams stream, and what callers of each dialect are told of it.

use agentry_core::chat::{Assembly, Event, Head};
use agentry_core::relay::Dialect;
use agentry_wire::error::Refused;
use agentry_wire::{Asked, Decode, Step, bedrock, chat, gemini, ingress, messages, ollama};
use agentry_wire::{responses as responses_wire, sse as events};
use bytes::Bytes;
use serde_json::Value;

use super::pieces;
use crate::Shape;

const DIALECTS: [Dialect; 3] = [Dialect::ChatCompletions, Dialect::Responses, Dialect::Messages];

pub(crate) fn sse(data: &[u8]) -> u64 {
    const BYTES_MAX: usize = 1 << 12;
    let read = |parts: &[&[u8]]| {
        let mut decoder = events::Decoder::new(BYTES_MAX);
        let mut frames = Vec::new();
        let result = parts.iter().try_for_each(|part| decoder.push(part, &mut frames));
        if result.is_ok() {
            decoder.finish(&mut frames);
        }
        (frames, result)
    };
    let whole = read(&[data]);
    assert_eq!(whole, read(&pieces(data)), "a split changes the events");
    let (frames, result) = whole;
    assert!(frames.iter().all(|frame| frame.data.len() <= BYTES_MAX), "an event is too long");
    let bare = frames.iter().filter(|frame| frame.event.is_empty()).count();
    Shape::new().with((frames.len().min(9), bare.min(9), result.is_ok())).done()
}

pub(crate) fn chat(data: &[u8]) -> u64 {
    let whole = chat::response(data, "m").is_ok();
    follow(chat::Decoder::new, data).with(whole).done()
}

pub(crate) fn responses(data: &[u8]) -> u64 {
    let whole = responses_wire::response(data, "m").is_ok();
    follow(responses_wire::Decoder::new, data).with(whole).done()
}

pub(crate) fn messages(data: &[u8]) -> u64 {
    let whole = messages::response(data, "m").is_ok();
    follow(|| messages::Decoder::new("m"), data).with(whole).done()
}

pub(crate) fn gemini(data: &[u8]) -> u64 {
    let whole = gemini::response(data, "m").is_ok();
    follow(gemini::Decoder::new, data).with(whole).done()
}

pub(crate) fn ollama(data: &[u8]) -> u64 {
    let whole = ollama::response(data, "m").is_ok();
    follow(ollama::Decoder::new, data).with(whole).done()
}

/// Once as the bytes are, and once with checksums that are right: hardly anything random has those.
pub(crate) fn eventstream(data: &[u8]) -> u64 {
    let whole = bedrock::response(data, "m").is_ok();
    let bare = follow(|| bedrock::Decoder::new("m"), data).with(whole).done();
    follow(|| bedrock::Decoder::new("m"), &framed(data)).with(bare).done()
}

/// Takes the bytes for frames and mends their lengths and checksums.
fn framed(data: &[u8]) -> Vec<u8> {
    let mut rest = data;
    let mut out = Vec::new();
    while let Some((prelude, tail)) = rest.split_at_checked(12) {
        let number = |at: usize| {
            let bytes = prelude.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            u32::from_be_bytes(bytes.unwrap_or_default()) as usize
        };
        let (body, tail) = tail.split_at(number(0).saturating_sub(16).min(tail.len()));
        let headers = number(4).min(body.len());
        let from = out.len();
        for length in [body.len() + 16, headers] {
            out.extend_from_slice(&u32::try_from(length).unwrap_or_default().to_be_bytes());
        }
        out.extend_from_slice(&crc32(&out[from..]).to_be_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(&crc32(&out[from..]).to_be_bytes());
        rest = tail.get(4..).unwrap_or_default();
    }
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

/// Reads a stream in one piece and in several, and tells callers of all dialects what came.
fn follow<D: Decode>(decoder: impl Fn() -> D, data: &[u8]) -> Shape {
    let whole = read(decoder(), &[data]);
    let parts = read(decoder(), &pieces(data));
    assert_eq!(whole, parts, "a split changes the answer");
    let errors = whole.iter().filter(|step| step.is_err()).count();
    assert!(errors <= 1, "an answer breaks off more than once");
    let done = whole.iter().filter(|step| matches!(step, Ok(Event::Done))).count();
    assert_eq!(errors + done, 1, "an answer ends once, well or badly");
    let last = whole.last();
    assert!(matches!(last, Some(Err(_) | Ok(Event::Done))), "something follows the end");
    DIALECTS.into_iter().for_each(|dialect| tell(dialect, &whole));
    Shape::new().steps(&whole)
}

fn read(mut decoder: impl Decode, parts: &[&[u8]]) -> Vec<Step> {
    let mut steps: Vec<Step> = parts.iter().flat_map(|part| decoder.push(part)).collect();
    steps.extend(decoder.end(None));
    assert!(decoder.is_over(), "an answer whose bytes have ended is over");
    steps
}

/// Whatever the upstream said, callers read JSON.
fn tell(dialect: Dialect, steps: &[Step]) {
    let fallback =
        Head { id: "id".to_owned(), model: "m".to_owned(), created: 1, ..Head::default() };
    let body = br#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
    let asked = Asked { fallback, body: Bytes::from_static(body), wants_usage: true };
    let mut encoder = ingress::encoder(dialect, &asked);
    let mut out = Vec::new();
    let mut assembly = Assembly::default();
    for step in steps {
        match step {
            Ok(event) => {
                encoder.encode(event.clone(), &mut out);
                assembly.push(event.clone());
            }
            Err(error) => {
                let message = error.to_string();
                let refused = Refused { status: 502, code: "code", message: &message, param: None };
                encoder.fail(&refused, &mut out);
            }
        }
    }
    let mut frames = Vec::new();
    let mut reader = events::Decoder::new(usize::MAX / 2);
    reader.push(&out, &mut frames).expect("no event is too long");
    reader.finish(&mut frames);
    for frame in &frames {
        let json = serde_json::from_slice::<Value>(&frame.data);
        assert!(
            json.is_ok() || frame.data == b"[DONE]",
            "{dialect}: {:?}",
            String::from_utf8_lossy(&frame.data)
        );
    }
    if assembly.is_done() {
        ingress::read_frames(dialect, &out)
            .unwrap_or_else(|error| panic!("{dialect}: what we stream cannot be read: {error}"));
        let response = assembly.into_response();
        // An upstream that ended in order and said nothing is taken at its word, but kept by nobody.
        let is_empty = response.choices.is_empty();
        let whole = ingress::whole(dialect, response, &asked);
        assert!(serde_json::from_slice::<Value>(&whole).is_ok(), "{dialect}: an answer is no JSON");
        if is_empty {
            return;
        }
        ingress::read_whole(dialect, &whole)
            .unwrap_or_else(|error| panic!("{dialect}: what we answer cannot be read: {error}"));
    }
}
