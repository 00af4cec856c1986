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

/// What a thread has come to, wherever its runs were done.
#[test]
fn threads_are_kept_in_postgres_and_any_instance_goes_on_with_them() {
    let url = std::env::var_os("AGENTRY_TEST_POSTGRES_URL").filter(|url| !url.is_empty());
    let Some(url) = url else {
        let skipped = "skipped: AGENTRY_TEST_POSTGRES_URL is not set; `cargo xtask test` sets it\n";
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        return;
    };
    let url = url.into_string().unwrap();
    let with = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{with}schema=it_instances_{}", std::process::id());
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
