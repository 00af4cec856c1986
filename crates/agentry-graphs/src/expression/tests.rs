use std::collections::BTreeMap;

use serde_json::json;

use super::*;

fn state() -> Value {
    json!({
        "draft": "Rain.", "score": 7, "ratio": 3, "notes": ["a", "bb"], "answer": { "decision": "approve" },
        "big": vec![1; 2000], "umlaut": "ä", "long": "x".repeat(1 << 20), "many": (0..10_000).map(|i| i.to_string()).collect::<Vec<_>>(),
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
        ("long", Type::Text),
        ("many", Type::list(Type::Text)),
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
    check("big.all(a, big.all(b, a == b))", "it takes too long: give it less to go through");
    check("'a'.matches('(')", "not a valid regex");
    check("draft.indexOf(long)", "a text of more than 1024 bytes is too long here");
    check("notes.join(long)", "a text of more than 64 bytes is too long here");
    check("notes.map(a, notes.map(b, notes.map(c, c)))", "more than 2 loops");
    check(&"(".repeat(40), "nested too deeply");
    check(&format!("'{}'", "x".repeat(5000)), "more than 4096 bytes");
    check("score ==", "the expression ends too soon");
    check("score / 0", "ivision by zero");
}

/// Whatever is written and however much it is given: an answer or an error, in little time, memory and stack.
#[test]
fn what_it_may_cost_is_bounded() {
    let bombs = [
        format!("['aaaaaaaa']{}", ".map(x, x + x)".repeat(40)),
        format!("[1]{}", ".map(x, [x, x])".repeat(40)),
        format!("[1]{}", ".map(x, {'a': x, 'b': x})".repeat(40)),
        format!("[['a']]{}", ".map(x, x + x)".repeat(40)),
        format!("[long]{}", ".map(x, [x, x].join())".repeat(40)),
        format!("long{} == ''", " + long".repeat(90)),
        "many.all(m, !long.matches('(a|b)*a(a|b){9}'))".to_owned(),
        "many.map(m, 'a'.matches('((a{30}){30}){3}' + m + string(size(m))))".to_owned(),
        "many.map(m, many)".to_owned(),
        "many.all(m, many.exists(n, n == 'x') || true)".to_owned(),
        "many.all(m, long.contains('y') || true)".to_owned(),
        "many.map(m, long.split(''))".to_owned(),
        "many.map(m, long.indexOf('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxy'))".to_owned(),
        "many.map(m, many.map(n, n).join(', '))".to_owned(),
    ];
    for bomb in bombs {
        let short: String = bomb.chars().take(60).collect();
        let error = evaluate(&bomb).map(drop).expect_err(&short);
        assert!(error.contains("it takes too long"), "{short}: {error}");
    }
    let check = |text: String, expected: Value| assert_eq!(evaluate(&text), Ok(expected), "{text}");
    check(format!("1{}", "+1".repeat(99)), json!(100));
    check(format!("true{}", " && true".repeat(300)), json!(true));
    check(format!("{}true", "!".repeat(4000)), json!(true));
    check("size(many.filter(m, m in notes))".to_owned(), json!(0));
    check("long.contains('y') ? 1 : size(long)".to_owned(), json!(1 << 20));
    check("many.join(', ').size()".to_owned(), json!(58_888));
    check("many.exists_one(m, m == 'x')".to_owned(), json!(false));
    check("'a,b'.split(',').map(x, x.matches('[a-b]') ? x : '-')".to_owned(), json!(["a", "b"]));
    for deep in [format!("1{}", "+1".repeat(2000)), format!("any{}", ".b".repeat(2000))] {
        let error = evaluate(&deep).unwrap_err();
        assert!(error.contains("inside of each other"), "{error}");
    }
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
