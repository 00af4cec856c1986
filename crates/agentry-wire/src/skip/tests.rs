use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Whether the whole text is one value, according to us.
fn is_json(text: &str) -> bool {
    let bytes = text.as_bytes();
    value(bytes, space(bytes, 0), &mut Noted::default())
        .is_ok_and(|end| space(bytes, end) == bytes.len())
}

#[track_caller]
fn check(text: &str) {
    let parsed = serde_json::from_str::<Value>(text);
    assert_eq!(is_json(text), parsed.is_ok(), "{text:?}: {parsed:?}");
}

#[test]
fn it_agrees_with_a_parser_on_what_is_json() {
    for text in [
        "",
        " ",
        "{}",
        "[]",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\" : [ true , false , null ] }",
        "{a:1}",
        "{\"a\"}",
        "tru",
        "truex",
        "nul",
        "-",
        "-0",
        "01",
        "1.",
        "1.5",
        ".5",
        "1e",
        "1e+",
        "1e-7",
        "1E9",
        "\"",
        "\"a",
        "\"\\\"\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u1234\"",
        "\"a\nb\"",
        "\"a\u{1}\"",
        "\"a\u{7f}ü\"",
        "[[[[]]]]",
        "[",
        "{",
        "}",
        "[}",
        "{\"a\":}",
        "{\"a\":1 \"b\":2}",
        "1 2",
        "\"\\",
        "{\"a\":1,,\"b\":2}",
        "[,]",
        "{,}",
    ] {
        check(text);
    }
    for depth in [126, 127, 128, 129, 500] {
        check(&("[".repeat(depth) + &"]".repeat(depth)));
        check(&("{\"a\":".repeat(depth) + "1" + &"}".repeat(depth)));
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn it_agrees_on_damaged_json(value in values(), pretty: bool, at: prop::sample::Index, with: char, cut: bool) {
        let mut text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert!(is_json(&text));
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let at = places[at.index(places.len())];
        if cut {
            text.truncate(at);
        } else {
            text.remove(at);
            text.insert(at, with);
        }
        let parsed = serde_json::from_str::<Value>(&text);
        // A number that no float can hold is well written all the same.
        let too_large = parsed.as_ref().is_err_and(|error| error.to_string().starts_with("number out of range"));
        prop_assert!(is_json(&text) == parsed.is_ok() || too_large, "{}", text);
    }
}

#[test]
fn the_insides_of_long_strings_are_noted() {
    let (short, long) = ("x".repeat(SHORT_MAX - 2), "y".repeat(SHORT_MAX - 1));
    let text = format!(r#"{{"{short}":["{short}",{{"a":"{long}"}}],"b":"{long}\""}}"#);
    let mut noted = Noted::default();
    assert_eq!(value(text.as_bytes(), 0, &mut noted), Ok(text.len()));
    let noted: Vec<&str> = noted.long.into_iter().map(|(start, end)| &text[start..end]).collect();
    assert_eq!(noted, [long.as_str(), &format!(r#"{long}\""#)]);
}

#[test]
fn what_may_not_be_utf_8_is_noted() {
    for length in [0, 1, 63, 64, 65, 200] {
        for (last, expected) in
            [("~", false), ("\u{7f}", false), ("\u{80}", true), ("\u{ff}", true)]
        {
            let text = format!(r#"["{}{last}"]"#, "x".repeat(length));
            let mut noted = Noted::default();
            assert_eq!(value(text.as_bytes(), 0, &mut noted), Ok(text.len()), "{text}");
            assert_eq!(noted.is_beyond_ascii, expected, "{text}");
        }
    }
}
