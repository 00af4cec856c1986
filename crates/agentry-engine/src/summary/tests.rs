use serde_json::json;

use super::*;

/// Events as (milliseconds, kind, node, slot).
fn check(events: &[(i64, &str, &str, u64)], expected: &Value) {
    let mut summing = Summing::default();
    for (ms, kind, node, slot) in events {
        let detail = match *kind {
            "run.ended" => json!({ "ns": "", "status": node }),
            "task.failed" | "task.retried" => {
                json!({ "ns": "sub:1-2", "node": node, "slot": slot, "error": "boom" })
            }
            "task.spent" => {
                json!({ "ns": "", "node": node, "calls": 1, "input_tokens": 7, "output_tokens": 3, "micro_usd": slot })
            }
            _ => json!({ "ns": "", "node": node, "slot": slot }),
        };
        summing.hear(&Event { at: Timestamp::from_millis(*ms), kind: (*kind).to_owned(), detail });
    }
    let summary = serde_json::to_value(summing.finish(Timestamp::from_millis(5_000))).unwrap();
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&summary[name], value, "{name} of {summary:#}");
    }
}

#[test]
fn work_side_by_side_counts_for_each() {
    let events = [
        (0, "run.started", "", 0),
        (0, "task.started", "a", 0),
        (0, "task.started", "b", 1),
        (300, "task.finished", "a", 0),
        (300, "task.spent", "a", 40),
        (400, "task.finished", "b", 1),
        (400, "run.ended", "success", 0),
    ];
    check(
        &events,
        &json!({
            "progress": "completed", "wall_ms": 400, "work_ms": 700, "waited_ms": 0,
            "efficiency_percent": 175,
            "tasks": {
                "known": 2, "pending": 0, "in_progress": 0, "completed": 2, "failed": 0, "escalated": 0,
                "done_percent": 100,
            },
            "spent": { "calls": 1, "input_tokens": 7, "output_tokens": 3, "micro_usd": 40 },
            "advice": [{ "kind": "bottleneck", "node": "b", "percent": 57 }],
        }),
    );
}

#[test]
fn a_question_is_time_that_nobody_works() {
    let events = [
        (0, "run.started", "", 0),
        (0, "task.started", "ask", 0),
        (100, "task.interrupted", "ask", 0),
        (1_100, "task.answered", "ask", 0),
        (1_200, "task.finished", "ask", 0),
        (1_200, "run.ended", "success", 0),
    ];
    check(
        &events,
        &json!({
            "wall_ms": 1_200, "work_ms": 200, "waited_ms": 1_000, "efficiency_percent": 100,
            "advice": [{ "kind": "waiting", "node": "ask", "waited_ms": 1_000 }],
        }),
    );
}

#[test]
fn what_still_runs_is_counted_until_now() {
    let events = [(4_000, "run.started", "", 0), (4_000, "task.started", "a", 0)];
    check(
        &events,
        &json!({
            "progress": "in_progress", "ended": null, "wall_ms": 1_000, "work_ms": 1_000,
            "tasks": {
                "known": 1, "pending": 0, "in_progress": 1, "completed": 0, "failed": 0, "escalated": 0,
                "done_percent": 0,
            },
        }),
    );
}

#[test]
fn failures_and_second_attempts_are_told_with_their_way() {
    let mut summing = Summing::default();
    let event = |ms, kind: &str, more: Value| {
        let mut detail = json!({ "ns": "sub:1-2|deep:3", "node": "n", "slot": 0 });
        detail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Event { at: Timestamp::from_millis(ms), kind: kind.to_owned(), detail }
    };
    summing.hear(&event(0, "task.started", json!({})));
    summing.hear(&event(10, "task.retried", json!({ "error": "once" })));
    summing.hear(&event(30, "task.failed", json!({ "error": "twice" })));
    let summary = summing.finish(Timestamp::from_millis(30));
    let node = Node {
        node: "sub/deep/n".to_owned(),
        progress: Standing::Failed,
        visits: 1,
        attempts: 2,
        failures: 2,
        work_ms: 30,
        longest_ms: 20,
        last_error: Some("twice".to_owned()),
        ..Node::default()
    };
    assert_eq!(summary.nodes, [node]);
    let advice = Advice::Retries { node: "sub/deep/n".to_owned(), failures: 2, attempts: 2 };
    assert_eq!(summary.advice, [advice]);
}
