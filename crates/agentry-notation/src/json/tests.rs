use serde_json::json;

use super::*;

#[test]
fn json_reads_like_toml() {
    let text = r#"{ "a": 1, "b": [1.5, true, "x\n\"y\""], "c": { "d": null, "e": -3e2 } }"#;
    let table = parse(text).unwrap();
    let expected = json!({ "a": 1, "b": [1.5, true, "x\n\"y\""], "c": { "e": -300.0 } });
    assert_eq!(Value::Table(table.clone()).json(), Some(expected));
    let Place::File(span) = &table.entries["b"].node.place else { panic!("no place") };
    assert_eq!(&text[span.clone()], r#"[1.5, true, "x\n\"y\""]"#);
}

#[test]
fn what_is_wrong_is_pointed_at() {
    let check = |text: &str, at: &str, message: &str| {
        let problem = parse(text).unwrap_err();
        let Place::File(span) = problem.place else { panic!("no place") };
        assert_eq!((text.get(span).unwrap(), problem.message.as_str()), (at, message), "{text}");
    };
    check(r#"{ "a": nope }"#, "nope", "this is no JSON value");
    check(r#"{ "a": 1 "b": 2 }"#, "\"", "expected `,` between two entries");
    check(r#"{ "a": 1, "a": 2 }"#, "\"a\"", "`a` is there twice");
    check(r#"{ "a": [1 2] }"#, "2", "expected `,` between two items");
    check(r#"{ a: 1 }"#, "a", "expected a key in double quotes");
    check(r#"{ "a": "x"#, "\"", "this string has no end");
    check(r#"{ "a": "\q" }"#, r#""\q""#, "this string has an escape that JSON lacks");
    check("[1]", "[", "the file must hold one object");
    check("{} x", "x", "nothing may follow the object");
    check("", "", "the file ends where a value is expected");
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(500), "]".repeat(500));
    check(&deep, "[", "this is nested too deeply");
}
