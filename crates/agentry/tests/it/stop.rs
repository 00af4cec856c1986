//! How it starts when it cannot, and how it stops.

use crate::support::{Running, agentry, finish, get, kill, post};

const COUNT: &str =
    r#"{"model":"fast","stream":true,"messages":[{"role":"user","content":"count"}]}"#;

#[test]
fn a_stream_that_has_begun_outlives_the_wish_to_stop() {
    let server = Running::start();
    let mut stream = server.connect();
    stream.send(&post("/v1/chat/completions", COUNT));
    let begun = stream.until("data: ");
    kill(server.pid(), "TERM");
    let answer = begun + &stream.rest();
    assert!(answer.contains("data: [DONE]"), "{answer}");
    let text: String = answer
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"))
        .filter_map(|chunk| serde_json::from_str::<serde_json::Value>(&format!("{{{chunk}")).ok())
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, "one two three four five six seven eight nine ten");
    let (code, said) = server.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopping"), "{said}");
}

#[test]
fn whoever_insists_is_obeyed_at_once() {
    let server = Running::start();
    let mut stream = server.connect();
    stream.send(&post("/v1/chat/completions", COUNT.replace("count", "dawdle")));
    stream.until("data: ");
    kill(server.pid(), "INT");
    // The second signal counts once the first has been seen.
    while server.exchange(&get("/ready")).starts_with("HTTP/1.1 200 ") {}
    kill(server.pid(), "INT");
    let (code, said) = server.end();
    assert_eq!(code, Some(130), "{said}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let first = Running::start();
    let mut second = agentry(first.folder.path());
    second.arg("serve").env("AGENTRY__SERVER__LISTEN", &first.address);
    let output = finish(second);
    let said = String::from_utf8_lossy(&output.stderr);
    let (_, port) = first.address.rsplit_once(':').unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("port {port} is taken")), "{said}");
    assert!(said.contains("AGENTRY__SERVER__LISTEN"), "{said}");
    first.assert_healthy("a rival");
}

#[test]
fn a_good_configuration_is_told_in_short() {
    let server = Running::start();
    let mut check = agentry(server.folder.path());
    check.args(["check", "--json"]);
    let output = finish(check);
    assert_eq!(output.status.code(), Some(0));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["ok"], true);
    assert_eq!(told["providers"], serde_json::json!(["script"]));
    assert_eq!(told["models"], serde_json::json!(["fast", "default"]));
    assert_eq!(told["storage"], "memory:");
}
