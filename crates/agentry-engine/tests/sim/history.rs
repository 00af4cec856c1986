//! What was promised, what happened, and what of it must not have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agentry_core::run::{Committed, Effect};
use agentry_core::thread::{Commit, Entry, Interrupt};
use agentry_core::{RunId, ThreadId};
use serde_json::Value;
use tokio::time::Instant;

/// Lines that are kept; the end of a story explains it best.
const LINES_MAX: usize = 20_000;
/// More calls than any story needs: somebody does the same over and over.
const CALLS_MAX: u64 = 4_000;

#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) lines: Vec<String>,
    pub(crate) wrong: Vec<String>,
    /// Stored commits whose worker was told so.
    pub(crate) acknowledged: BTreeMap<(ThreadId, u64), Entry>,
    stored: BTreeSet<(ThreadId, u64)>,
    journaled: BTreeSet<(ThreadId, String, bool)>,
    /// Runs whose submission was acknowledged.
    pub(crate) submitted: BTreeMap<RunId, ThreadId>,
    /// The answer that counts and what was asked, by interrupt.
    pub(crate) answers: BTreeMap<(ThreadId, String), (String, Value)>,
    /// Runs that somebody asked to end.
    pub(crate) cancelled: BTreeSet<RunId>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

pub(crate) struct History {
    began: Instant,
    facts: Mutex<Facts>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), facts: Mutex::default() }
    }

    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        let at = self.began.elapsed().as_secs_f64();
        let mut facts = self.facts();
        if facts.lines.len() < LINES_MAX {
            facts.lines.push(format!("{at:9.3} {}", line()));
        }
    }

    pub(crate) fn wrong(&self, what: String) {
        self.tell(|| format!("WRONG: {what}"));
        self.facts().wrong.push(what);
    }

    /// Counts a call; true when there were too many.
    pub(crate) fn is_endless(&self) -> bool {
        self.count("calls");
        let calls = self.facts().counts.get("calls").copied().unwrap_or_default();
        if calls == CALLS_MAX {
            self.wrong(format!("{calls} calls came to no end"));
        }
        calls >= CALLS_MAX
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.facts().counts.entry(what).or_default() += 1;
    }

    /// The store has decided on a commit; whether anybody hears of it is another matter.
    pub(crate) fn stored(&self, commit: &Commit, committed: &Committed) {
        let at = (commit.thread, commit.entry.seq.0);
        let Committed::Applied { .. } = committed else { return };
        if !self.facts().stored.insert(at) {
            self.wrong(format!("commit {} of thread {} was stored twice", at.1, at.0));
        }
    }

    pub(crate) fn acknowledged(&self, commit: Commit, committed: &Committed) {
        if matches!(committed, Committed::Applied { .. } | Committed::Duplicate) {
            let at = (commit.thread, commit.entry.seq.0);
            self.count("commits");
            self.facts().acknowledged.insert(at, commit.entry);
        }
    }

    pub(crate) fn journaled(
        &self,
        (thread, key): (ThreadId, &str),
        effect: &Effect,
        committed: &Committed,
    ) {
        let Committed::Applied { .. } = committed else { return };
        let done = matches!(effect, Effect::Done { .. });
        self.count("effects");
        if !self.facts().journaled.insert((thread, key.to_owned(), done)) {
            self.wrong(format!("effect {key} of thread {thread} was journaled twice"));
        }
    }

    /// Somebody was told that this is the answer.
    pub(crate) fn answered(&self, interrupt: &Interrupt, question: &str, answer: &Value) {
        let at = (interrupt.thread, interrupt.id.clone());
        let counts = (question.to_owned(), answer.clone());
        let known = self.facts().answers.insert(at, counts);
        self.count("answers");
        if let Some((_, known)) = known.filter(|(_, known)| known != answer) {
            self.wrong(format!("{question} was answered {known}, and then {answer}"));
        }
    }
}

/// A reply, as it is written into the trace: not longer than a line.
pub(crate) fn brief(reply: &impl Debug) -> String {
    let text = format!("{reply:?}");
    match text.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
