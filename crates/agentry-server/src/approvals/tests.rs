use agentry_core::Timestamp;

use super::*;

/// Whether an answer to an open question is taken, or why not.
fn check_answer(body: &str) -> String {
    let run = RunId::new(Timestamp::from_millis(0), [0; 10]);
    let question = Interrupt {
        thread: run.own_thread(),
        run,
        id: "approve-1-0".into(),
        ns: String::new(),
        node: "approve".into(),
        schema: None,
        escalations: 0,
        question: Some(json!({ "decisions": ["approve", "modify", "reject"], "digest": "d" })),
        opened: Timestamp::from_millis(0),
        deadline: None,
        on_timeout: Value::Null,
        answer: None,
    };
    let decision: Decision = serde_json::from_str(body).unwrap();
    match check(&question, &decision) {
        Ok(()) => "taken".to_owned(),
        Err(refusal) if format!("{refusal:?}").contains("text_too_long") => "too long".to_owned(),
        Err(refusal) => format!("{refusal:?}"),
    }
}

#[test]
fn an_answer_that_could_be_stored_but_not_read_again_is_refused() {
    let check = |remedy: &str, expected: &str| {
        let body = format!(r#"{{"decision": "modify", "remedy": {remedy}}}"#);
        assert_eq!(check_answer(&body), expected, "{}", remedy.get(..80).unwrap_or(remedy));
    };
    check(r#"{"action": "restart", "service": "cart"}"#, "taken");
    check(&format!("{}{}", "[".repeat(8), "]".repeat(8)), "taken");
    check(&format!("{}{}", "[".repeat(9), "]".repeat(9)), "too long");
    check(&format!("{}{}", "[".repeat(126), "]".repeat(126)), "too long");
    check(&format!("\"{}\"", "x".repeat(5_000)), "too long");
}
