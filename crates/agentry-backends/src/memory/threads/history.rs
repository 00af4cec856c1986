//! What a thread remembers: lines, checkpoints, and what is taken away from them.

use std::collections::{BTreeMap, BTreeSet};

use agentry_core::run::{Effect, Seq};
use agentry_core::thread::{
    Checkpoint, Entry, EventId, Interrupt, Line, NewThread, RunStatus, Snapshot, States, Status,
    Told,
};
use agentry_core::threads::{At, CheckpointQuery, Found, From, Keep};
use agentry_core::{CheckpointId, RunId};

use super::held::Held;

impl Held {
    /// The newest entry that is kept.
    pub(super) fn head(&self) -> Seq {
        self.entries.keys().next_back().copied().unwrap_or_default()
    }

    /// `None` when there is no such entry.
    pub(super) fn find(&self, at: At) -> Option<Seq> {
        match at {
            At::Head => Some(self.head()),
            At::Seq(seq) => (seq == Seq(0) || self.entries.contains_key(&seq)).then_some(seq),
            At::Checkpoint(id) => self.entry_of(id),
        }
    }

    fn entry_of(&self, id: CheckpointId) -> Option<Seq> {
        let has = |entry: &&Entry| entry.checkpoints.iter().any(|checkpoint| checkpoint.id == id);
        self.entries.values().find(has).map(|entry| entry.seq)
    }

    pub(super) fn line(&self, at: Seq, from: From) -> Line {
        let mut line = Line::default();
        let mut here = at;
        while let Some(entry) = self.entries.get(&here) {
            let cut = entry.parent != Seq(0) && !self.entries.contains_key(&entry.parent);
            if cut || from == From::Snapshot {
                line.snapshot = self.snapshots.get(&here).cloned();
                if line.snapshot.is_some() {
                    break;
                }
            }
            line.entries.push(entry.clone());
            here = entry.parent;
        }
        line.entries.reverse();
        line
    }

    pub(super) fn progress(&self, at: Seq) -> Vec<Entry> {
        let mut builds = BTreeSet::from([at]);
        let mut found = Vec::new();
        for entry in self.entries.values() {
            if entry.checkpoints.is_empty() && builds.contains(&entry.parent) {
                builds.insert(entry.seq);
                found.push(entry.clone());
            }
        }
        found
    }

    pub(super) fn checkpoints(&self, query: &CheckpointQuery) -> Vec<Found> {
        let CheckpointQuery { ns, source, metadata, before, max } = query;
        let before = match before.map(|id| self.entry_of(id)) {
            None => None,
            Some(Some(seq)) => Some(seq),
            Some(None) => return Vec::new(),
        };
        let matches = |checkpoint: &&Checkpoint| {
            let described =
                metadata.iter().all(|(key, value)| checkpoint.metadata.get(key) == Some(value));
            let ns = ns.as_ref().is_none_or(|ns| *ns == checkpoint.ns);
            described && ns && source.is_none_or(|source| source == checkpoint.source)
        };
        let entries = self.entries.values().rev();
        let entries = entries.filter(|entry| before.is_none_or(|before| entry.seq < before));
        let found = entries.flat_map(|entry| {
            let checkpoints = entry.checkpoints.iter().rev().filter(matches);
            checkpoints.map(|checkpoint| Found {
                seq: entry.seq,
                run: entry.run,
                at: entry.at,
                checkpoint: checkpoint.clone(),
            })
        });
        found.take(*max).collect()
    }

    pub(super) fn told(&self, run: Option<RunId>, after: EventId, max: usize) -> Vec<Told> {
        let events = self.events.iter().filter(|(id, _)| **id > after);
        let events = events.filter(|(_, (of, _))| run.is_none() || *of == run);
        let told =
            events.map(|(id, (run, event))| Told { id: *id, run: *run, event: event.clone() });
        told.take(max).collect()
    }

    pub(super) fn prune(&mut self, keep: Keep) -> u64 {
        let resting = match self.thread.status {
            Status::Idle | Status::Interrupted | Status::Failed => true,
            Status::Ready | Status::Waiting => false,
        };
        let to_come = self.runs.iter().any(|run| run.status == RunStatus::Pending);
        if !resting || self.worker.is_some() || to_come {
            return 0;
        }
        match keep {
            Keep::Latest => self.keep_latest(),
            Keep::Nothing => self.keep_nothing(),
        }
    }

    fn keep_nothing(&mut self) -> u64 {
        let removed = self.entries.len();
        self.entries.clear();
        self.snapshots.clear();
        self.events.clear();
        self.interrupts.clear();
        self.journal.clear();
        self.inbox.clear();
        self.thread.status = Status::Idle;
        self.thread.wake_at = self.next_turn();
        removed as u64
    }

