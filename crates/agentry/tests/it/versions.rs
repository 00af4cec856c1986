//! A graph's file changes while its threads wait.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{ANSWERS, CONFIG, Running, agentry, finish, get, kill, post, wait_for};

const BEFORE: &str = r#"
name = "memo"
[state]
draft = "last"
sent = "last"
[nodes.write]
kind = "set"
values = { draft = "'Dear all'" }
[nodes.approve]
kind = "human"
question = "Send it?"
options = ["yes", "no"]
[nodes.send]
kind = "set"
values = { sent = "answer.decision == 'yes'" }
[[edges]]
from = "write"
to = "approve"
[[edges]]
from = "approve"
to = "send"
"#;

/// Other names, and one more key.
fn after() -> String {
    let renamed = BEFORE.replace("draft", "text").replace("approve", "review");
    format!("{renamed}\n[nodes.count]\nkind = \"set\"\nvalues = {{ words = \"size(text)\" }}\n[[edges]]\nfrom = \"send\"\nto = \"count\"\n")
        .replace("sent = \"last\"", "sent = \"last\"\nwords = \"last\"")
}

const MIGRATION: &str = r#"
[[migrations]]
name = "texts, reviewed"
rename = { draft = "text" }
nodes = { approve = "review" }
set = { words = "0" }
"#;

/// Exit code, stdout and stderr.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = agentry(folder);
    command.args(arguments);
    let output = finish(command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Each of a process's workers has graphs of its own, which the others need not have.
fn nobody_misses_a_graph(said: &str) {
    assert!(!said.contains("not here"), "{said}");
}

#[test]
fn threads_go_on_when_a_graph_has_changed_or_it_is_said_why_not() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "agentry.toml", &CONFIG.replace("memory:", "sqlite:agentry.db"));
    write(folder.path(), "answers.toml", ANSWERS);
    write(folder.path(), "graphs/memo.toml", BEFORE);
    for _ in 0..2 {
        let (code, told, said) = run(folder.path(), &["run", "memo", "--json"]);
        assert_eq!(code, Some(0), "{told}{said}");
    }
    // It works on that graph alone.
    let (_, _, said) = run(folder.path(), &["run", "agent", "hello"]);
    nobody_misses_a_graph(&said);
    let migrate = |more: &[&str]| {
        let arguments: Vec<_> =
            ["runs", "migrate", "memo", "--json"].iter().chain(more).copied().collect();
        let (code, told, said) = run(folder.path(), &arguments);
        let told: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{told}{said}"));
        (code, told)
    };
    let (code, told) = migrate(&["--dry-run"]);
    assert_eq!((code, &told["counts"]), (Some(0), &json!({ "current": 2 })), "{told}");

    write(folder.path(), "graphs/memo.toml", &after());
    let (code, told, said) = run(folder.path(), &["check"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(told.contains("memo (on_change = \"migrate\")"), "{told}");
    assert!(told.contains("2 that cannot be moved"), "{told}");
    let (code, told) = migrate(&["--dry-run"]);
    assert_eq!((code, &told["counts"]), (Some(1), &json!({ "refused": 2 })), "{told}");
    let why = told["threads"][0]["why"][0].as_str().unwrap();
    assert!(why.contains("`approve`"), "{why}");

    write(folder.path(), "graphs/memo.toml", &format!("{}{MIGRATION}", after()));
    let (code, told) = migrate(&["--dry-run"]);
    assert_eq!((code, &told["counts"]), (Some(0), &json!({ "migrates": 2 })), "{told}");
    let changes = &told["threads"][0]["changes"];
    let expected = json!([{ "removed": "draft" }, { "added": "text" }, { "added": "words" }]);
    assert_eq!(*changes, expected);
    let threads = told["threads"].as_array().unwrap();
    let threads: Vec<_> =
        threads.iter().map(|it| it["thread"].as_str().unwrap().to_owned()).collect();
    // One by hand, the other when it goes on.
    let (code, told) = migrate(&["--thread", &threads[0]]);
    assert_eq!((code, &told["counts"]), (Some(0), &json!({ "migrates": 1 })), "{told}");
    let (_, told) = migrate(&["--dry-run"]);
    assert_eq!(told["counts"], json!({ "current": 1, "migrates": 1 }));

    let serving = Running::again(folder);
    let url = format!("http://{}", serving.address);
    let (_, runs, _) = run(serving.folder.path(), &["runs", "list", "--url", &url, "--json"]);
    let runs: Value = serde_json::from_str(&runs).unwrap();
    let of_memo = |run: &&Value| run["assistant_id"] == "memo";
    for waits in runs.as_array().unwrap().iter().filter(of_memo) {
        let (id, thread) =
            (waits["run_id"].as_str().unwrap(), waits["thread_id"].as_str().unwrap());
        let arguments = ["runs", "resume", id, "--answer", "{\"decision\":\"yes\"}", "--url", &url];
        let (code, _, said) = run(serving.folder.path(), &arguments);
        assert_eq!(code, Some(0), "{said}");
        let state = get(&format!("/threads/{thread}/state"));
        let values = wait_for("the answer to count", || {
            let (_, state) = serving.json(&state);
            (state["next"] == json!([])).then(|| state["values"].clone())
        });
        assert_eq!((&values["sent"], &values["words"]), (&json!(true), &json!(8)), "{values}");
        assert_eq!(values.get("draft"), None);
    }
    kill(serving.pid(), "TERM");
    nobody_misses_a_graph(&serving.end().1);
}

#[test]
fn a_thread_stays_with_a_version_that_is_kept_beside() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "agentry.toml", &CONFIG.replace("memory:", "sqlite:agentry.db"));
    write(folder.path(), "answers.toml", ANSWERS);
    write(folder.path(), "graphs/memo.toml", BEFORE);
    let (_, told, said) = run(folder.path(), &["run", "memo", "--json"]);
    assert!(!told.is_empty(), "{said}");
    write(folder.path(), "graphs/old/1/memo.toml", BEFORE);
    let pinned = after().replace("name = \"memo\"", "name = \"memo\"\non_change = \"pin\"");
    write(folder.path(), "graphs/memo.toml", &pinned);
    let serving = Running::again(folder);
    let url = format!("http://{}", serving.address);
    let (_, runs, _) = run(serving.folder.path(), &["runs", "list", "--url", &url, "--json"]);
    let runs: Value = serde_json::from_str(&runs).unwrap();
    let (id, thread) =
        (runs[0]["run_id"].as_str().unwrap(), runs[0]["thread_id"].as_str().unwrap());
    let arguments = ["runs", "resume", id, "--answer", "{\"decision\":\"yes\"}", "--url", &url];
    let (code, _, said) = run(serving.folder.path(), &arguments);
    assert_eq!(code, Some(0), "{said}");
    let state = get(&format!("/threads/{thread}/state"));
    let values = wait_for("the answer to count", || {
        let (_, state) = serving.json(&state);
        (state["next"] == json!([])).then(|| state["values"].clone())
    });
    assert_eq!((&values["draft"], values.get("words")), (&json!("Dear all"), None), "{values}");
    drop(serving);
}

