use agentry_engine::version::{Moving, Policy};
use serde_json::{Value, json};

use crate::{Catalogue, File, Graphs};

fn read(text: &str) -> Result<Graphs, String> {
    let file = File { name: "g.toml".to_owned(), text: format!("{GRAPH}{text}") };
    let read = Graphs::read(&[file], &Catalogue::default());
    read.map_err(|wrong| wrong.iter().map(ToString::to_string).collect())
}

const GRAPH: &str = r#"
name = "g"
on_change = "pin"
[state]
text = "last"
words = "last"
language = "last"
[nodes.one]
kind = "set"
values = { words = "1" }
"#;

/// What the migrations of `text` make of a state.
fn check(text: &str, state: Value, expected: Result<Value, &str>) {
    let graphs = read(text).unwrap();
    let evolution = &graphs.get("g").unwrap().evolution;
    assert_eq!(evolution.on_change, Some(Policy::Pin));
    let Value::Object(state) = state else { panic!("{state}") };
    let mut thread = Moving::new(state.into_iter().collect());
    let run = evolution.migrations.iter().try_for_each(|migration| migration.run(&mut thread));
    match (run, expected) {
        (Ok(()), Ok(expected)) => assert_eq!(json!(thread.values), expected, "{text}"),
        (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
        (found, expected) => panic!("{found:?} is not {expected:?}"),
    }
}

#[test]
fn each_migration_changes_what_the_one_before_has_left() {
    let text = r#"
[[migrations]]
rename = { draft = "text", text = "draft" }
[[migrations]]
name = "count"
default = { language = "en" }
set = { words = "size(text.split(' '))", both = "text + ' ' + language" }
drop = ["draft", "never_there"]
"#;
    let state = json!({ "draft": "once upon a time", "text": "old" });
    let expected = json!({
        "text": "once upon a time", "words": 4, "language": "en", "both": "once upon a time en",
    });
    check(text, state, Ok(expected));
}

#[test]
fn what_cannot_be_computed_is_said() {
    let text = "[[migrations]]\nset = { words = \"size(draft)\" }";
    check(text, json!({}), Err("`size(draft)`"));
}

#[test]
fn what_is_wrong_is_found_before_anything_runs() {
    let wrong = |text: &str, expected: &str| {
        let found = read(text).unwrap_err();
        assert!(found.contains(expected), "{found}");
    };
    wrong("[[migrations]]\nname = \"nothing\"", "this migration changes nothing");
    wrong("[[migrations]]\nset = { words = \"size(\" }", "too soon");
    wrong("[[migrations]]\nrenames = { a = \"b\" }", "did you mean `rename`?");
    wrong("[[migrations]]\nrename = { a = 1 }", "string");
}
