//! Threads over real sockets, on an engine that does as it is told.

use std::sync::Arc;

use agentry_backends::memory::MemoryStore;
use agentry_server::{App, Settings, Threading};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Server, post, settings};

mod scripted;

use scripted::Scripted;

async fn start() -> Server {
    let store = Arc::new(MemoryStore::new());
    let threading = Threading {
        engine: Arc::new(Scripted::new(Arc::clone(&store))),
        archive: Arc::clone(&store) as _,
        assistants: Arc::clone(&store) as _,
        items: Arc::clone(&store) as _,
        crons: store,
        webhooks: None,
    };
    let settings = Settings { idle: std::time::Duration::from_secs(20), ..settings() };
    Server::start_with(settings, |app: App| app.threading(threading)).await
}

/// Status and body of an answer.
fn read(answer: &str) -> (u16, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").expect(answer);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    // Long bodies come in chunks; those of these tests are in one.
    let body = match head.contains("transfer-encoding: chunked") {
        true => body.split("\r\n").filter(|line| line.len() > 8).collect::<String>(),
        false => body.to_owned(),
    };
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

async fn send(server: &Server, path: &str, body: Value) -> (u16, Value) {
    read(&server.post(path, &body.to_string()).await)
}

async fn fetch(server: &Server, path: &str) -> (u16, Value) {
    read(&server.get(path).await)
}

async fn thread(server: &Server) -> String {
    let (status, thread) = send(server, "/threads", json!({})).await;
    assert_eq!(status, 200, "{thread}");
    thread["thread_id"].as_str().unwrap().to_owned()
}

/// Names and data of the events of an answer.
fn events(answer: &str) -> Vec<(String, Value)> {
    let lines: Vec<&str> = answer.lines().collect();
    let pairs = lines.windows(2).filter_map(|pair| {
        let name = pair[0].strip_prefix("event: ")?;
        let data = pair[1].strip_prefix("data: ")?;
        Some((name.to_owned(), serde_json::from_str(data).unwrap()))
    });
    pairs.collect()
}

fn names(answer: &str) -> Vec<String> {
    events(answer).into_iter().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn a_run_is_waited_for_and_its_state_is_there() {
    let server = start().await;
    let id = thread(&server).await;
    let body = json!({ "assistant_id": "agent", "input": { "n": 1 } });
    let waited = send(&server, &format!("/threads/{id}/runs/wait"), body).await;
    assert_eq!(waited, (200, json!({ "said": [{ "n": 1 }] })));
    let (status, state) = fetch(&server, &format!("/threads/{id}/state")).await;
    assert_eq!((status, &state["values"]), (200, &json!({ "said": [{ "n": 1 }] })));
    let (_, history) = fetch(&server, &format!("/threads/{id}/history")).await;
    assert_eq!(history.as_array().unwrap().len(), 1);
    let (_, shown) = fetch(&server, &format!("/threads/{id}")).await;
    assert_eq!((&shown["status"], &shown["values"]), (&json!("idle"), &state["values"]));
    let (_, runs) = fetch(&server, &format!("/threads/{id}/runs")).await;
    assert_eq!((&runs[0]["status"], &runs[0]["thread_id"]), (&json!("success"), &json!(id)));
    assert!(runs[0]["metadata"].get("__request").is_none(), "{runs}");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_goes_on_after_the_event_that_was_seen_last() {
    let server = start().await;
    let id = thread(&server).await;
    let body = json!({
        "assistant_id": "agent", "input": { "custom": [1, 2, 3] },
        "stream_mode": ["custom", "values"],
    });
    let streamed = server.post(&format!("/threads/{id}/runs/stream"), &body.to_string()).await;
    assert_eq!(names(&streamed), ["metadata", "values", "custom", "custom", "custom", "end"]);
    let place = streamed.lines().find_map(|line| line.strip_prefix("location: ")).unwrap().trim();
    let second = events(&streamed).iter().position(|(_, data)| *data == json!(2)).unwrap();
    let ids: Vec<&str> = streamed.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    // The first event, of the run itself, has no place in the log.
    let seen = ids[second - 1];
    let again = |last: &str| {
        format!(
            "GET {place} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nlast-event-id: {last}\r\n\r\n"
        )
    };
    let rest = server.exchange(again(seen)).await;
    let expected = [("custom".to_owned(), json!(3)), ("end".to_owned(), Value::Null)];
    assert_eq!(events(&rest), expected);
    assert_eq!(names(&server.exchange(again("-1")).await), names(&streamed));
    let (status, refused) = read(&server.exchange(again("yesterday")).await);
    assert_eq!((status, &refused["param"]), (422, &json!("last-event-id")));
    server.stop().await;
}

#[tokio::test]
async fn the_first_answer_counts_and_others_are_told_so() {
    let server = start().await;
    let id = thread(&server).await;
    let runs = format!("/threads/{id}/runs");
    let ask = json!({ "assistant_id": "agent", "input": { "do": "ask" } });
    send(&server, &format!("{runs}/wait"), ask).await;
    let (_, state) = fetch(&server, &format!("/threads/{id}/state")).await;
    assert_eq!(state["interrupts"], json!([{ "id": "q1", "value": "go on?" }]));
    let answer = |value: &str| json!({ "assistant_id": "agent", "command": { "resume": value } });
    let (status, _) = send(&server, &format!("{runs}/wait"), answer("yes")).await;
    assert_eq!(status, 200);
    let (status, refused) = send(&server, &runs, answer("no")).await;
    let expected = (409, json!("interrupt_already_answered"), json!("yes"));
    assert_eq!((status, refused["code"].clone(), refused["answer"]["value"].clone()), expected);
    let named = json!({ "assistant_id": "agent", "command": { "resume": { "q9": 1 } } });
    let (status, refused) = send(&server, &runs, named).await;
    assert_eq!((status, &refused["code"]), (422, &json!("interrupt_not_found")));
    server.stop().await;
}

#[tokio::test]
async fn a_busy_thread_refuses_whoever_says_reject_and_a_run_can_be_cancelled() {
    let server = start().await;
    let id = thread(&server).await;
    let runs = format!("/threads/{id}/runs");
    let hang = json!({ "assistant_id": "agent", "input": { "do": "hang" } });
    let (_, run) = send(&server, &runs, hang).await;
    let run = run["run_id"].as_str().unwrap();
    let reject = json!({
        "assistant_id": "agent", "input": {}, "multitask_strategy": "reject",
    });
    let (status, refused) = send(&server, &runs, reject).await;
    let expected = (409, &json!("thread_busy"), &json!(run));
    assert_eq!((status, &refused["code"], &refused["active_run_id"]), expected);
    let delete = format!("DELETE {runs}/{run} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let (status, refused) = read(&server.exchange(delete).await);
    assert_eq!((status, &refused["code"]), (409, &json!("run_not_over")));
    let cancel = format!("{runs}/{run}/cancel?wait=1&action=interrupt");
    let cancel = format!(
        "POST {cancel} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    assert!(server.exchange(&cancel).await.starts_with("HTTP/1.1 204 "));
    let (status, refused) = read(&server.exchange(&cancel).await);
    assert_eq!((status, &refused["code"]), (409, &json!("run_over")));
    let (_, shown) = fetch(&server, &format!("{runs}/{run}")).await;
    assert_eq!(shown["status"], "interrupted");
    server.stop().await;
}

#[tokio::test]
async fn a_reader_who_goes_away_takes_the_run_along_if_it_wants_to() {
    let server = start().await;
    let id = thread(&server).await;
    let runs = format!("/threads/{id}/runs");
    let hang = json!({
        "assistant_id": "agent", "input": { "do": "hang" }, "on_disconnect": "cancel",
    });
    let mut client = server.connect().await;
    client.send(post(&format!("{runs}/stream"), &hang.to_string())).await;
    client.until("event: values").await;
    drop(client);
    let (_, listed) = fetch(&server, &runs).await;
    let run = listed[0]["run_id"].as_str().unwrap().to_owned();
    let (_, ended) = fetch(&server, &format!("{runs}/{run}/join")).await;
    let reason = json!({
        "error": "UserInterrupt", "message": "nobody reads its answer any more",
    });
    assert_eq!(ended, json!({ "__error__": reason }));
    server.stop().await;
}

#[tokio::test]
async fn one_idempotency_key_is_one_run() {
    let server = start().await;
    let id = thread(&server).await;
    let path = format!("/threads/{id}/runs");
    let keyed = |body: Value| {
        let body = body.to_string();
        format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nidempotency-key: k1\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let one = json!({ "assistant_id": "agent", "input": { "n": 1 } });
    let (status, first) = read(&server.exchange(keyed(one.clone())).await);
    assert_eq!(status, 200, "{first}");
    let (_, second) = read(&server.exchange(keyed(one)).await);
    assert_eq!(first["run_id"], second["run_id"]);
    let other = json!({ "assistant_id": "agent", "input": { "n": 2 } });
    let (status, refused) = read(&server.exchange(keyed(other)).await);
    assert_eq!((status, &refused["code"]), (422, &json!("idempotency_conflict")));
    server.stop().await;
}

#[tokio::test]
async fn errors_are_written_as_these_clients_read_them() {
    let server = start().await;
    let nobody = "0192f000-0000-7000-8000-000000000001";
    let check = |path: String, body: Value, expected: (u16, &'static str, Value)| {
        let server = &server;
        async move {
            let (status, refused) = send(server, &path, body).await;
            let (expected_status, code, param) = expected;
            assert_eq!((status, &refused["code"]), (expected_status, &json!(code)), "{path}");
            assert_eq!(refused["param"], param, "{path}");
            assert!(refused["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        }
    };
    let run = json!({ "assistant_id": "agent" });
    check(format!("/threads/{nobody}/runs"), run, (404, "thread_not_found", Value::Null)).await;
    let id = thread(&server).await;
    let unknown = json!({ "assistant_id": "nobody" });
    let expected = (404, "assistant_not_found", Value::Null);
    check(format!("/threads/{id}/runs"), unknown, expected).await;
    let hook = json!({ "assistant_id": "agent", "input": {}, "webhook": "http://a.example/" });
    check(format!("/threads/{id}/runs"), hook, (422, "parameter_invalid", json!("webhook"))).await;
    let again = json!({ "thread_id": id });
    check("/threads".to_owned(), again, (409, "thread_exists", Value::Null)).await;
    check("/threads/x/copy".to_owned(), json!({}), (422, "parameter_invalid", json!("thread_id")))
        .await;
    let status = json!({ "status": "happy" });
    check("/threads/search".to_owned(), status, (422, "parameter_invalid", json!("status"))).await;
    let no_graph = json!({ "graph_id": "nobody" });
    check("/assistants".to_owned(), no_graph, (404, "graph_unknown", Value::Null)).await;
    let cron = json!({ "assistant_id": "agent", "schedule": "often" });
    check("/runs/crons".to_owned(), cron, (422, "cron_invalid", Value::Null)).await;
    let item = json!({ "namespace": [], "key": "k", "value": {} });
    let put = item.to_string();
    let put = format!(
        "PUT /store/items HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{put}",
        put.len()
    );
    let (status, refused) = read(&server.exchange(put).await);
    assert_eq!((status, &refused["code"]), (422, &json!("item_invalid")));
    server.stop().await;
}

#[tokio::test]
async fn a_run_without_a_thread_leaves_none_behind() {
    let server = start().await;
    let body = json!({ "assistant_id": "agent", "input": { "n": 1 } });
    let waited = send(&server, "/runs/wait", body.clone()).await;
    assert_eq!(waited, (200, json!({ "said": [{ "n": 1 }] })));
    let streamed = server.post("/runs/stream", &body.to_string()).await;
    assert_eq!(names(&streamed), ["metadata", "values", "end"]);
    // What comes after a connection is done before the server has stopped.
    let kept = json!({ "assistant_id": "agent", "input": {}, "on_completion": "keep" });
    let (_, run) = send(&server, "/runs", kept).await;
    let cleaned = async { while send(&server, "/threads/count", json!({})).await.1 != json!(1) {} };
    tokio::time::timeout(PATIENCE, cleaned).await.expect("the others to go");
    let (_, found) = send(&server, "/threads/search", json!({})).await;
    assert_eq!(found[0]["thread_id"], run["thread_id"]);
    server.stop().await;
}

#[tokio::test]
async fn the_agent_protocol_is_spoken_too() {
    let server = start().await;
    let (_, agents) = send(&server, "/agents/search", json!({})).await;
    assert_eq!((&agents[0]["name"], agents.as_array().unwrap().len()), (&json!("agent"), 1));
    let agent = agents[0]["agent_id"].as_str().unwrap();
    let (_, schemas) = fetch(&server, &format!("/agents/{agent}/schemas")).await;
    assert_eq!(schemas["agent_id"], agent);
    let id = thread(&server).await;
    let body = json!({ "agent_id": agent, "input": { "n": 1 } });
    let (_, whole) = send(&server, &format!("/threads/{id}/runs/wait"), body).await;
    assert_eq!(whole["values"], json!({ "said": [{ "n": 1 }] }));
    let run = &whole["run"];
    assert_eq!((&run["status"], &run["thread_id"]), (&json!("success"), &json!(id)));
    let run = run["run_id"].as_str().unwrap();
    let (_, again) = fetch(&server, &format!("/threads/{id}/runs/{run}/wait")).await;
    assert_eq!(again["values"], whole["values"]);
    let ask = json!({ "input": { "do": "ask" } });
    let (_, asked) = send(&server, &format!("/threads/{id}/runs/wait"), ask).await;
    assert_eq!(asked["run"]["status"], "interrupted");
    let asking = asked["run"]["run_id"].as_str().unwrap();
    let path = format!("/threads/{id}/runs/{asking}/resume");
    // What is no answer is not taken for one: the question stays open.
    for (body, says) in [(json!({ "answer": "yes" }), "input"), (json!(["yes"]), "a JSON object")] {
        let (status, refused) = send(&server, &path, body).await;
        assert_eq!(status, 422, "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains(says), "{refused}");
    }
    let (status, resumed) = send(&server, &path, json!({ "input": "yes" })).await;
    assert_eq!((status, &resumed["thread_id"]), (200, &json!(id)));
    server.stop().await;
}
