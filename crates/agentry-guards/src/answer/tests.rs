use agentry_core::chat::{FinishReason, Head};
use serde_json::json;

use super::*;
use crate::{Action, Guards, Settings};

fn guard(pii: Action) -> AnswerGuard {
    let settings = Settings { pii, ..Settings::default() };
    Guards::new(&settings).unwrap().answer()
}

fn text(choice: u32, text: &str) -> Event {
    Event::Text { choice, text: text.to_owned() }
}

fn call(index: u32) -> Event {
    let (id, name) = (format!("c{index}"), "find".to_owned());
    Event::ToolCall { choice: 0, index, id, kind: CallKind::Function, name }
}

fn arguments(index: u32, fragment: &str) -> Event {
    Event::ToolArguments { choice: 0, index, fragment: fragment.to_owned() }
}

fn logprobs() -> Event {
    Event::Logprobs { choice: 0, value: json!({ "content": [] }) }
}

fn finished(choice: u32) -> Event {
    Event::Finished { choice, reason: FinishReason::Stop }
}

#[track_caller]
fn check(events: Vec<Event>, expected: Vec<Event>) {
    let mut guard = guard(Action::Redact);
    let mut out = Vec::new();
    for event in events {
        guard.push(event, &mut out).unwrap();
    }
    assert_eq!(out, expected);
}

#[test]
fn what_is_held_goes_on_before_the_end() {
    check(
        vec![
            Event::Started(Head::default()),
            text(0, "to mira@brass"),
            text(0, "finch.com"),
            finished(0),
            Event::Done,
        ],
        vec![
            Event::Started(Head::default()),
            text(0, "to "),
            text(0, "[EMAIL]"),
            finished(0),
            Event::Done,
        ],
    );
}

#[test]
fn what_is_held_goes_on_before_a_tool_call_and_arguments_stay_json() {
    check(
        vec![
            text(0, "I look"),
            call(0),
            arguments(0, r#"{"q":"mira@bra"#),
            arguments(0, r#"ssfinch.com"}"#),
            call(1),
            arguments(1, r#"{"phone":5550"#),
            arguments(1, "147}"),
            finished(0),
        ],
        vec![
            text(0, "I "),
            text(0, "look"),
            call(0),
            arguments(0, r#"{"q":""#),
            arguments(0, r#"[EMAIL]"}"#),
            call(1),
            arguments(1, r#"{"phone":"#),
            arguments(1, r#""[PHONE]"}"#),
            finished(0),
        ],
    );
}

#[test]
fn choices_do_not_disturb_each_other() {
    check(
        vec![
            text(0, "a@b"),
            text(1, "10.0"),
            text(0, ".io "),
            text(1, ".0.1 "),
            finished(1),
            finished(0),
        ],
        vec![text(1, "[IP] "), finished(1), text(0, "[EMAIL] "), finished(0)],
    );
}

#[test]
fn log_probabilities_wait_and_are_left_out_of_a_changed_choice() {
    check(
        vec![text(0, "fine "), logprobs(), finished(0)],
        vec![text(0, "fine "), logprobs(), finished(0)],
    );
    check(
        vec![text(0, "a@b.io or so and so on "), logprobs(), finished(0)],
        vec![text(0, "[EMAIL] or so and so on "), finished(0)],
    );
}

#[test]
fn a_blocked_answer_ends() {
    let mut guard = guard(Action::Block);
    let mut out = Vec::new();
    guard.push(text(0, "it is a@b.io"), &mut out).unwrap();
    let blocked = guard.push(finished(0), &mut out).unwrap_err();
    assert_eq!(out, [text(0, "it is ")]);
    assert_eq!(blocked.place(), "choices[0].message.content");
    assert_eq!(guard.report().found.len(), 1);
}

#[test]
fn a_policy_that_reads_no_answers_passes_them() {
    let mut guard = guard(Action::Off);
    let mut out = Vec::new();
    guard.push(text(0, "a@b.io"), &mut out).unwrap();
    guard.push(logprobs(), &mut out).unwrap();
    assert_eq!(out, [text(0, "a@b.io"), logprobs()]);
}

fn extra(fields: Value) -> Event {
    let Value::Object(fields) = fields else { panic!("an object") };
    Event::Extra { choice: 0, fields }
}

fn reasoning(text: &str) -> Event {
    Event::Reasoning { choice: 0, text: text.to_owned() }
}

#[test]
fn a_text_in_fields_is_replaced_though_it_comes_in_pieces() {
    let thought = |text: &str, index: u32| {
        extra(json!({ "reasoning_details": [
            { "type": "reasoning.text", "format": "a", "index": index, "text": text } ] }))
    };
    let signed = extra(json!({ "reasoning_details": [
        { "type": "reasoning.text", "index": 0, "text": "", "signature": "s" } ] }));
    check(
        vec![
            reasoning("mail mira@brass"),
            thought("mail mira@brass", 0),
            reasoning("finch.com"),
            thought("finch.com", 0),
            signed.clone(),
            text(0, "so "),
            finished(0),
        ],
        vec![
            reasoning("mail "),
            thought("mail ", 0),
            reasoning("[EMAIL]"),
            thought("[EMAIL]", 0),
            signed,
            text(0, "so "),
            finished(0),
        ],
    );
    // Those of another index are other thoughts, and the next text ends them.
    check(
        vec![reasoning("a "), thought("10.0", 0), thought("b ", 1), text(0, "so "), finished(0)],
        vec![reasoning("a "), thought("b ", 1), thought("10.0", 0), text(0, "so "), finished(0)],
    );
    let heard = |text: &str, data: &str| {
        let mut audio = json!({ "transcript": text });
        if !data.is_empty() {
            audio["data"] = data.into();
        }
        extra(json!({ "audio": audio }))
    };
    check(
        vec![heard("to mira@brass", "QUJD"), heard("finch.com", "REVG"), finished(0)],
        vec![
            heard("to ", ""),
            extra(json!({ "audio": { "data": "QUJD" } })),
            extra(json!({ "audio": { "data": "REVG" } })),
            heard("[EMAIL]", ""),
            finished(0),
        ],
    );
    let note = |text: &str| extra(json!({ "note": text }));
    check(
        vec![note("mira@brass"), text(0, "so "), note("finch.com"), finished(0)],
        vec![text(0, "so "), note("[EMAIL]"), finished(0)],
    );
}

#[test]
fn what_stands_beside_an_answer_is_read() {
    let head = |found: &str| Head {
        extra: serde_json::from_value(json!({ "system_fingerprint": "fp", "sources": [found] }))
            .unwrap(),
        ..Head::default()
    };
    check(vec![Event::Started(head("mira@brassfinch.com"))], vec![Event::Started(head("[EMAIL]"))]);
}
