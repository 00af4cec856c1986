use agentry_core::{RunId, Timestamp};
use serde_json::json;

use super::*;
use crate::threads::engine::{Early, InterruptView};

const NOON: Timestamp = Timestamp::from_seconds(1_795_180_800);

fn thread() -> ThreadId {
    ThreadId::new(NOON, [1; 10])
}

fn run() -> RunId {
    RunId::new(NOON, [2; 10])
}

fn part(what: What) -> Part {
    let id = Some(EventId { seq: Seq(7), index: 2 });
    Part { id, early: None, run: Some(run()), at: NOON, ns: String::new(), what }
}

fn modes(names: &[&str]) -> Modes {
    Modes::read(Some(&json!(names))).unwrap()
}

/// What a listener with these modes reads, as names and data.
fn told(modes: Modes, parts: &[Part]) -> Vec<(String, Value)> {
    let mut writer = Writer::new(thread(), modes);
    parts.iter().flat_map(|part| writer.events(part)).collect()
}

fn check(names: &[&str], what: What, expected: &[(&str, Value)]) {
    let expected = expected.iter().map(|(name, data)| ((*name).to_owned(), data.clone()));
    let told = told(modes(names), &[part(what)]);
    assert_eq!(told, expected.collect::<Vec<_>>(), "{names:?}");
}

fn question() -> InterruptView {
    InterruptView { id: "q1".to_owned(), value: json!("go on?"), ..InterruptView::default() }
}

#[test]
fn each_mode_tells_its_own() {
    let state = || [("n".to_owned(), json!(2))].into();
    let values = || What::Values { values: state(), interrupts: vec![question()] };
    let asked = json!([{ "id": "q1", "value": "go on?" }]);
    check(&["values"], values(), &[("values", json!({ "n": 2, "__interrupt__": asked }))]);
    check(&["updates", "messages-tuple"], values(), &[]);
    let data = json!({ "double": { "n": 2 } });
    let all = [
        ("updates", Subject::Updates),
        ("custom", Subject::Custom),
        ("tasks", Subject::Tasks),
        ("debug", Subject::Debug),
    ];
    for (name, subject) in all {
        let told = || What::Told { subject, data: data.clone() };
        check(&[name], told(), &[(name, data.clone())]);
        check(&["values"], told(), &[]);
    }
    let began = json!({ "run_id": run(), "thread_id": thread(), "attempt": 1 });
    check(&["custom"], What::Began, &[("metadata", began)]);
}

#[test]
fn a_checkpoint_says_how_to_find_it_again() {
    let id = "0192f000-0000-7000-8000-000000000001";
    let data = json!({ "checkpoint_id": id, "checkpoint_ns": "", "values": { "n": 2 } });
    let place = json!({
        "thread_id": thread(), "checkpoint_ns": "", "checkpoint_id": id, "checkpoint_map": null,
    });
    let shown = json!({ "values": { "n": 2 }, "config": { "configurable": place } });
    let told = |subject, data: &Value| What::Told { subject, data: data.clone() };
    check(&["checkpoints"], told(Subject::Checkpoints, &data), &[("checkpoints", shown.clone())]);
    let debug = |payload: &Value| json!({ "type": "checkpoint", "step": 1, "payload": payload });
    let expected = [("debug", debug(&shown))];
    check(&["debug"], told(Subject::Debug, &debug(&data)), &expected);
}

#[test]
fn tasks_are_told_in_langchains_words_too() {
    let event = |event: &str, data: Value| {
        json!({
            "event": event, "name": "double", "run_id": run(), "tags": [], "parent_ids": [],
            "metadata": { "langgraph_checkpoint_ns": "" }, "data": data,
        })
    };
    let told = |data: Value| What::Told { subject: Subject::Tasks, data };
    let start = json!({ "id": "t1", "name": "double", "input": { "n": 1 } });
    let began = event("on_chain_start", json!({ "input": { "n": 1 } }));
    check(&["events"], told(start), &[("events", began)]);
    let end = json!({ "id": "t1", "name": "double", "result": { "n": 2 }, "error": null });
    let ended = event("on_chain_end", json!({ "output": { "n": 2 } }));
    check(&["events"], told(end), &[("events", ended)]);
}

fn piece(text: &str) -> What {
    let message = json!({ "type": "AIMessageChunk", "id": "m1", "content": text });
    What::Message { message, metadata: Map::from_iter([("langgraph_node".into(), "model".into())]) }
}

#[test]
fn messages_are_told_in_pieces_or_as_they_are_so_far() {
    let metadata = json!({ "langgraph_node": "model" });
    let chunk = json!({ "type": "AIMessageChunk", "id": "m1", "content": "He" });
    check(&["messages-tuple"], piece("He"), &[("messages", json!([chunk, metadata]))]);
    let whole = json!({ "type": "ai", "id": "m1", "content": "Hello" });
    let complete = What::Message { message: whole.clone(), metadata: Map::new() };
    let so_far = |text: &str| json!([{ "type": "ai", "id": "m1", "content": text }]);
    let all = told(modes(&["messages"]), &[part(piece("He")), part(piece("llo")), part(complete)]);
    let expected = [
        ("messages/metadata", json!({ "m1": { "metadata": metadata } })),
        ("messages/partial", so_far("He")),
        ("messages/partial", so_far("Hello")),
        ("messages/complete", json!([whole])),
    ];
    assert_eq!(all, expected.map(|(name, data)| (name.to_owned(), data)));
}

