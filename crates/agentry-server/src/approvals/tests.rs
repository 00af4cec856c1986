use agentry_core::Timestamp;

use super::*;

fn question() -> Interrupt {
    let run = RunId::new(Timestamp::from_millis(0), [0; 10]);
    Interrupt {
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
    }
}

/// Whether an answer to an open question is taken, or why not.
fn check_answer(body: &str) -> String {
    let decision: Decision = serde_json::from_str(body).unwrap();
    match check(&question(), &decision) {
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

#[test]
fn an_answer_is_held_to_the_schema_of_its_question() {
    let schema = json!({
        "type": "object",
        "properties": { "decision": { "type": "string" }, "comment": { "type": "string", "minLength": 3 } },
        "required": ["comment"],
    });
    let question = Interrupt { schema: Some(schema), ..question() };
    let check = |answer: Value, expected: Option<&str>| {
        let refused = fits(&question, &answer).err();
        let told = refused.as_ref().map(|refusal| (refusal.told().status, refusal.told().message));
        let expected = expected
            .map(|wrong| (422, format!("the answer does not fit what was asked for: {wrong}")));
        assert_eq!(told.map(|(status, text)| (status, text.to_owned())), expected);
    };
    check(json!({ "decision": "approve", "comment": "fine", "remedy": null }), None);
    check(json!({ "decision": "approve", "comment": null }), Some("it needs `comment`"));
    check(json!({ "comment": "no" }), Some("`comment` must have at least 3 letters"));
}
