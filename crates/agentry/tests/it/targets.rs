//! How targets are asked: two at once, so many at once, several callers as one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agentry_testkit::vendor::{Answer, Reply, Vendor};
use serde_json::{Value, json};

use crate::support::{Running, get, post, wait_for};

fn chat(model: &str, stream: bool) -> Vec<u8> {
    let body = json!({
        "model": model, "stream": stream, "max_tokens": 5,
        "messages": [{ "role": "user", "content": "hi" }],
    });
    post("/v1/chat/completions", body.to_string())
}

fn providers(vendors: &[(&str, &Vendor)]) -> String {
    let provider = |(name, vendor): &(&str, &Vendor)| {
        format!("[providers.{name}]\nkind = \"openai\"\nbase_url = \"{}\"\n", vendor.base_url())
    };
    let providers: String = vendors.iter().map(provider).collect();
    format!("[server]\nlisten = \"127.0.0.1:0\"\n[cache]\nexact = false\n{providers}")
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn a_second_target_is_asked_when_the_first_takes_long_to_begin() {
    let vendor = || Vendor::start(vec![Answer::chat(&["so"]).stream()]);
    let (one, two) = (vendor(), vendor());
    let models = "[models.m]\ntargets = [\"one/a\", \"two/a\"]\nstrategy = \"round_robin\"\nhedge = true\nretries = 0\n\
                  first_token_timeout = \"60s\"\nprice = { input = 1000.0, output = 1000.0 }\n";
    let server = Running::with(&format!("{}{models}", providers(&[("one", &one), ("two", &two)])));
    let ask = || {
        let answer = server.exchange(&chat("m", true));
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("[DONE]"), "{answer}");
        answer
    };
    // What is usual is worked out anew every second, from twenty calls on; fifty earn a second target.
    let begun = Instant::now();
    let mut calls = 0;
    while calls < 60 || begun.elapsed() < Duration::from_millis(1_500) {
        ask();
        calls += 1;
    }
    one.script("a", vec![Reply::hangs()]);
    let hedged = wait_for("a call with company", || {
        let answer = ask();
        (header(&answer, "x-agentry-attempts") == Some("2")).then_some(answer)
    });
    assert_eq!(header(&hedged, "x-agentry-target"), Some("two/a"), "{hedged}");
    // Calls that were merely slower than most may have had company before.
    let metrics = server.exchange(&get("/metrics"));
    let sample = |name: &str| -> f64 {
        let found = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix("{model=\"m\"} "));
        found.map_or(0.0, |value| value.parse().unwrap())
    };
    assert!(sample("agentry_hedges_total") >= 1.0, "{metrics}");
    assert!(sample("llm_cost_estimated_usd_total") > 0.0, "both may bill it: {metrics}");
    wait_for("the one that lost to be let go", || (one.hanging() == 0).then_some(()));
}

#[test]
fn no_more_is_under_way_at_a_target_than_its_limit() {
    let vendor = Vendor::start(vec![Reply::hangs()]);
    let models = "[models.m]\ntargets = [\"one/a\"]\nretries = 0\ntimeout = \"60s\"\nlimit = { initial = 1, min = 1, max = 1 }\n";
    let server = Running::with(&format!("{}{models}", providers(&[("one", &vendor)])));
    let mut first = server.connect();
    first.send(&chat("m", false));
    let limit = || {
        let (_, status) = server.json(&get("/v1/status"));
        status["models"][0]["targets"][0]["limit"].clone()
    };
    wait_for("the first one to be asked", || (vendor.hanging() == 1).then_some(()));
    assert_eq!((&limit()["limit"], &limit()["in_use"]), (&json!(1), &json!(1)));
    let answer = server.exchange(&chat("m", false));
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("overloaded"), "{answer}");
    let after = header(&answer, "retry-after").unwrap().parse::<u64>().unwrap();
    assert!((1..=30).contains(&after), "{answer}");
    vendor.assert_called("a", 1);
    assert_eq!((&limit()["waiting"], &limit()["shed"]), (&json!(0), &json!(1)));

    vendor.script("a", vec![Answer::chat(&["so"]).whole()]);
    drop(first);
    wait_for("the place to be free", || {
        server.exchange(&chat("m", false)).starts_with("HTTP/1.1 200 ").then_some(())
    });
}