#[test]
fn subgraphs_are_told_of_only_to_those_who_ask() {
    let inner = Part {
        ns: "child:t1".to_owned(),
        ..part(What::Told { subject: Subject::Custom, data: json!(1) })
    };
    assert_eq!(told(modes(&["custom"]), std::slice::from_ref(&inner)), []);
    let open = Modes { subgraphs: true, ..modes(&["custom"]) };
    assert_eq!(told(open, &[inner]), [("custom|child:t1".to_owned(), json!(1))]);
}

#[test]
fn the_end_says_whether_it_was_a_good_one() {
    let ended =
        |status, reason: Option<&str>| What::Ended { status, reason: reason.map(str::to_owned) };
    for status in [RunStatus::Success, RunStatus::Interrupted] {
        check(&["values"], ended(status, None), &[("end", Value::Null)]);
    }
    let error = |error: &str, message: &str| json!({ "error": error, "message": message });
    for (status, reason, expected) in [
        (RunStatus::Error, Some("no money"), error("RunFailed", "no money")),
        (RunStatus::Error, None, error("RunFailed", "the run failed")),
        (RunStatus::Timeout, None, error("RunTimedOut", "the run was not done by its deadline")),
        (RunStatus::Cancelled, None, error("UserInterrupt", "the run was cancelled")),
        (
            RunStatus::RolledBack,
            None,
            error("UserRollback", "the run was cancelled and taken back"),
        ),
    ] {
        check(&["values"], ended(status, reason), &[("error", expected)]);
    }
}

#[test]
fn only_the_last_event_of_a_part_says_where_it_is() {
    let mut out = Vec::new();
    let mut writer = Writer::new(thread(), modes(&["messages"]));
    writer.write(&part(piece("He")), &mut out);
    let text = String::from_utf8(out).unwrap();
    let expected = concat!(
        "event: messages/metadata\n",
        "data: {\"m1\":{\"metadata\":{\"langgraph_node\":\"model\"}}}\n\n",
        "event: messages/partial\n",
        "data: [{\"type\":\"ai\",\"id\":\"m1\",\"content\":\"He\"}]\n",
        "id: 7-2\n\n",
    );
    assert_eq!(text, expected);
}

#[test]
fn a_listener_says_where_it_has_been() {
    let check = |id: &str, expected: Option<(u64, u32)>| {
        let at = |(seq, index)| EventId { seq: Seq(seq), index };
        let expected = expected.map(|place| Place { at: at(place), pieces: Vec::new() });
        assert_eq!(Place::read(id), expected, "{id}");
    };
    check("7-2", Some((7, 2)));
    check(" 18446744073709551615-0 ", Some((u64::MAX, 0)));
    for beginning in ["-1", "0", "-", ""] {
        check(beginning, Some((0, 0)));
    }
    for nowhere in ["7", "7-", "x-1", "-7-1", "7-2-3"] {
        check(nowhere, None);
    }
}

fn stored_or_early(text: &str, early: Option<Early>) -> Part {
    let message = json!({ "type": "AIMessageChunk", "id": "m1", "content": text });
    let id = early.is_none().then_some(EventId { seq: Seq(8), index: 1 });
    Part { id, early, ..part(What::Message { message, metadata: Map::new() }) }
}

#[test]
fn whoever_comes_back_in_the_middle_of_a_message_reads_each_piece_once() {
    let after = EventId { seq: Seq(7), index: 2 };
    let early = |count| Some(Early { after, pieces: vec![(short("m1"), count)] });
    let modes = || Modes::named("messages-tuple").unwrap();
    let mut out = Vec::new();
    let mut writer = Writer::new(thread(), modes());
    writer.write(&stored_or_early("one ", early(1)), &mut out);
    writer.write(&stored_or_early("two ", early(2)), &mut out);
    let text = String::from_utf8(std::mem::take(&mut out)).unwrap();
    let id = text.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap();
    assert_eq!(id, format!("7-2+{:x}.2", short("m1")));
    let place = Place::read(id).unwrap();
    assert_eq!(place, Place { at: after, pieces: vec![(short("m1"), 2)] });

    // Now it is stored as a whole.
    let mut writer = Writer::new(thread(), modes()).after(&place);
    for text in ["one ", "two ", "three"] {
        writer.write(&stored_or_early(text, None), &mut out);
    }
    let text = String::from_utf8(std::mem::take(&mut out)).unwrap();
    assert!(text.contains("three") && !text.contains("one") && !text.contains("two"), "{text}");

    // Those who want it whole so far get what they have had as well.
    let mut writer = Writer::new(thread(), Modes::named("messages").unwrap()).after(&place);
    for text in ["one ", "two ", "three"] {
        writer.write(&stored_or_early(text, None), &mut out);
    }
    let text = String::from_utf8(std::mem::take(&mut out)).unwrap();
    assert!(text.contains("one two three") && !text.contains("\"one two \""), "{text}");

    // A new attempt begins: nothing of it was seen.
    let mut writer = Writer::new(thread(), modes()).after(&place);
    writer.write(&stored_or_early("uno ", early(1)), &mut out);
    writer.write(&stored_or_early("dos ", None), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("uno") && text.contains("dos"), "{text}");
}

#[test]
fn what_is_no_place_is_none() {
    for id in ["7", "7-x", "7-2+", "7-2+zz.1", "7-2+1f", "7-2+1f.x"] {
        assert_eq!(Place::read(id), None, "{id}");
    }
}
