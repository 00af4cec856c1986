use std::collections::BTreeMap;

use serde_json::json;

use super::*;

fn state() -> Value {
    json!({
        "draft": "Rain.", "score": 7, "ratio": 3, "notes": ["a", "bb"], "answer": { "decision": "approve" },
        "big": vec![1; 2000], "umlaut": "ä",
    })
}

fn scope() -> BTreeMap<String, Type> {
    let decision = BTreeMap::from([("decision".to_owned(), Type::Text)]);
    let answer = Type::Object(crate::types::Fields { known: decision, open: false });
    let names = [
        ("draft", Type::Text),
        ("score", Type::Integer),
        ("ratio", Type::Number),
        ("notes", Type::list(Type::Text)),
        ("answer", answer),
        ("any", Type::Any),
        ("big", Type::list(Type::Integer)),
        ("umlaut", Type::Text),
    ];
    names.map(|(name, of)| (name.to_owned(), of)).into()
}

fn evaluate(text: &str) -> Result<Value, String> {
    let (state, scope) = (state(), scope());
    let expression = Expression::parse(text).map_err(|bad| bad.message)?;
    expression.evaluate(|name| {
        (state.get(name).cloned().unwrap_or_default(), scope.get(name).cloned().unwrap_or_default())
    })
}

#[test]
fn an_expression_has_a_value() {
    let check = |text: &str, expected: Value| {
        assert_eq!(evaluate(text), Ok(expected), "{text}");
    };
    check("answer.decision == 'approve'", json!(true));
    check("score * 2 + size(notes)", json!(16));
    check("ratio / 2.0", json!(1.5));
    check("notes.filter(n, n.size() > 1)", json!(["bb"]));
    check("notes.all(n, n != '') && !has(answer.reason)", json!(true));
    check("{'b': score, 'a': [draft]}", json!({ "a": ["Rain."], "b": 7 }));
    check("any == null", json!(true));
    check("draft.lowerAscii().matches('^r.*')", json!(true));
    check("umlaut + 'x'", json!("äx"));
    check("big.all(a, a == 1)", json!(true));
}

#[test]
fn what_cannot_be_evaluated_says_why() {
    let check = |text: &str, expected: &str| {
        let error = evaluate(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    };
    check("answer.reason == 'x'", "there is no `reason`");
    check("big.all(a, big.all(b, a == b))", "too large for loops inside of loops");
    check("notes.map(a, notes.map(b, notes.map(c, c)))", "more than 2 loops");
    check(&"(".repeat(40), "nested too deeply");
    check(&format!("'{}'", "x".repeat(5000)), "more than 4096 bytes");
    check("score ==", "the expression ends too soon");
    check("score / 0", "ivision by zero");
}

#[test]
fn what_can_never_work_is_found_beforehand() {
    let check = |text: &str, of: Type, expected: &[(&str, &str)]| {
        let expression = Expression::parse(text).unwrap();
        let (found, bad) = expression.infer(&scope());
        let bad: Vec<_> = bad
            .iter()
            .map(|bad| {
                let place = bad.range.clone().and_then(|range| text.get(range)).unwrap_or("?");
                (place, bad.message.as_str())
            })
            .collect();
        assert_eq!((found, bad.as_slice()), (of, expected), "{text}");
    };
    check("answer.decision == 'approve'", Type::Bool, &[]);
    check("notes + ['c']", Type::list(Type::Text), &[]);
    check("score + 1 > 2 ? draft : 'none'", Type::Text, &[]);
    check("notes.exists(n, n == 'a')", Type::Bool, &[]);
    check("any.deep.field[0]", Type::Any, &[]);
    check("missing == 1", Type::Bool, &[("missing", "there is no `missing` in the state")]);
    check(
        "'ä' == draft && missing",
        Type::Bool,
        &[("missing", "there is no `missing` in the state")],
    );
    check("draft == 1", Type::Bool, &[("==", "a string is never equal to an integer")]);
    check("draft && true", Type::Bool, &[("draft", "this is a string, not true or false")]);
    check("draft - 'x'", Type::Any, &[("-", "`-` does not work with a string and a string")]);
    check("draft < 3", Type::Bool, &[("<", "a string and an integer have no order")]);
    check(
        "ratio * 2",
        Type::Number,
        &[("*", "a whole number and one with a fraction do not mix: write double(x) or 2.0")],
    );
    check("answer.reason", Type::Any, &[(".", "there is no `reason` here; there are `decision`")]);
    check("notes.all(n, n > 3)", Type::Bool, &[(">", "a string and an integer have no order")]);
}
