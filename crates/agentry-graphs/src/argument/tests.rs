use serde_json::json;

use super::*;

fn value(text: &str) -> Result<Value, String> {
    let state = json!({ "fetch": { "rows": [{ "title": "Rain" }], "count": 3 }, "name": "Ada" });
    let argument = Argument::text(text).map_err(|bad| bad.message)?;
    argument.value(&|name: &str| state.get(name).cloned())
}

#[test]
fn a_reference_takes_over_a_value() {
    let check = |text: &str, expected: Value| {
        assert_eq!(value(text), Ok(expected), "{text}");
    };
    check("${fetch.count}", json!(3));
    check("${fetch.rows[0]}", json!({ "title": "Rain" }));
    check("${fetch.rows[0].title} for ${name}", json!("Rain for Ada"));
    check("{{ name | upper }} ${fetch.count}", json!("ADA 3"));
    check("costs $5 and $${name}", json!("costs $5 and ${name}"));
    check("plain {text}", json!("plain {text}"));
}

#[test]
fn a_reference_that_cannot_work_says_so() {
    let check = |text: &str, expected: &str| {
        assert_eq!(value(text), Err(expected.to_owned()), "{text}");
    };
    check("${fetch.rows[7].title}", "`fetch.rows[7].title` has no value here");
    check("${nobody}", "`nobody` has no value here");
    check("a ${name", "`${` has no end; write `$${` for the two letters themselves");
    check("${a-b}", "`${a-b}` names no value: write `${name}` or `${name.field[0]}`");
}

#[test]
fn a_type_is_known_beforehand() {
    let known = [("name".to_owned(), Type::Text)].into();
    let object = Type::Object(Fields { known, open: false });
    let scope = |name: &str| (name == "user").then(|| object.clone());
    let check = |text: &str, of: Type, expected: &[&str]| {
        let mut bad = Vec::new();
        let argument = Argument::text(text).unwrap();
        assert_eq!(
            (argument.infer(&scope, &mut bad), bad.as_slice()),
            (of, &expected.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()[..])
        );
    };
    check("${user.name}", Type::Text, &[]);
    check("${user.age}", Type::Any, &["`user.age`: there is no `age`"]);
    check("${user.name[0]}", Type::Any, &["`user.name[0]` leads into a string"]);
    check("Dear ${user.name}", Type::Text, &[]);
}
