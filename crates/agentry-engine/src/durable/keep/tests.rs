use agentry_core::Timestamp;
use agentry_core::run::Seq;
use agentry_core::thread::Write;
use serde_json::json;

use super::*;

fn entry(seq: u64, delta: Delta) -> Entry {
    let write = Write { ns: String::new(), channel: "seen".to_owned(), delta };
    Entry {
        seq: Seq(seq),
        parent: Seq(seq - 1),
        run: None,
        at: Timestamp::from_micros(0),
        checkpoints: Vec::new(),
        writes: vec![write],
        body: json!({}),
    }
}

/// How many snapshots `entries` appends of `item_bytes` cost, and what they come to beside the payload.
fn costs(entries: u64, item_bytes: usize) -> (u64, f64) {
    let item = json!("x".repeat(item_bytes));
    let (mut keeping, mut snapshots, mut stored) = (Keeping::default(), 0, 0);
    let mut state = Vec::new();
    for seq in 1..=entries {
        let delta = Delta::Append(vec![item.clone()]);
        stored += delta_bytes(&delta);
        state.push(item.clone());
        keeping.add(&entry(seq, delta));
        if keeping.is_due() {
            let values = [("seen".to_owned(), Value::from(state.clone()))].into();
            let states = [(String::new(), values)].into();
            let snapshot = Snapshot { seq: Seq(seq), states, body: json!({}) };
            keeping.made(&snapshot);
            snapshots += 1;
            // Only the newest one is kept.
            stored = stored.max(1);
        }
    }
    let payload = entries * (item_bytes as u64 + 2);
    (snapshots, stored as f64 / payload as f64)
}

#[test]
fn snapshots_become_rarer_as_the_state_grows() {
    let (snapshots, _) = costs(400, 40_000);
    assert!((1..=6).contains(&snapshots), "{snapshots}");
    let (snapshots, _) = costs(6_400, 100);
    assert!((10..=30).contains(&snapshots), "{snapshots}");
}

/// After which entries there is a snapshot, when each sets the same channel to so many bytes.
fn due(entries: u64, bytes: usize) -> Vec<u64> {
    let value = json!("x".repeat(bytes));
    let mut keeping = Keeping::default();
    let due = (1..=entries).filter(|seq| {
        keeping.add(&entry(*seq, Delta::Set(value.clone())));
        let due = keeping.is_due();
        if due {
            let states = [(String::new(), [("seen".to_owned(), value.clone())].into())].into();
            keeping.made(&Snapshot { seq: Seq(*seq), states, body: json!({}) });
        }
        due
    });
    due.collect()
}

#[test]
fn a_state_that_is_set_anew_is_kept_whenever_a_line_is_long() {
    assert_eq!(due(200, 5), [64, 128, 192]);
}

#[test]
fn of_what_is_large_and_set_anew_little_is_loaded() {
    // At once, and then whenever five more have come: a fifth more is stored.
    assert_eq!(due(12, 9 << 20), [1, 6, 11]);
    assert_eq!(due(30, 1 << 20), [8, 16, 24]);
}
