//! Calls that name an idempotency key are made once, whatever happens to whoever makes them.

use std::time::Duration;

use agentry_testkit::vendor::{Answer, Ending, Reply, Vendor, Writes};
use serde_json::{Value, json};

use crate::keys::with;
use crate::support::{Running, post, wait_for};

fn config(vendor: &Vendor) -> String {
    let url = vendor.base_url();
    let models: String = ["quick", "slow", "paced", "broken", "cut", "large", "vectors"]
        .iter()
        .map(|name| {
            format!("[models.{name}]\nretries = 0\ntimeout = \"20s\"\ntargets = [\"v/{name}\"]\n")
        })
        .collect();
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[storage]\nurl = \"sqlite:a.db\"\n[breaker]\nfailures = 1000\n\
         [providers.v]\nkind = \"openai\"\nbase_url = \"{url}\"\n{models}"
    )
}

fn vendor() -> Vendor {
    let answer = Answer::chat(&["one ", "two ", "three"]);
    let vendor = Vendor::start(vec![answer.whole()]);
    let pause = Duration::from_millis(150);
    vendor.script("slow", vec![answer.whole().written(Writes::Paced(pause * 4))]);
    vendor.script("paced", vec![answer.stream().written(Writes::Paced(pause))]);
    vendor.script("broken", vec![Reply::error(500), answer.whole()]);
    let cut = answer.stream().stops_after(3, Ending::Close);
    vendor.script("cut", vec![cut, answer.stream()]);
    let vector = json!({ "object": "embedding", "index": 0, "embedding": [0.5, 1.0] });
    let usage = json!({ "prompt_tokens": 2, "total_tokens": 2 });
    let vectors = json!({ "object": "list", "data": [vector], "model": "vectors", "usage": usage });
    vendor.script("vectors", vec![Reply::json(&vectors)]);
    let large = "x".repeat(5 << 20);
    vendor.script("large", vec![Answer::chat(&[large.as_str()]).whole()]);
    vendor
}

fn ask(model: &str, stream: bool) -> Vec<u8> {
    let body = json!({
        "model": model, "stream": stream, "messages": [{ "role": "user", "content": "count" }],
    });
    post("/v1/chat/completions", body.to_string())
}

fn keyed(key: &str, request: &[u8]) -> Vec<u8> {
    with(&format!("idempotency-key: {key}"), request)
}

/// Status, the head, and the body with its framing taken off.
struct Seen {
    status: u16,
    head: String,
    body: String,
}

impl Seen {
    fn of(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = match head.contains("transfer-encoding: chunked") {
            true => unchunk(body),
            false => body.to_owned(),
        };
        Self { status, head: head.to_owned(), body }
    }

    fn is_replayed(&self) -> bool {
        self.head.contains("x-agentry-replayed: true")
    }

    fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

fn send(server: &Running, key: &str, model: &str, stream: bool) -> Seen {
    Seen::of(&server.exchange(&keyed(key, &ask(model, stream))))
}

#[test]
fn what_is_sent_again_is_answered_again_and_not_paid_again() {
    let vendor = vendor();
    let server = Running::with(&config(&vendor));
    for stream in [false, true] {
        let key = format!("again-{stream}");
        let model = if stream { "paced" } else { "quick" };
        let first = send(&server, &key, model, stream);
        assert_eq!((first.status, first.is_replayed()), (200, false));
        for _ in 0..2 {
            let again = send(&server, &key, model, stream);
            assert_eq!((again.status, &again.body), (200, &first.body));
            assert!(
                again.is_replayed() && again.head.contains("x-agentry-cost-usd: 0.000000"),
                "{}",
                again.head
            );
            let kind = |seen: &Seen| {
                let lines = seen.head.lines().map(str::to_owned);
                lines.into_iter().find(|line| line.starts_with("content-type"))
            };
            assert_eq!(kind(&again), kind(&first));
        }
        vendor.assert_called(model, 1);
    }
    let conflict = send(&server, "again-false", "slow", false);
    assert_eq!((conflict.status, &*conflict.code()), (422, "idempotency_conflict"));
    let other = send(&server, "another", "quick", false);
    assert!(!other.is_replayed());
    vendor.assert_called("quick", 2);
    let wrong = send(&server, "", "quick", false);
    assert_eq!((wrong.status, &*wrong.code()), (400, "header_invalid"));
}

#[test]
fn of_two_at_the_same_time_one_is_answered_and_the_other_comes_again() {
    let vendor = vendor();
    let server = Running::with(&config(&vendor));
    let mut first = server.connect();
    first.send(&keyed("both", &ask("slow", false)));
    wait_for("the call", || (!vendor.received_for("slow").is_empty()).then_some(()));
    let second = send(&server, "both", "slow", false);
    assert_eq!((second.status, &*second.code()), (409, "idempotency_in_progress"));
    assert!(second.head.contains("retry-after: 1"), "{}", second.head);
    let first = Seen::of(&first.rest());
    assert_eq!(first.status, 200);
    let third = send(&server, "both", "slow", false);
    assert_eq!((third.is_replayed(), third.body), (true, first.body));
    vendor.assert_called("slow", 1);
}

#[test]
fn an_answer_outlives_the_process() {
    let vendor = vendor();
    let config = config(&vendor);
    let server = Running::with(&config);
    let first = send(&server, "step-7", "quick", false);
    let server = Running::again(server.kill_hard());
    let again = send(&server, "step-7", "quick", false);
    assert_eq!((again.status, again.is_replayed(), again.body), (200, true, first.body));
    vendor.assert_called("quick", 1);
}

#[test]
fn who_goes_away_in_the_middle_finds_the_whole_answer_later() {
    let vendor = vendor();
    let server = Running::with(&config(&vendor));
    for (model, stream) in [("paced", true), ("slow", false)] {
        let mut connection = server.connect();
        connection.send(&keyed(model, &ask(model, stream)));
        match stream {
            true => drop(connection.until("one ")),
            false => {
                wait_for("the call", || (!vendor.received_for(model).is_empty()).then_some(()));
            }
        }
        drop(connection);
        let later = wait_for("the answer", || {
            let seen = send(&server, model, model, stream);
            assert!(seen.status == 200 || seen.code() == "idempotency_in_progress");
            (seen.status == 200).then_some(seen)
        });
        assert!(later.is_replayed() && later.body.contains("three"), "{}", later.body);
        assert_eq!(later.body.contains("[DONE]"), stream);
        vendor.assert_called(model, 1);
    }
}

#[test]
fn what_failed_or_broke_off_may_be_tried_again_with_its_key() {
    let vendor = vendor();
    let server = Running::with(&config(&vendor));
    for (model, stream) in [("broken", false), ("cut", true)] {
        let failed = send(&server, model, model, stream);
        assert!(failed.status >= 500 || failed.body.contains("event: error"), "{}", failed.body);
        let second = send(&server, model, model, stream);
        assert_eq!((second.status, second.is_replayed()), (200, false), "{}", second.body);
        assert!(send(&server, model, model, stream).is_replayed());
        vendor.assert_called(model, 2);
    }
    assert_eq!(send(&server, "large", "large", false).status, 200);
    let again = send(&server, "large", "large", false);
    assert_eq!((again.status, &*again.code()), (409, "idempotency_not_kept"));
    vendor.assert_called("large", 1);
}

#[test]
fn every_way_to_call_a_model_knows_keys() {
    let vendor = vendor();
    let server = Running::with(&config(&vendor));
    let messages = json!([{ "role": "user", "content": "count" }]);
    let calls = [
        ("/v1/responses", json!({ "model": "quick", "input": "count" }), "quick"),
        ("/v1/messages", json!({ "model": "slow", "max_tokens": 9, "messages": messages }), "slow"),
        ("/v1/embeddings", json!({ "model": "vectors", "input": "count" }), "vectors"),
    ];
    for (path, body, model) in calls {
        let request = keyed("one", &post(path, body.to_string()));
        // The key is taken by another path.
        let conflicts = model != "quick";
        let first = Seen::of(&server.exchange(&request));
        assert_eq!(first.status, if conflicts { 422 } else { 200 }, "{path}: {}", first.body);
        let request = keyed(model, &post(path, body.to_string()));
        let first = Seen::of(&server.exchange(&request));
        let again = Seen::of(&server.exchange(&request));
        assert_eq!((first.status, first.is_replayed(), again.is_replayed()), (200, false, true));
        assert_eq!(again.body, first.body, "{path}");
        vendor.assert_called(model, if conflicts { 1 } else { 2 });
    }
}
