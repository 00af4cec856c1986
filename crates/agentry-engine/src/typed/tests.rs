use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate as agentry_engine;

#[derive(Debug, Default, PartialEq, agentry_macros::State)]
#[state(crate = "agentry_engine")]
struct Review {
    topic: String,
    #[state(append)]
    notes: Vec<String>,
    #[state(sum)]
    cents: i64,
    #[state(max)]
    score: u64,
    #[state(merge, channel = "known facts")]
    facts: BTreeMap<String, bool>,
    #[state(messages)]
    messages: Vec<Value>,
    #[state(reducer = "shortest")]
    title: Option<String>,
}

fn puts(update: ReviewUpdate) -> Vec<(&'static str, Put)> {
    let Writes { puts, problem } = update.into();
    assert_eq!(problem, None);
    puts
}

#[test]
fn a_field_is_a_channel_with_its_reducer() {
    let channels = Review::channels();
    assert_eq!(
        channels,
        [
            ("topic", Reducer::Last),
            ("notes", Reducer::Append),
            ("cents", Reducer::Sum),
            ("score", Reducer::Max),
            ("known facts", Reducer::Merge),
            ("messages", Reducer::Messages),
            ("title", Reducer::Custom("shortest".to_owned())),
        ]
    );
}

#[test]
fn an_update_says_only_what_changes() {
    let update = Review::update()
        .topic("ships")
        .notes(["old", "wet"])
        .cents(3)
        .facts(BTreeMap::from([("afloat".to_owned(), true)]));
    let reduce = |value: Value| Put::Reduce(value);
    assert_eq!(
        puts(update),
        [
            ("topic", reduce(json!("ships"))),
            ("notes", reduce(json!(["old", "wet"]))),
            ("cents", reduce(json!(3))),
            ("known facts", reduce(json!({ "afloat": true }))),
        ]
    );
    assert_eq!(puts(Review::update()), []);
}

#[test]
fn what_was_written_is_read_again() {
    let state = Review {
        topic: "ships".to_owned(),
        notes: vec!["old".to_owned()],
        score: 7,
        ..Review::default()
    };
    let values = Review {
        topic: state.topic.clone(),
        notes: state.notes.clone(),
        score: 7,
        ..Review::default()
    }
    .write()
    .unwrap();
    assert_eq!(Review::read(&values), Ok(state));
    assert_eq!(Review::read(&Values::new()), Ok(Review::default()));
}

#[test]
fn a_value_of_another_type_is_named() {
    let values = Values::from([("cents".to_owned(), json!("three"))]);
    let problem = Review::read(&values).unwrap_err().to_string();
    assert!(problem.starts_with("the channel `cents` does not fit its field: "), "{problem}");
}

#[test]
fn what_cannot_be_written_is_the_first_problem() {
    let update = Writes::default().set("a", &f64::NAN).set("b", &BTreeMap::from([((1, 2), 3)]));
    let problem = update.problem.map(|problem| problem.channel);
    assert_eq!(
        problem,
        Some("b"),
        "JSON has null for what is no number, but no keys that are pairs"
    );
}
