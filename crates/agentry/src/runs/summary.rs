//! A run's summary, in lines.

use serde_json::Value;

use crate::terminal::{Terminal, harmless};

pub(super) fn tell(terminal: Terminal, summary: &Value) {
    let number = |at: &Value, path: &str| at.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let text = |at: &Value, path: &str| {
        harmless(at.pointer(path).and_then(Value::as_str).unwrap_or("-")).to_string()
    };
    let (done, known) = (number(summary, "/tasks/completed"), number(summary, "/tasks/known"));
    terminal.data(format_args!("progress {}, {done} of {known} tasks", text(summary, "/progress")));
    terminal.data(format_args!(
        "time     {} in all, {} of work, {} waiting, efficiency {} %",
        span(number(summary, "/wall_ms")),
        span(number(summary, "/work_ms")),
        span(number(summary, "/waited_ms")),
        number(summary, "/efficiency_percent"),
    ));
    if number(summary, "/spent/calls") > 0 {
        terminal.data(format_args!("spent    {}", spent(summary.get("spent"))));
    }
    let nodes = summary.get("nodes").and_then(Value::as_array).map(Vec::as_slice);
    let nodes = nodes.unwrap_or_default();
    if !nodes.is_empty() {
        terminal.data(format_args!(
            "{:<24} {:<11} {:>6} {:>8} {:>9} {:>9} {:>9}  spent",
            "node", "state", "visits", "attempts", "work", "longest", "written"
        ));
    }
    for node in nodes {
        terminal.data(format_args!(
            "{:<24} {:<11} {:>6} {:>8} {:>9} {:>9} {:>9}  {}",
            text(node, "/node"),
            text(node, "/progress"),
            number(node, "/visits"),
            number(node, "/attempts"),
            span(number(node, "/work_ms")),
            span(number(node, "/longest_ms")),
            bytes(number(node, "/written_bytes")),
            spent(node.get("spent")),
        ));
    }
    for advice in summary.get("advice").and_then(Value::as_array).into_iter().flatten() {
        terminal.data(format_args!("advice   {}", advise(advice)));
    }
}

/// What could be better, and what to do about it.
fn advise(advice: &Value) -> String {
    let number = |name: &str| advice.get(name).and_then(Value::as_u64).unwrap_or(0);
    let text =
        |name: &str| harmless(advice.get(name).and_then(Value::as_str).unwrap_or("-")).to_string();
    let node = text("node");
    match advice.get("kind").and_then(Value::as_str).unwrap_or_default() {
        "bottleneck" => {
            format!("{} % of the work is `{node}`: make it faster, or split it", number("percent"))
        }
        "idle" => format!(
            "for {} % of the time nothing ran: look for too few workers or a slow store",
            number("percent")
        ),
        "straggler" => format!(
            "one visit of `{node}` took {}, the mean is {}: give it a deadline",
            span(number("longest_ms")),
            span(number("mean_ms"))
        ),
        "retries" => format!(
            "{} of {} attempts at `{node}` failed: its last error says why",
            number("failures"),
            number("attempts")
        ),
        "loop" => {
            format!("`{node}` was visited {} times: look at what ends the loop", number("visits"))
        }
        "large_state" => format!(
            "`{}` grew by {} at once: keep a reference instead",
            text("channel"),
            bytes(number("bytes"))
        ),
        "waiting" => format!(
            "`{node}` waited {} for an answer: a deadline with one of its own would bound it",
            span(number("waited_ms"))
        ),
        _ => advice.to_string(),
    }
}

fn spent(spent: Option<&Value>) -> String {
    let number = |name: &str| spent.and_then(|it| it.get(name)?.as_u64()).unwrap_or(0);
    match number("calls") {
        0 => "-".to_owned(),
        calls => format!(
            "{calls} calls, {} + {} tokens, ${:.6}",
            number("input_tokens"),
            number("output_tokens"),
            number("micro_usd") as f64 / 1e6
        ),
    }
}

fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1e3),
        60_000..7_200_000 => format!("{:.1} min", ms as f64 / 6e4),
        _ => format!("{:.1} h", ms as f64 / 3.6e6),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn advice_says_what_to_do() {
        let check = |advice: Value, expected: &str| assert_eq!(advise(&advice), expected);
        check(
            json!({ "kind": "bottleneck", "node": "write", "percent": 80 }),
            "80 % of the work is `write`: make it faster, or split it",
        );
        check(
            json!({ "kind": "retries", "node": "write", "failures": 2, "attempts": 3 }),
            "2 of 3 attempts at `write` failed: its last error says why",
        );
        check(
            json!({ "kind": "waiting", "node": "ask", "waited_ms": 90_000 }),
            "`ask` waited 1.5 min for an answer: a deadline with one of its own would bound it",
        );
    }
}