/// Makes vectors as long as their inputs, refuses requests with a bad one, and writes down what it was asked.
fn embedder() -> (String, Arc<Mutex<Vec<Vec<String>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), heard) = (stream, Arc::clone(&heard)) else { return };
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                loop {
                    let (mut length, mut line) = (0, String::new());
                    while reader.read_line(&mut line).is_ok_and(|read| read > 0) && line != "\r\n" {
                        let lower = std::mem::take(&mut line).to_lowercase();
                        if let Some(value) = lower.strip_prefix("content-length: ") {
                            length = value.trim().parse().unwrap();
                        }
                    }
                    let mut body = vec![0; length];
                    if length == 0 || reader.read_exact(&mut body).is_err() {
                        return;
                    }
                    let request: Value = serde_json::from_slice(&body).unwrap();
                    let input: Vec<String> = match &request["input"] {
                        Value::String(one) => vec![one.clone()],
                        many => serde_json::from_value(many.clone()).unwrap(),
                    };
                    let (status, answer) = vectors(&input);
                    heard.lock().unwrap().push(input);
                    let answer = format!(
                        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
                        answer.len()
                    );
                    if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, asked)
}

fn vectors(input: &[String]) -> (&'static str, String) {
    if input.iter().any(|text| text == "bad") {
        let error = json!({ "message": "one is bad", "type": "invalid_request_error", "param": "input", "code": null });
        return ("400 Bad", json!({ "error": error }).to_string());
    }
    let data = input.iter().enumerate().map(|(index, text)| {
        json!({ "object": "embedding", "index": index, "embedding": [text.len() as f64] })
    });
    let used = input.len() * 2;
    let usage = json!({ "prompt_tokens": used, "total_tokens": used });
    let data: Vec<Value> = data.collect();
    ("200 OK", json!({ "object": "list", "data": data, "model": "e", "usage": usage }).to_string())
}

#[test]
fn inputs_of_several_callers_go_together_and_each_gets_its_own_part() {
    let (address, asked) = embedder();
    let server = Running::with(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[embeddings]\nlinger = \"100ms\"\n\
         [providers.one]\nkind = \"openai\"\nbase_url = \"{address}\"\n\
         [models.e]\ntargets = [\"one/e\"]\nretries = 0\n"
    ));
    let embed = |text: &str| {
        let body = json!({ "model": "e", "input": text, "encoding_format": "float" });
        server.json(&post("/v1/embeddings", body.to_string()))
    };
    let both = |one: &str, two: &str| {
        std::thread::scope(|scope| {
            let first = scope.spawn(|| embed(one));
            let second = embed(two);
            (first.join().unwrap(), second)
        })
    };
    let vector = |answer: &(u16, Value)| {
        assert_eq!(answer.0, 200, "{}", answer.1);
        (answer.1["data"][0]["embedding"][0].as_f64(), answer.1["usage"]["prompt_tokens"].as_u64())
    };
    let went_together = || {
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        asked.iter().any(|inputs| inputs.len() == 2).then_some(asked)
    };
    // On a busy machine two may miss each other.
    let sent = wait_for("two to go together", || {
        let (one, two) = both("a", "four");
        assert_eq!((vector(&one), vector(&two)), ((Some(1.0), Some(2)), (Some(4.0), Some(2))));
        went_together()
    });
    assert_eq!(sent.len(), 1, "{sent:?}");
    let sent = wait_for("two to go together", || {
        let (good, bad) = both("good", "bad");
        assert_eq!(vector(&good), (Some(4.0), Some(2)));
        assert_eq!(bad.0, 400, "{}", bad.1);
        assert!(bad.1["error"]["message"].as_str().unwrap().contains("one is bad"), "{}", bad.1);
        went_together()
    });
    assert_eq!(sent.len(), 3, "together, then each alone: {sent:?}");
}
