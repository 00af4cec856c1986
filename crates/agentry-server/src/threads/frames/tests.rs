use agentry_core::thread::Source;
use agentry_core::{CheckpointId, RunId, Timestamp};
use serde_json::json;

use super::*;
use crate::threads::engine::{CheckpointRef, InterruptView};

const NOON: Timestamp = Timestamp::from_seconds(1_795_180_800);

fn thread() -> ThreadId {
    ThreadId::new(NOON, [1; 10])
}

fn run() -> RunId {
    RunId::new(NOON, [2; 10])
}

fn part(what: What) -> Part {
    let id = Some(EventId { seq: Seq(7), index: 2 });
    Part { id, run: Some(run()), at: NOON, ns: String::new(), what }
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
    InterruptView { id: "q1".to_owned(), value: json!("go on?"), schema: None }
}

fn task() -> TaskView {
    let result = Some(json!({ "n": 2 }));
    TaskView { id: "t1".to_owned(), name: "double".to_owned(), result, ..TaskView::default() }
}

fn state() -> StateView {
    StateView {
        values: [("n".to_owned(), json!(2))].into(),
        next: vec!["ask".to_owned()],
        checkpoint: CheckpointRef { ns: String::new(), id: CheckpointId::new(NOON, [3; 10]) },
        parent: None,
        step: 1,
        source: Source::Loop,
        metadata: Map::new(),
        run: Some(run()),
        created: NOON,
        tasks: Vec::new(),
    }
}

#[test]
fn each_mode_tells_its_own() {
    let values = || What::Values { values: state().values, interrupts: vec![question()] };
    let asked = json!([{ "id": "q1", "value": "go on?" }]);
    check(&["values"], values(), &[("values", json!({ "n": 2, "__interrupt__": asked }))]);
    check(&["updates", "messages-tuple"], values(), &[]);
    let updated = || What::Updated { node: "double".to_owned(), update: json!({ "n": 2 }) };
    check(&["updates"], updated(), &[("updates", json!({ "double": { "n": 2 } }))]);
    check(&["values"], updated(), &[]);
    let asking = || What::Asked(vec![question()]);
    check(&["updates"], asking(), &[("updates", json!({ "__interrupt__": asked }))]);
    check(&["custom"], What::Custom(json!(5)), &[("custom", json!(5))]);
    let began = json!({ "run_id": run(), "thread_id": thread(), "attempt": 1 });
    check(&["custom"], What::Began, &[("metadata", began)]);
}

#[test]
fn tasks_and_checkpoints_are_told_alone_and_for_debugging() {
    let started = || What::TaskStarted {
        task: TaskView { result: None, ..task() },
        step: 1,
        input: json!({ "n": 1 }),
        triggers: vec!["branch:to:double".to_owned()],
    };
    let start = json!({
        "id": "t1", "name": "double", "input": { "n": 1 }, "triggers": ["branch:to:double"],
        "interrupts": [],
    });
    check(&["tasks"], started(), &[("tasks", start.clone())]);
    let debug = |kind: &str, payload: Value| json!({ "step": 1, "timestamp": NOON, "type": kind, "payload": payload });
    check(&["debug"], started(), &[("debug", debug("task", start))]);
    let ended = || What::TaskEnded { task: task(), step: 1 };
    let end = json!({
        "id": "t1", "name": "double", "error": null, "result": { "n": 2 }, "interrupts": [],
    });
    check(&["tasks"], ended(), &[("tasks", end.clone())]);
    check(&["debug"], ended(), &[("debug", debug("task_result", end))]);
    let checkpoint = json!({
        "config": { "configurable": {
            "thread_id": thread(), "checkpoint_ns": "", "checkpoint_id": state().checkpoint.id,
            "checkpoint_map": null,
        } },
        "parent_config": null,
        "values": { "n": 2 },
        "metadata": {
            "source": "loop", "step": 1, "thread_id": thread(), "run_id": run(), "parents": {},
        },
        "next": ["ask"],
        "tasks": [],
    });
    let checkpointed = || What::Checkpointed(Box::new(state()));
    check(&["checkpoints"], checkpointed(), &[("checkpoints", checkpoint.clone())]);
    check(&["debug"], checkpointed(), &[("debug", debug("checkpoint", checkpoint))]);
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
    let inner = Part { ns: "child:t1".to_owned(), ..part(What::Custom(json!(1))) };
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
        let expected = expected.map(|(seq, index)| EventId { seq: Seq(seq), index });
        assert_eq!(place(id), expected, "{id}");
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