#[test]
fn an_operator_moves_threads_and_cuts_histories_over_http() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "agentry.toml", &CONFIG.replace("memory:", "sqlite:agentry.db"));
    write(folder.path(), "answers.toml", ANSWERS);
    write(folder.path(), "graphs/memo.toml", BEFORE);
    for _ in 0..2 {
        let (code, told, said) = run(folder.path(), &["run", "memo", "--json"]);
        assert_eq!(code, Some(0), "{told}{said}");
    }
    write(folder.path(), "graphs/memo.toml", &format!("{}{MIGRATION}", after()));
    let serving = Running::again(folder);
    let ask = |path: &str, body: Value| serving.json(&post(path, body.to_string()));
    let migrate = |body: Value| ask("/v1/threads/migrate", body);

    let (status, told) = migrate(json!({ "graph": "memo", "dry_run": true }));
    assert_eq!((status, &told["counts"]), (200, &json!({ "migrates": 2 })), "{told}");
    let first = told["threads"][0]["thread"].clone();
    let (_, part) = migrate(json!({ "graph": "memo", "dry_run": true, "limit": 1 }));
    assert_eq!((&part["counts"], &part["next_offset"]), (&json!({ "migrates": 1 }), &json!(1)));
    let (_, one) = migrate(json!({ "graph": "memo", "thread_id": first }));
    assert_eq!(one["counts"], json!({ "migrates": 1 }), "{one}");
    let (_, rest) = migrate(json!({ "graph": "memo" }));
    assert_eq!(rest["counts"], json!({ "current": 1, "migrates": 1 }), "{rest}");
    for (body, expected) in [
        (json!({ "graph": "nemo" }), 400),
        (json!({ "graph": "memo", "limit": 0 }), 400),
        (json!({ "graph": "memo", "thread": first }), 400),
        (json!({ "graph": "memo", "thread_id": "018f0000-0000-7000-8000-000000000000" }), 404),
    ] {
        let (status, refused) = migrate(body.clone());
        assert_eq!(status, expected, "{body}: {refused}");
    }

    let compact = |body: Value| ask("/v1/threads/compact", body).1;
    let history = |thread: &Value| {
        let path = format!("/threads/{}/history", thread.as_str().unwrap());
        serving.json(&get(&path)).1.as_array().unwrap().len()
    };
    let before = history(&first);
    assert!(before > 1, "{before}");
    let would = compact(json!({ "thread_id": first, "dry_run": true }));
    assert_eq!((&would["threads"], &would["entries"]), (&json!(1), &Value::Null), "{would}");
    assert_eq!(history(&first), before, "nothing was changed");
    let did = compact(json!({ "thread_id": first }));
    assert!(did["threads"] == 1 && did["entries"].as_u64() > Some(0), "{did}");
    assert_eq!(history(&first), 1);
    let (_, fresh) = ask("/threads", json!({}));
    let path = format!("/threads/{}/runs/wait", fresh["thread_id"].as_str().unwrap());
    let input = json!({ "messages": "hello" });
    let wish = json!({ "assistant_id": "agent", "input": input, "config": { "configurable": { "model": "fast" } } });
    serving.exchange(&post(&path, wish.to_string()));
    assert_eq!(compact(json!({ "dry_run": true }))["threads"], 0, "it was used just now");
    assert_eq!(compact(json!({ "dry_run": true, "unused_days": 0 }))["threads"], 1);
    assert_eq!(compact(json!({ "unused_days": 0 }))["threads"], 1);

    let (_, audit) = serving.json(&get("/v1/audit"));
    let acts: Vec<String> = audit["data"]
        .as_array()
        .unwrap_or_else(|| panic!("{audit}"))
        .iter()
        .map(|record| serde_json::from_str::<Value>(record["entry"].as_str().unwrap()).unwrap())
        .filter_map(|entry| entry["action"].as_str().map(str::to_owned))
        .filter(|action| action.starts_with("threads."))
        .collect();
    let expected = ["threads.migrated"; 3].into_iter().chain(["threads.compacted"; 2]);
    assert_eq!(acts, expected.collect::<Vec<_>>(), "what was only looked at is no act: {audit}");
}
