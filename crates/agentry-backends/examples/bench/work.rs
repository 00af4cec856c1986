//! What both stores are measured with: runs, claims and steps as an engine makes them.

use std::time::Duration;

use agentry_core::run::{Delta, Event, Fence, Seq};
use agentry_core::thread::{
    Absent, Checkpoint, Commit, Entry, Multitask, NewRun, Next, Pinned, Priority, Source, Write,
};
use agentry_core::threads::Claim;
use agentry_core::{CheckpointId, RunId, ThreadId, Timestamp};
use serde_json::{Map, json};

pub(crate) fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

fn pinned() -> Pinned {
    Pinned { graph: "g".to_owned(), version: "1".to_owned() }
}

pub(crate) fn run(key: &str) -> NewRun {
    let id = RunId::derived(now(), key);
    NewRun {
        id,
        thread: id.own_thread(),
        tenant: "main".to_owned(),
        key: None,
        program: pinned(),
        input: json!({ "question": "what is it?" }),
        answers: Vec::new(),
        multitask: Multitask::default(),
        priority: Priority::default(),
        absent: Absent::Create,
        metadata: Map::new(),
        created: now(),
        not_before: None,
        deadline: None,
    }
}

pub(crate) fn claim_for(worker: &str, threads_max: usize) -> Claim {
    Claim {
        worker: worker.to_owned(),
        now: now(),
        lease_until: now().plus(Duration::from_secs(600)),
        threads_max,
        programs: vec![pinned()],
    }
}

/// What an engine does in a step: a write, a checkpoint, an event, and where it stands.
pub(crate) fn step(thread: ThreadId, fence: Fence, seq: u64, text: &str) -> Commit {
    let run = RunId::from_bytes(*thread.as_bytes());
    let checkpoint = |seq: u64| {
        let mut bytes = *thread.as_bytes();
        for (to, from) in bytes.iter_mut().zip(seq.to_be_bytes()) {
            *to = from;
        }
        CheckpointId::from_bytes(bytes)
    };
    Commit {
        thread,
        fence,
        entry: Entry {
            seq: Seq(seq),
            parent: Seq(seq - 1),
            run: Some(run),
            at: now(),
            checkpoints: vec![Checkpoint {
                id: checkpoint(seq),
                ns: String::new(),
                parent: Some(checkpoint(seq - 1)),
                step: seq as i64,
                source: Source::Loop,
                metadata: Map::new(),
            }],
            writes: vec![Write {
                ns: String::new(),
                channel: "messages".to_owned(),
                delta: Delta::Append(vec![json!({ "role": "user", "content": text })]),
            }],
            body: json!({ "version": 1, "step": seq, "tasks": { "a": "done" } }),
        },
        next: Next::Running,
        runs: Vec::new(),
        opened: Vec::new(),
        closed: Vec::new(),
        postponed: Vec::new(),
        consumed: Vec::new(),
        forgotten: Vec::new(),
        events: vec![Event {
            at: now(),
            kind: "node.finished".to_owned(),
            detail: json!({ "node": "a" }),
        }],
        snapshot: None,
        audit: Vec::new(),
        program: None,
    }
}
