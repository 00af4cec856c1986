use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{Action, Guards, Settings};

fn guards() -> &'static Guards {
    static GUARDS: LazyLock<Guards> = LazyLock::new(|| {
        let settings =
            Settings { pii: Action::Redact, secrets: Action::Redact, ..Settings::default() };
        Guards::new(&settings).unwrap()
    });
    &GUARDS
}

fn guarded(guards: &Guards, pieces: &[&str]) -> String {
    let mut guard = guards.json("arguments");
    let mut out = String::new();
    for piece in pieces {
        guard.push(piece, &mut out).unwrap();
    }
    guard.finish(&mut out).unwrap();
    out
}

/// From every cut the same comes out.
#[track_caller]
fn check(text: &str, expected: &str) {
    let guards = guards();
    for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
        let (left, right) = text.split_at(at);
        assert_eq!(guarded(guards, &[left, right]), expected, "{left:?} | {right:?}");
    }
}

#[test]
fn strings_and_numbers_are_replaced_and_it_stays_json() {
    check(r#"{"to":"mira@brassfinch.com","n":3}"#, r#"{"to":"[EMAIL]","n":3}"#);
    check(
        r#"{"pan": 4111111111111111, "x": [1.5e3, true, null]}"#,
        r#"{"pan": "[CREDIT_CARD]", "x": [1.5e3, true, null]}"#,
    );
    check(r#"{"to":"mira\u0040brassfinch.com \"hi\"\n"}"#, r#"{"to":"[EMAIL] \"hi\"\n"}"#);
    check(r#"["a \ud83d\ude00 b", "\ud83d lone", "\q"]"#, r#"["a 😀 b", "\ud83d lone", "\q"]"#);
    check(r#"{"a":{"b":["10.0.0.1",{"c":"x"}]}}"#, r#"{"a":{"b":["[IP]",{"c":"x"}]}}"#);
}

#[test]
fn nothing_hides_behind_half_of_a_pair() {
    check(r#"["\ud83d\u006dira@brassfinch.com"]"#, r#"["\ud83d[EMAIL]"]"#);
    check(r#"["\ud83d\ud83d\u0034111111111111111"]"#, r#"["\ud83d\ud83d[CREDIT_CARD]"]"#);
    check(r#"{"a":"\ud83d","to":"mira@brassfinch.com"}"#, r#"{"a":"\ud83d","to":"[EMAIL]"}"#);
    check(r#"["\ud83d\" mira@brassfinch.com"]"#, r#"["\ud83d\" [EMAIL]"]"#);
    check(r#"["\ud83d\u00zz", "10.0.0.1"]"#, r#"["\ud83d\u00zz", "[IP]"]"#);
}

#[test]
fn the_name_of_a_field_explains_its_value_and_is_left_alone() {
    check(
        r#"{"phoneNumber":"5550147","order":"5550147"}"#,
        r#"{"phoneNumber":"[PHONE]","order":"5550147"}"#,
    );
    check(r#"{"phone":5550147}"#, r#"{"phone":"[PHONE]"}"#);
    check(r#"{"mira@brassfinch.com":"x"}"#, r#"{"mira@brassfinch.com":"x"}"#);
    check(r#"{"password":"Tr4verse-Oak9"}"#, r#"{"password":"[SECRET]"}"#);
}

#[test]
fn what_is_no_json_is_text() {
    check("write to mira@brassfinch.com now", "write to [EMAIL] now");
    check(r#"{"to":"mira@brassfinch.com"#, r#"{"to":"[EMAIL]"#);
    check("", "");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!("call 212-555-0147 or a@b.io")),
        Just(json!(4_111_111_111_111_111_u64)),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((any::<String>(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_stays_json_of_the_same_shape(value in any_json(), size in 1..9_usize) {
        // A text that begins otherwise is none of ours: arguments are an object.
        let text = json!({ "value": value }).to_string();
        let pieces: Vec<String> =
            text.chars().collect::<Vec<_>>().chunks(size).map(|piece| piece.iter().collect()).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let out = guarded(guards(), &pieces);
        prop_assert_eq!(&out, &guarded(guards(), &[&text]));
        let parsed: Value = serde_json::from_str(&out).unwrap();
        prop_assert_eq!(shape(&parsed), shape(&json!({ "value": value })));
    }
}

/// Brackets and names.
fn shape(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(shape).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect())
        }
        _ => Value::Null,
    }
}
