//! Several instances that have nothing in common but a database.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::support::{ANSWERS, Running, get, post, wait_for};

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
[storage]
url = "file:postgres.url"
[providers.script]
kind = "scripted"
script = "answers.toml"
[models.fast]
targets = ["script/tortoise"]
"#;

fn instance(url: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("agentry.toml", CONFIG), ("answers.toml", ANSWERS), ("postgres.url", url)]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    Running::again(folder)
}

fn speak(server: &Running, thread: &str) -> (u16, Value) {
    let message = json!({ "role": "user", "content": "hello" });
    let body = json!({
        "assistant_id": "agent",
        "input": { "messages": [message] },
        "config": { "configurable": { "model": "fast" } },
    });
    let answer = server.exchange(&post(&format!("/threads/{thread}/runs/wait"), body.to_string()));
    // It comes in pieces: whoever waits is kept company.
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let (from, to) = (body.find('{').unwrap_or(0), body.rfind('}').map_or(0, |end| end + 1));
    let value = serde_json::from_str(&body[from..to]);
    (status, value.unwrap_or_else(|problem| panic!("{problem}: {answer}")))
}

/// A schema of its own in the database that tests have.
fn database(name: &str) -> Option<String> {
    let url = std::env::var_os("AGENTRY_TEST_POSTGRES_URL").filter(|url| !url.is_empty());
    let Some(url) = url else {
        let skipped = "skipped: AGENTRY_TEST_POSTGRES_URL is not set; `cargo xtask test` sets it\n";
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        return None;
    };
    let url = url.into_string().unwrap();
    let with = if url.contains('?') { '&' } else { '?' };
    Some(format!("{url}{with}schema=it_{name}_{}", std::process::id()))
}

/// What a thread has come to, wherever its runs were done.
#[test]
fn threads_are_kept_in_postgres_and_any_instance_goes_on_with_them() {
    let Some(url) = database("instances") else { return };
    let (one, other) = (instance(&url), instance(&url));

    let (status, thread) = one.json(&post("/threads", "{}"));
    assert_eq!(status, 200, "{thread}");
    let thread = thread["thread_id"].as_str().unwrap().to_owned();
    let (status, said) = speak(&one, &thread);
    assert_eq!(status, 200, "{said}");
    let count = |values: &Value| values["messages"].as_array().map(Vec::len);
    let path = format!("/threads/{thread}/state");
    let (status, state) = other.json(&get(&path));
    assert_eq!((status, count(&state["values"])), (200, count(&said)), "{state}");

    // Whoever has died had the thread no more, and what was acknowledged is there.
    drop(one.kill_hard());
    let (status, more) = speak(&other, &thread);
    assert_eq!(status, 200, "{more}");
    assert!(count(&more) > count(&said), "{more}");
    let third = instance(&url);
    let state = wait_for("the state", || Some(third.json(&get(&path))).filter(|it| it.0 == 200));
    assert_eq!(count(&state.1["values"]), count(&more));
}

/// Begins a run on a thread of its own, which stays.
fn begin(server: &Running, said: &str) -> Value {
    let body = json!({
        "assistant_id": "agent",
        "input": { "messages": [{ "role": "user", "content": said }] },
        "config": { "configurable": { "model": "fast" } },
        "stream_mode": "messages-tuple",
        "on_completion": "keep",
    });
    let (status, run) = server.json(&post("/runs", body.to_string()));
    assert_eq!(status, 200, "{run}");
    run
}

fn path(run: &Value, what: &str) -> String {
    let part = |name: &str| run[name].as_str().unwrap().to_owned();
    format!("/threads/{}/runs/{}{what}", part("thread_id"), part("run_id"))
}

/// What the model has said, as whoever listens to the run reads it.
fn said(stream: &str) -> String {
    let events = stream.split("\n\n").filter(|event| event.contains("event: messages"));
    let data =
        events.filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")));
    let messages = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    messages.filter_map(|data| data[0]["content"].as_str().map(str::to_owned)).collect()
}

fn count(server: &Running, metric: &str) -> u64 {
    let metrics = server.exchange(&get("/metrics"));
    let value = metrics.lines().find_map(|line| line.strip_prefix(metric)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{metric} in {metrics}"))
}

const WHOLE: &str = "one two three four five six seven eight nine ten";

#[test]
fn instances_share_the_work_and_finish_what_a_killed_one_has_begun() {
    let Some(url) = database("shared_work") else { return };
    let (one, other) = (instance(&url), instance(&url));
    let mut runs = Vec::new();
    wait_for("both to work", || {
        // Who takes work in hears of it first.
        runs.extend([&one, &other].map(|it| begin(it, "hello")));
        let both = [&one, &other].map(|it| count(it, "agentry_thread_claims_total "));
        both.iter().all(|claims| *claims > 0).then_some(())
    });
    // Whoever has it, both tell of it.
    let run = begin(&one, "count");
    for server in [&one, &other] {
        let stream = server.exchange(&get(&path(&run, "/stream")));
        assert!(stream.contains("event: end"), "{stream}");
        assert_eq!(said(&stream), WHOLE, "{stream}");
    }
    let begun: Vec<Value> = (0..8).map(|_| begin(&one, "count")).collect();
    wait_for("the one that is killed to have some of them", || {
        (count(&one, "agentry_threads_claimed ") > 0).then_some(())
    });
    let mut listening = other.connect();
    listening.send(&get(&path(&begun[0], "/stream")));
    drop(one.kill_hard());
    let heard = listening.until("event: end");
    assert!(said(&heard).contains(WHOLE), "{heard}");
    for run in runs.iter().chain(&begun) {
        let over = wait_for("the end of a run", || {
            let (_, run) = other.json(&get(&path(run, "")));
            (!matches!(run["status"].as_str(), Some("pending" | "running"))).then_some(run)
        });
        assert_eq!(over["status"], "success", "{over}");
    }
}
