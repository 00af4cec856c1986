use serde_json::Value;

use super::*;

#[test]
fn every_cursor_that_was_ever_stored_is_readable() {
    let stored: Value =
        serde_json::from_str(include_str!("../../tests/checkpoints/1.json")).unwrap();
    let cursor = Cursor::from_value(stored.clone()).unwrap();
    assert_eq!(cursor.tasks.len(), 4);
    assert_eq!(cursor.to_value().unwrap(), stored);
}

#[test]
fn a_cursor_from_the_future_is_refused() {
    let stored = serde_json::json!({ "version": "2", "superstep": 1, "tasks": {} });
    assert!(Cursor::from_value(stored).is_err());
}
