//! How much of what threads hold goes into one answer: states are as large as their threads make them.

use agentry_core::run::Values;
use serde_json::Value;

use super::wish::invalid;
use crate::Refusal;

/// What the states of one answer may come to, but for a single one.
const STATES_BYTES_MAX: usize = 64 << 20;

pub(super) struct Room {
    left: usize,
    taken: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { left: STATES_BYTES_MAX, taken: 0 }
    }
}

impl Room {
    /// For one more state; refuses when it is one too many.
    pub(super) fn take(&mut self, values: &Values) -> Result<(), Refusal> {
        let members = values.iter().map(|(name, value)| name.len() + weight(value));
        self.left = self.left.saturating_sub(members.sum());
        self.taken += 1;
        if self.left > 0 || self.taken == 1 {
            return Ok(());
        }
        let most = STATES_BYTES_MAX >> 20;
        let message = format!("these states come to more than {most} MiB: ask for fewer at once");
        Err(invalid("limit", &message))
    }
}

/// About what it is as text.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(weight).sum::<usize>(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| name.len() + 4 + weight(value));
            2 + members.sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn states_are_told_as_long_as_there_is_room() {
        let state =
            |bytes: usize| Values::from([("a".to_owned(), json!({ "b": ["x".repeat(bytes)] }))]);
        let mut room = Room::default();
        assert!(room.take(&state(STATES_BYTES_MAX)).is_ok(), "one is told whatever it is");
        assert_eq!(room.take(&state(1)).unwrap_err().told().param, Some("limit"));
        let mut room = Room::default();
        let small = state(STATES_BYTES_MAX / 100);
        assert_eq!((0..200).take_while(|_| room.take(&small).is_ok()).count(), 99);
    }
}
