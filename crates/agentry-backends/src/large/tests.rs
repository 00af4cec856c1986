use std::collections::HashMap;

use serde_json::json;

use super::*;

/// Cuts and fills again; answers how many pieces there were.
fn round(writes: &[Write]) -> usize {
    let text = Text::writes(writes).unwrap();
    let pieces: HashMap<Vec<u8>, String> =
        text.holes.iter().map(|hole| (hole.digest.to_vec(), hole.value.clone())).collect();
    let holes = text.holes().unwrap_or_default();
    let whole = fill(&text.text, &holes, |digest| pieces.get(digest).map(String::as_str));
    let read: Vec<Write> = serde_json::from_str(&whole.unwrap()).unwrap();
    assert_eq!(read, writes);
    text.holes.len()
}

fn write(delta: Delta) -> Write {
    Write { ns: "a".to_owned(), channel: "\"ch\"".to_owned(), delta }
}

#[test]
fn a_text_is_the_same_after_its_large_values_were_cut_out() {
    let large = || Value::from("ü\"\n".repeat(8_000));
    let message = json!({ "role": "user", "content": large() });
    let many: Value = (0..9_000).collect();
    let check = |delta, expected| assert_eq!(round(&[write(delta)]), expected);

    check(Delta::Set("small".into()), 0);
    check(Delta::Set(large()), 1);
    check(Delta::Set(many.clone()), 0);
    check(Delta::Append(vec![many, 1.into(), message.clone()]), 2);
    check(Delta::Append(vec![message.clone(), message.clone()]), 2);
    check(Delta::Merge(serde_json::Map::from_iter([("x".to_owned(), message)])), 1);
    check(Delta::Set(json!({ "list": [[large()], {}], "more": null })), 1);
}

#[test]
fn a_snapshot_names_what_entries_have_brought() {
    let items: Vec<Value> =
        (0..3).map(|it| json!({ "id": it, "text": it.to_string().repeat(20_000) })).collect();
    let entries: Vec<_> = items
        .iter()
        .flat_map(|item| Text::writes(&[write(Delta::Append(vec![item.clone()]))]).unwrap().holes)
        .map(|hole| hole.digest)
        .collect();
    let values = Values::from([("messages".to_owned(), Value::from(items))]);
    let snapshot = Text::states(&States::from([(String::new(), values)])).unwrap();
    let named: Vec<_> = snapshot.holes.iter().map(|hole| hole.digest).collect();
    assert_eq!(named, entries);
    assert!(snapshot.text.len() < 200, "{}", snapshot.text);
}

#[test]
fn holes_outside_of_their_text_are_damage() {
    let mut holes = 9_u32.to_le_bytes().to_vec();
    holes.extend([0; 32]);
    assert_eq!(fill("[1]", &holes, |_| Some("")), Err(Torn::Outside));
    holes.splice(..4, 1_u32.to_le_bytes());
    assert_eq!(fill("[1]", &holes, |_| None), Err(Torn::Missing));
}
