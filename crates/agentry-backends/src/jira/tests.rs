use serde_json::json;

use super::*;
use crate::scripted::{Play, Scripted, Seen, client, nobody};

const NONE: &str = r#"{"issues":[],"isLast":true}"#;

fn tickets(url: &Url) -> JiraTickets {
    JiraTickets::new(client(), url.clone(), "OPS", Login::Bearer(SecretString::from("s3cret")))
}

fn body() -> Value {
    json!({"fields": {"summary": "checkout is slow", "labels": ["incident"]}})
}

/// Plays `script`, opens one ticket, and returns the result and what Jira saw.
async fn open(script: impl IntoIterator<Item = Play>) -> (Result<Receipt, Error>, Vec<Seen>) {
    let server = Scripted::start(script);
    let result = tickets(&server.url).open("run-7", &body()).await;
    (result, server.finish())
}

fn answer(status: u16, body: &str) -> Play {
    Play::Answer(status, body.to_owned())
}

#[tokio::test]
async fn a_ticket_is_looked_for_and_then_opened() {
    let (result, seen) =
        open([answer(200, NONE), answer(201, r#"{"id":"1","key":"OPS-17","self":"x"}"#)]).await;
    let receipt = result.unwrap();
    assert_eq!(receipt.id, "OPS-17");
    assert!(receipt.link.ends_with("/browse/OPS-17"), "{}", receipt.link);
    let lines: Vec<&str> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(lines, ["POST /rest/api/3/search/jql", "POST /rest/api/3/issue"]);
    assert_eq!(
        seen[0].json(),
        json!({"jql": "labels = \"agentry-run-7\" ORDER BY created ASC", "fields": ["key"], "maxResults": 1})
    );
    let expected = json!({"fields": {
        "summary": "checkout is slow",
        "labels": ["incident", "agentry-run-7"],
        "project": {"key": "OPS"},
    }});
    assert_eq!(seen[1].json(), expected);
    assert!(seen.iter().all(|seen| seen.header("authorization") == Some("Bearer s3cret")));
    assert!(seen.iter().all(|seen| seen.header("content-type") == Some("application/json")));
}

#[tokio::test]
async fn a_ticket_that_exists_is_not_opened_again() {
    let (result, seen) = open([answer(200, r#"{"issues":[{"id":"1","key":"OPS-3"}]}"#)]).await;
    assert_eq!((result.unwrap().id.as_str(), seen.len()), ("OPS-3", 1));
}

#[tokio::test]
async fn a_lost_answer_is_ambiguous_and_the_next_attempt_finds_the_ticket() {
    let found = r#"{"issues":[{"key":"OPS-9"}]}"#;
    let server = Scripted::start([answer(200, NONE), Play::HangUp, answer(200, found)]);
    let tickets = tickets(&server.url);
    let first = tickets.open("run-7", &body()).await;
    assert!(matches!(first, Err(Error::Ambiguous { .. })), "{first:?}");
    assert_eq!(tickets.open("run-7", &body()).await.unwrap().id, "OPS-9");
    let lines: Vec<String> = server.finish().into_iter().map(|seen| seen.line).collect();
    assert_eq!(
        lines,
        ["POST /rest/api/3/search/jql", "POST /rest/api/3/issue", "POST /rest/api/3/search/jql"]
    );
}

#[tokio::test]
async fn an_older_server_is_searched_the_older_way() {
    let (result, seen) =
        open([answer(404, "no such page"), answer(200, NONE), answer(201, r#"{"key":"OPS-1"}"#)])
            .await;
    assert_eq!(
        (result.unwrap().id.as_str(), seen[1].line.as_str()),
        ("OPS-1", "POST /rest/api/3/search")
    );
}

#[tokio::test]
async fn what_jira_says_decides_what_is_known() {
    let check = async |script: Vec<Play>, expected: &str| {
        let (result, _) = open(script).await;
        let error = result.unwrap_err();
        let kind = match &error {
            Error::Refused { .. } => "refused",
            Error::Unavailable { .. } => "unavailable",
            Error::Ambiguous { .. } => "ambiguous",
        };
        let text = error.to_string();
        assert_eq!(format!("{kind}: {}", text.rsplit_once(": ").unwrap().1), expected, "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    };
    check(vec![answer(401, "who are you")], "refused: who are you").await;
    check(vec![answer(503, "")], "unavailable: no explanation").await;
    // The search changes nothing: without its answer surely nothing happened.
    check(vec![answer(500, "oops")], "unavailable: oops").await;
    check(
        vec![answer(200, NONE), answer(400, "priority is required")],
        "refused: priority is required",
    )
    .await;
    check(vec![answer(200, NONE), answer(429, "slow down")], "unavailable: slow down").await;
    check(vec![answer(200, NONE), answer(502, "gateway")], "ambiguous: gateway").await;
    check(
        vec![answer(200, NONE), answer(201, "[]")],
        "ambiguous: invalid length 0, expected struct Issue with 1 element at line 1 column 2",
    )
    .await;
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let result = tickets(&nobody()).open("run-7", &body()).await;
    assert!(
        matches!(&result, Err(Error::Unavailable { target, .. }) if target == "Jira at 127.0.0.1"),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_body_that_is_no_ticket_is_refused_before_anything_is_sent() {
    for body in [json!([]), json!({"fields": 7}), json!({"fields": {"labels": "x"}})] {
        let result = tickets(&nobody()).open("run-7", &body).await;
        assert!(matches!(result, Err(Error::Refused { .. })), "{body}: {result:?}");
    }
}

#[test]
fn a_login_becomes_a_header() {
    let check = |login: Login, expected: Option<&str>| {
        let header = login.header();
        assert_eq!(header.as_ref().map(|value| value.to_str().unwrap()), expected);
        assert!(header.is_none_or(|value| value.is_sensitive()));
    };
    let token = || SecretString::from("open sesame");
    check(
        Login::Basic { email: "Aladdin".to_owned(), token: token() },
        Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
    );
    check(Login::Bearer(token()), Some("Bearer open sesame"));
    check(Login::Bearer(SecretString::from("two\nlines")), None);
    for (text, expected) in
        [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
    {
        assert_eq!(base64(text.as_bytes()), expected);
    }
}
