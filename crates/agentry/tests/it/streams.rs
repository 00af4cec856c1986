//! Whoever listens to a run, loses the connection and comes back; and whoever answers too late.

use serde_json::{Value, json};

use crate::support::{ANSWERS, ASK, CONFIG, Running, get, post};

/// A graph whose prompt is answered as the agent would be.
const SAY: &str = r#"
name = "say"
[input]
what = "string"
[state]
messages = "messages"
[nodes.say]
kind = "prompt"
model = "fast"
prompt = "Please {{ input.what }}."
into = "messages"
"#;

fn start() -> Running {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("graphs")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("agentry.toml", CONFIG);
    write("answers.toml", ANSWERS);
    write("graphs/ask.toml", ASK);
    write("graphs/say.toml", SAY);
    Running::again(folder)
}

/// Events as name, data and id.
fn events(text: &str) -> Vec<(String, Value, Option<String>)> {
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    let all = text.split("\n\n").filter(|event| event.contains("event: "));
    all.filter_map(|event| {
        let data = serde_json::from_str(&field(event, "data:")?).ok()?;
        Some((field(event, "event:")?, data, field(event, "id:")))
    })
    .collect()
}

/// What the model has said, in order.
fn said(events: &[(String, Value, Option<String>)]) -> String {
    let pieces = events.iter().filter(|(name, ..)| name == "messages");
    pieces.filter_map(|(_, data, _)| data[0]["content"].as_str()).collect()
}

#[test]
fn each_piece_of_a_message_is_read_once_over_two_connections() {
    let server = start();
    let (_, thread) = server.json(&post("/threads", "{}"));
    let body = json!({
        "assistant_id": "agent",
        "input": { "messages": [{ "role": "user", "content": "count" }] },
        "config": { "configurable": { "model": "fast" } },
        "stream_mode": "messages-tuple",
    });
    let path = format!("/threads/{}/runs", thread["thread_id"].as_str().unwrap());
    let mut first = server.connect();
    first.send(&post(&format!("{path}/stream"), body.to_string()));
    let mut text = first.until("AIMessageChunk");
    // An event that is not whole yet does not count.
    if !text.rsplit("AIMessageChunk").next().unwrap().contains("\n\n") {
        text.push_str(&first.until("\n\n"));
    }
    drop(first);
    let early = events(&text.replace("\r\n", "\n"));
    let run = early.iter().find(|(name, ..)| name == "metadata").unwrap().1["run_id"].clone();
    let last = early.iter().rev().find_map(|(_, _, id)| id.clone()).expect("an id");
    let again = format!("{path}/{}/stream", run.as_str().unwrap());
    let request = String::from_utf8(get(&again)).unwrap();
    let request = request.replacen("\r\n", &format!("\r\nlast-event-id: {last}\r\n"), 1);
    let text = server.exchange(request.as_bytes()).replace("\r\n", "\n");
    let later = events(&text);
    assert_eq!(later.last().unwrap().0, "end", "{text}");
    let whole = "one two three four five six seven eight nine ten";
    let (first, second) = (said(&early), said(&later));
    assert!(!first.is_empty() && first != whole, "cut in the middle: {first}");
    assert_eq!(format!("{first}{second}"), whole, "{last}");
}

#[test]
fn what_a_prompt_is_answered_is_told_piece_by_piece() {
    let server = start();
    let (_, thread) = server.json(&post("/threads", "{}"));
    let body = json!({
        "assistant_id": "say",
        "input": { "what": "count" },
        "stream_mode": ["messages-tuple", "values"],
    });
    let path = format!("/threads/{}/runs/stream", thread["thread_id"].as_str().unwrap());
    let text = server.exchange(&post(&path, body.to_string())).replace("\r\n", "\n");
    let all = events(&text);
    assert_eq!(said(&all), "one two three four five six seven eight nine ten", "{text}");
    let pieces: Vec<&Value> =
        all.iter().filter(|(name, ..)| name == "messages").map(|(_, data, _)| data).collect();
    assert!(pieces.len() > 1, "{text}");
    let about = |piece: &Value| (piece[0]["type"].clone(), piece[1]["langgraph_node"].clone());
    assert!(pieces.iter().all(|piece| about(piece) == (json!("AIMessageChunk"), json!("say"))));
    let last = all.iter().rev().find(|(name, ..)| name == "values").expect("a state");
    let message = &last.1["messages"][0];
    assert_eq!((&message["id"], &message["type"]), (&pieces[0][0]["id"], &json!("ai")), "{text}");
}

#[test]
fn who_answers_too_late_reads_what_counts_also_without_naming_the_question() {
    let server = start();
    let (_, thread) = server.json(&post("/threads", "{}"));
    let path = format!("/threads/{}/runs", thread["thread_id"].as_str().unwrap());
    let run = |body: Value| server.json(&post(&path, body.to_string()));
    let join = |run: &Value| {
        server.exchange(&get(&format!("{path}/{}/join", run["run_id"].as_str().unwrap())))
    };
    let (_, asked) = run(json!({ "assistant_id": "ask", "input": { "topic": "otters" } }));
    join(&asked);
    let answer = |decision: &str| json!({ "assistant_id": "ask", "command": { "resume": { "decision": decision } } });
    let (status, winner) = run(answer("approve"));
    assert_eq!(status, 200, "{winner}");
    join(&winner);
    let (status, late) = run(answer("reject"));
    assert_eq!((status, &late["code"]), (409, &json!("interrupt_already_answered")), "{late}");
    assert_eq!(late["answer"]["value"], json!({ "decision": "approve" }), "{late}");
    let (_, further) = run(json!({ "assistant_id": "ask", "input": { "topic": "otters" } }));
    join(&further);
    let (status, _) = run(answer("approve"));
    assert_eq!(status, 200, "a new question has a winner of its own");
}
