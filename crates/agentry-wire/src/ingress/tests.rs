use agentry_core::chat::{Event, FinishReason, Head};
use bytes::Bytes;

use super::*;

fn response() -> ChatResponse {
    let mut assembly = Assembly::default();
    for event in [
        Event::Started(Head {
            id: "a1".to_owned(),
            model: "m".to_owned(),
            created: 7,
            ..Head::default()
        }),
        Event::Text { choice: 0, text: "hello \"you\"".to_owned() },
        Event::Finished { choice: 0, reason: FinishReason::Stop },
        Event::Done,
    ] {
        assembly.push(event);
    }
    assembly.into_response()
}

#[test]
fn what_a_caller_was_sent_can_be_read_back_whole_and_streamed() {
    for dialect in [Dialect::ChatCompletions, Dialect::Responses, Dialect::Messages] {
        let asked = Asked { body: Bytes::from_static(b"{\"model\":\"m\"}"), ..Asked::default() };
        let read = read_whole(dialect, &whole(dialect, response(), &asked)).unwrap();
        assert_eq!(read.text(), "hello \"you\"", "{dialect}");
        let mut encoder = encoder(dialect, &asked);
        let mut frames = Vec::new();
        for event in response().into_events() {
            encoder.encode(event, &mut frames);
        }
        let read = read_frames(dialect, &frames).unwrap();
        assert_eq!(read.text(), "hello \"you\"", "{dialect}");
        assert!(
            read_frames(dialect, frames.get(..frames.len() / 2).unwrap()).is_err(),
            "{dialect}"
        );
    }
}

#[test]
fn a_body_is_read_in_the_dialect_it_is_written_in() {
    let check = |dialect, body: &str, expected: &str| {
        let request = request(dialect, body.as_bytes()).unwrap();
        assert_eq!(request.last_user_text(), expected, "{dialect}");
    };
    check(
        Dialect::ChatCompletions,
        r#"{"model":"m","messages":[{"role":"user","content":"one"}]}"#,
        "one",
    );
    check(Dialect::Responses, r#"{"model":"m","input":"two"}"#, "two");
    check(
        Dialect::Messages,
        r#"{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"three"}]}"#,
        "three",
    );
}