    fn keep_latest(&mut self) -> u64 {
        let mut newest: BTreeMap<String, (Seq, CheckpointId)> = BTreeMap::new();
        for entry in self.entries.values() {
            for checkpoint in &entry.checkpoints {
                newest.insert(checkpoint.ns.clone(), (entry.seq, checkpoint.id));
            }
        }
        let mut keep = BTreeSet::from([self.head()]);
        for (seq, _) in newest.values() {
            keep.insert(*seq);
            keep.extend(self.progress(*seq).iter().map(|entry| entry.seq));
        }
        let cut: Vec<Seq> = self
            .entries
            .values()
            .filter(|entry| keep.contains(&entry.seq) && entry.parent != Seq(0))
            .filter(|entry| {
                !keep.contains(&entry.parent) && !self.snapshots.contains_key(&entry.seq)
            })
            .map(|entry| entry.seq)
            .collect();
        let made: Vec<_> = cut.into_iter().map(|seq| (seq, self.folded(seq))).collect();
        self.snapshots.extend(made);
        let before = self.entries.len();
        self.entries.retain(|seq, _| keep.contains(seq));
        self.snapshots.retain(|seq, _| keep.contains(seq));
        self.events.retain(|id, _| keep.contains(&id.seq));
        let newest: BTreeSet<CheckpointId> = newest.into_values().map(|(_, id)| id).collect();
        for entry in self.entries.values_mut() {
            entry.checkpoints.retain(|checkpoint| newest.contains(&checkpoint.id));
        }
        (before - self.entries.len()) as u64
    }

    fn folded(&self, seq: Seq) -> Snapshot {
        let Line { snapshot, entries } = self.line(seq, From::Snapshot);
        let mut states: States = snapshot.map(|snapshot| snapshot.states).unwrap_or_default();
        for write in entries.into_iter().flat_map(|entry| entry.writes) {
            write.delta.apply(states.entry(write.ns).or_default(), write.channel);
        }
        let body = self.entries.get(&seq).map(|entry| entry.body.clone()).unwrap_or_default();
        Snapshot { seq, states, body }
    }

    /// Whether there was anything of it.
    pub(super) fn forget_run(&mut self, id: RunId) -> bool {
        let last = self.last_begun() == Some(id);
        let run =
            self.runs.iter().position(|run| run.id == id).map(|index| self.runs.remove(index));
        let mut found = run.is_some();
        for entry in self.entries.values_mut().filter(|entry| entry.run == Some(id)) {
            entry.checkpoints.clear();
            found = true;
        }
        let of_run: Vec<Seq> = self
            .entries
            .values()
            .rev()
            .filter(|entry| entry.run == Some(id))
            .map(|entry| entry.seq)
            .collect();
        let held = self.worker.as_ref().map(|_| self.head());
        for seq in of_run {
            let parent = self.entries.get(&seq).map(|entry| entry.parent).unwrap_or_default();
            let cut = parent != Seq(0) && !self.entries.contains_key(&parent);
            let needed = cut || held == Some(seq);
            if !needed && !self.entries.values().any(|entry| entry.parent == seq) {
                self.entries.remove(&seq);
                self.snapshots.remove(&seq);
                self.events.retain(|event, _| event.seq != seq);
            }
        }
        self.interrupts.retain(|(interrupt, _)| interrupt.run != id);
        let waited = run.is_some_and(|run| run.status == RunStatus::Interrupted) && last;
        if waited && self.thread.status == Status::Interrupted {
            self.thread.status = Status::Idle;
            self.thread.wake_at = self.next_turn();
        }
        found
    }

    pub(super) fn copy(&self, to: NewThread) -> Self {
        let id = to.id;
        let mut copy = Self::new(to);
        copy.thread.seq = self.thread.seq;
        copy.thread.program.clone_from(&self.thread.program);
        if self.thread.status == Status::Interrupted {
            copy.thread.status = Status::Interrupted;
        }
        copy.entries.clone_from(&self.entries);
        copy.snapshots.clone_from(&self.snapshots);
        let done = self.journal.iter().filter(|(_, effect)| match effect {
            Effect::Done { .. } => true,
            Effect::Intended => false,
        });
        copy.journal = done.map(|(key, effect)| (key.clone(), effect.clone())).collect();
        let open = self.open().filter(|interrupt| interrupt.answer.is_none());
        let open = open.map(|interrupt| Interrupt { thread: id, ..interrupt.clone() });
        copy.interrupts = open.map(|interrupt| (interrupt, None)).collect();
        if copy.thread.status == Status::Interrupted {
            copy.thread.wake_at = copy.open().filter_map(|interrupt| interrupt.deadline).min();
        }
        copy
    }
}
