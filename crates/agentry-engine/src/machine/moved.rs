//! A thread that was brought to another version of its graph: what was before is only its past.

use agentry_core::Timestamp;
use agentry_core::thread::{Checkpoint, Entry, Line, Snapshot, Source};
use serde::Deserialize as _;
use serde_json::{Map, json};

use super::op::{Body, MovedOp, Op};
use super::scope::ROOT_IX;
use super::{LoadError, Machine, Record};
use crate::program::Program;

/// Of a checkpoint, the member of its metadata that says where its thread was moved from and to.
pub(crate) const MIGRATION: &str = "migration";
/// And the one by which such checkpoints are found.
pub(crate) const MIGRATED: &str = "migrated";

impl Machine {
    /// The thread as `snapshot` has it, as one of `program`. Its next commit says so.
    pub(crate) fn bring(
        program: &Program,
        old: &Self,
        (from, snapshot): (&str, Snapshot),
        now: Timestamp,
    ) -> Result<Self, LoadError> {
        let mut machine =
            Self::from_snapshot(program.clone(), old.home, Record::Commits, &snapshot)?;
        (machine.at, machine.back_to, machine.now) = (old.at, old.back_to, now);
        machine.settle_loaded();
        let to = program.version().to_owned();
        let metadata = json!({ MIGRATED: true, MIGRATION: { "from": from, "to": to } });
        let moved =
            MovedOp { from: from.to_owned(), to, image: snapshot.body, states: snapshot.states };
        machine.note(|| Op::Moved(Box::new(moved)));
        let id = machine.salt.checkpoint(now, machine.home.head.0 + 1, machine.trace.marks);
        machine.trace.marks += 1;
        let metadata = metadata.as_object().cloned().unwrap_or_default();
        let checkpoint = machine.moved_to((id, metadata));
        machine.tell_scope("thread.moved", ROOT_IX, json!({ "from": from }));
        machine.trace.checkpoints.push(checkpoint);
        Ok(machine)
    }

    /// Tasks that are under way keep the checkpoint that they began at: what they have done outside is known by it.
    fn moved_to(
        &mut self,
        (id, metadata): (agentry_core::CheckpointId, Map<String, serde_json::Value>),
    ) -> Checkpoint {
        let root = self.scopes.root_mut();
        let rests = root.open == 0;
        let (parent, step) = (root.checkpoint, if rests { root.step } else { root.step - 1 });
        if rests {
            root.marked((id, Source::Update), step);
        }
        Checkpoint { id, ns: String::new(), parent, step, source: Source::Update, metadata }
    }

    /// The same when the thread is loaded.
    pub(super) fn make_moved(
        &mut self,
        moved: MovedOp,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<(), LoadError> {
        let snapshot = Snapshot { seq: self.at, states: moved.states, body: moved.image };
        let program = self.program.clone();
        let fresh = Self::from_snapshot(program, self.home, Record::Nothing, &snapshot)?;
        *self = Self { now: self.now, ..fresh };
        if let Some(checkpoint) = checkpoint {
            self.moved_to((checkpoint.id, Map::new()));
        }
        Ok(())
    }
}

/// Where the thread came from and what it came to, if the entry moved it.
pub(crate) fn moved(entry: &Entry) -> Option<(String, String)> {
    let ops = entry.body.get("ops")?.as_array()?;
    ops.first()?.get("moved")?;
    let Body::V1 { ops, .. } = Body::deserialize(&entry.body).ok()?;
    ops.into_iter().find_map(|op| match op {
        Op::Moved(moved) => Some((moved.from, moved.to)),
        _ => None,
    })
}

/// What a machine is loaded from: what came before the thread was last moved is not its graph's.
pub(crate) fn since_moved(line: &Line) -> (Option<&Snapshot>, Vec<&Entry>) {
    let last = line.entries.iter().rposition(|entry| moved(entry).is_some());
    match last {
        Some(first) => (None, line.entries.iter().skip(first).collect()),
        None => (line.snapshot.as_ref(), line.entries.iter().collect()),
    }
}
