//! When a thread's whole state is stored, so that loading it stays short and storing it stays cheap.

use agentry_core::run::Delta;
use agentry_core::thread::{Entry, Line, Snapshot};
use serde_json::Value;

/// Loading never folds many more entries than this.
const ENTRIES_MAX: u64 = 64;
/// A snapshot is only made when at least this part of it is new: what snapshots cost stays within this factor of what the
/// deltas cost.
const NEW_PART: u64 = 8;
/// Nor does loading read much more than this that was replaced since, or so many times what the state was.
const REPLACED_MAX: u64 = 8 << 20;
const REPLACED_TIMES_MAX: u64 = 4;

/// What has been stored since the last snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Keeping {
    entries: u64,
    delta_bytes: u64,
    /// Of these, what took the place of something.
    replacing_bytes: u64,
    /// What the state came to at the last snapshot.
    state_bytes: u64,
}

impl Keeping {
    pub(super) fn of(line: &Line) -> Self {
        let state_bytes = line.snapshot.as_ref().map_or(0, size_of);
        let mut keeping = Self { state_bytes, ..Self::default() };
        for entry in &line.entries {
            keeping.add(entry);
        }
        keeping
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        self.entries += 1;
        for write in &entry.writes {
            let bytes = delta_bytes(&write.delta);
            self.delta_bytes += bytes;
            self.replacing_bytes += if matches!(write.delta, Delta::Set(_)) { bytes } else { 0 };
        }
        self.delta_bytes += bytes(&entry.body);
    }

    /// Whether the entry that was added last should carry a snapshot.
    pub(super) fn is_due(&self) -> bool {
        let state = self.state_bytes + self.delta_bytes;
        let is_long = self.entries >= ENTRIES_MAX && self.delta_bytes >= state / NEW_PART;
        let replaced_max = REPLACED_MAX.max(self.state_bytes.saturating_mul(REPLACED_TIMES_MAX));
        is_long || self.replacing_bytes >= replaced_max
    }

    pub(super) fn made(&mut self, snapshot: &Snapshot) {
        *self = Self { state_bytes: size_of(snapshot), ..Self::default() };
    }
}

fn size_of(snapshot: &Snapshot) -> u64 {
    let values = snapshot.states.values().flatten();
    let values: u64 = values.map(|(name, value)| name.len() as u64 + bytes(value)).sum();
    values + bytes(&snapshot.body)
}

fn delta_bytes(delta: &Delta) -> u64 {
    match delta {
        Delta::Set(value) => bytes(value),
        Delta::Append(items) => items.iter().map(bytes).sum(),
        Delta::Merge(members) => {
            members.iter().map(|(key, value)| key.len() as u64 + bytes(value)).sum()
        }
    }
}

/// About as many as the value has when it is written down.
fn bytes(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() as u64 + 2,
        Value::Array(items) => 2 + items.iter().map(|item| 1 + bytes(item)).sum::<u64>(),
        Value::Object(members) => {
            2 + members.iter().map(|(key, value)| key.len() as u64 + 4 + bytes(value)).sum::<u64>()
        }
    }
}

#[cfg(test)]
mod tests;
