//! Chat completions and models, as their clients see them.

use serde_json::Value;

use crate::support::{Server, post, settings};

const CHAT: &str = "/v1/chat/completions";

fn ask(text: &str, more: &str) -> String {
    format!(r#"{{"model":"fast","messages":[{{"role":"user","content":"{text}"}}]{more}}}"#)
}

fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Asks and expects the status; each text must stand in the answer.
async fn check(server: &Server, request: &str, status: u16, contains: &[&str]) {
    let answer = server.post(CHAT, request).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    for text in contains {
        assert!(answer.contains(text), "{request}: no {text} in {answer}");
    }
}

#[tokio::test]
async fn answers_come_whole_with_what_they_cost() {
    let server = Server::start(settings()).await;
    let answer = server.post(CHAT, &ask("say hello", "")).await;
    for header in [
        "x-agentry-target: puppet/p-1\r\n",
        "x-agentry-attempts: 1\r\n",
        "x-agentry-cost-usd: 0.000020\r\n",
        "content-type: application/json\r\n",
    ] {
        assert!(answer.contains(header), "{header}: {answer}");
    }
    let body = body(&answer);
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["created"], 1_795_180_800);
    assert_eq!(body["choices"][0]["message"]["content"], "hello");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["usage"]["total_tokens"], 15);

    let metrics = server.get("/metrics").await;
    for line in [
        "llm_requests_total{model=\"fast\",endpoint=\"chat_completions\",status=\"success\"} 1\n",
        "llm_tokens_total{model=\"fast\",type=\"input\"} 10\n",
        "llm_cost_usd_total{model=\"fast\"} 0.00002",
        "llm_active_requests 0\n",
        "llm_request_duration_seconds_count{model=\"fast\"} 1\n",
        "agentry_http_requests_total{route=\"/v1/chat/completions\",method=\"POST\",status=\"200\"} 1\n",
        "process_resident_memory_bytes ",
        "# TYPE llm_requests_total counter\n",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    server.stop().await;
}

#[tokio::test]
async fn answers_are_streamed_and_end_as_they_should() {
    let server = Server::start(settings()).await;
    check(
        &server,
        &ask("say hello", r#","stream":true,"stream_options":{"include_usage":true}"#),
        200,
        &[
            "content-type: text/event-stream",
            "x-agentry-target: puppet/p-1",
            "\"usage\":null",
            "\"choices\":[],\"usage\":{",
            "data: [DONE]\n\n",
        ],
    )
    .await;
    for (asked, code) in [("break", "model_broke_off"), ("cut", "model_truncated")] {
        let answer = server.post(CHAT, &ask(asked, r#","stream":true"#)).await;
        assert!(answer.contains("so far"), "{answer}");
        assert!(answer.contains("event: error\ndata: {\"error\":{\"message\":"), "{answer}");
        assert!(answer.contains(code), "{answer}");
        assert!(!answer.contains("[DONE]"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn failures_are_told_in_the_shape_that_clients_read() {
    let four = ["\"message\":", "\"type\":", "\"param\":", "\"code\":"];
    for (asked, status, contains) in [
        ("invalid", 400, vec!["context_length_exceeded", "\"param\":\"messages\"", "too long"]),
        (
            "limited",
            429,
            vec!["retry-after: 2\r\n", "retry-after-ms: 1500\r\n", "rate_limit_error"],
        ),
        ("break", 502, vec!["model_broke_off", "power cut"]),
        ("cut", 502, vec!["model_truncated"]),
        ("panic", 500, vec!["\"code\":\"internal\"", "x-request-id: "]),
    ] {
        let contains: Vec<&str> = contains.into_iter().chain(four).collect();
        // Each has a server of its own: targets that fail are left alone for a while.
        let server = Server::start(settings()).await;
        check(&server, &ask(asked, ""), status, &contains).await;
        server.stop().await;
    }
    let server = Server::start(settings()).await;
    let unknown = r#"{"model":"gpt-9","messages":[{"role":"user","content":"x"}]}"#;
    check(&server, unknown, 404, &["model_not_found", "there are: fast", "\"param\":\"model\""])
        .await;
    server.assert_healthy("failures").await;
    server.stop().await;
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_call() {
    let server = Server::start(settings()).await;
    for (asked, more) in
        [("hang", ""), ("hang", r#","stream":true"#), ("slow", r#","stream":true"#)]
    {
        let mut client = server.connect().await;
        client.send(post(CHAT, &ask(asked, more))).await;
        server.model.wait_open(1).await;
        drop(client);
        server.model.wait_open(0).await;
    }
    let metrics = server.get("/metrics").await;
    assert!(metrics.contains("status=\"cancelled\"} 3\n"), "{metrics}");
    server.stop().await;
}

#[tokio::test]
async fn models_are_listed_and_shown() {
    let server = Server::start(settings()).await;
    let list = body(&server.get("/v1/models").await);
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], "fast");
    assert_eq!(body(&server.get("/v1/models/fast").await), list["data"][0]);
    let unknown = server.get("/v1/models/some/other").await;
    assert!(unknown.starts_with("HTTP/1.1 404 ") && unknown.contains("fast"), "{unknown}");
    server.stop().await;
}

#[tokio::test]
async fn a_request_keeps_the_id_that_its_caller_gave_it() {
    let server = Server::start(settings()).await;
    let long = "x".repeat(129);
    for (given, kept) in
        [("abc-1.2:3_Z", true), ("", false), ("a b", false), ("ä", false), (long.as_str(), false)]
    {
        let answer = server
            .exchange(format!(
                "GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-request-id: {given}\r\n\r\n"
            ))
            .await;
        assert_eq!(answer.contains(&format!("x-request-id: {given}\r\n")), kept, "{answer}");
        assert_eq!(answer.contains("x-request-id: req_"), !kept, "{answer}");
    }
    server.stop().await;
}
