//! How the server stops.

use std::time::Duration;

use agentry_server::{Drained, Settings};

use crate::support::{Server, post, settings};

const SLOW: &str =
    r#"{"model":"fast","stream":true,"messages":[{"role":"user","content":"slow"}]}"#;

#[tokio::test]
async fn what_is_in_flight_finishes_and_what_is_idle_goes() {
    let server = Server::start(Settings { idle: Duration::from_secs(60), ..settings() }).await;
    let mut slow = server.connect().await;
    slow.send(post("/v1/chat/completions", SLOW)).await;
    slow.until("begun").await;
    let mut idle = server.connect().await;
    idle.send("GET /ready HTTP/1.1\r\nhost: a\r\n\r\n").await;
    idle.until("\"ready\"").await;

    server.shutdown.cancel();
    assert_eq!(idle.rest().await, "", "an idle connection is closed");
    let ready = server.get("/ready").await;
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("stopping"), "{ready}");
    let late = server.post("/v1/chat/completions", SLOW).await;
    assert!(late.starts_with("HTTP/1.1 503 ") && late.contains("retry-after: 1"), "{late}");

    server.model.go_on.send_replace(true);
    let rest = slow.rest().await;
    assert!(rest.contains(" and done") && rest.contains("data: [DONE]"), "{rest}");
    assert_eq!(server.stop().await, Drained { connections_cut: 0 });
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut() {
    let server = Server::start(Settings { drain: Duration::from_millis(300), ..settings() }).await;
    let mut slow = server.connect().await;
    slow.send(post("/v1/chat/completions", SLOW)).await;
    slow.until("begun").await;
    let model = std::sync::Arc::clone(&server.model);
    assert_eq!(server.stop().await, Drained { connections_cut: 1 });
    model.wait_open(0).await;
    assert!(!slow.rest().await.contains("[DONE]"));
}
