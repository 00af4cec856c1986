//! What is stored, against what processes knew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use agentry_core::ThreadId;
use agentry_core::audit::Verifier;
use agentry_core::run::{Seq, Values};
use agentry_core::store::Log;
use agentry_core::thread::{Run, RunStatus};
use agentry_core::threads::{At, From, RunQuery};
use agentry_engine::durable::values;
use serde_json::{Value, json};

use crate::living::Store;
use crate::noting::Diary;

/// `again` hears of each effect that was performed after somebody had finished it. Answers how many runs there were, and how
/// many effects are in doubt.
pub(crate) async fn check(
    store: &impl Store,
    folder: &Path,
    again: impl Fn(&str),
) -> (usize, usize) {
    verify_audit(store).await;
    let facts = Facts::of(folder, &again);
    commits(store, &facts).await;
    facts.compare(&outcomes(store).await)
}

async fn verify_audit(store: &impl Log) {
    let mut verifier = Verifier::default();
    for record in store.audit(0, 1_000_000).await.unwrap() {
        verifier.check(&record).unwrap();
    }
}

async fn outcomes(store: &impl Store) -> BTreeMap<String, Values> {
    let mut outcomes = BTreeMap::new();
    for run in store.runs(RunQuery { max: 100_000, ..RunQuery::default() }).await.unwrap() {
        let loaded = store.load(run.thread).await.unwrap().unwrap();
        let values = values(&loaded);
        if run.program.graph == "crowded" {
            of_crowd(&run, &values);
        } else {
            assert_eq!(run.status, RunStatus::Success, "{}: {:?}", run.id, run.reason);
        }
        outcomes.insert(run.id.to_string(), values);
    }
    outcomes
}

/// What a run on a crowded thread added is there as often as its end says.
fn of_crowd(run: &Run, values: &Values) {
    let id = json!(run.id.to_string());
    let count = |channel: &str| {
        let list = values.get(channel).and_then(Value::as_array);
        list.map_or(0, |list| list.iter().filter(|one| **one == id).count())
    };
    let found = (count("seen"), count("done"));
    let fine = match run.status {
        RunStatus::Success => found == (1, 1),
        RunStatus::RolledBack => found == (0, 0),
        RunStatus::Cancelled => found.0 <= 1 && found.1 <= found.0,
        RunStatus::Pending
        | RunStatus::Running
        | RunStatus::Interrupted
        | RunStatus::Error
        | RunStatus::Timeout => false,
    };
    assert!(fine, "{} is {:?} ({:?}) and was seen {found:?}", run.id, run.status, run.reason);
}

/// Every commit that was acknowledged is there.
async fn commits(store: &impl Store, facts: &Facts) {
    for (thread, seqs) in &facts.committed {
        let id: ThreadId = thread.parse().unwrap();
        let mut known = BTreeSet::new();
        for seq in seqs.iter().rev() {
            if known.contains(seq) {
                continue;
            }
            let line = store.line(id, At::Seq(Seq(*seq)), From::Root).await.unwrap();
            let line = line.unwrap_or_else(|| panic!("commit {seq} of {thread} is lost"));
            known.extend(line.entries.iter().map(|entry| entry.seq.0));
            assert!(known.contains(seq), "commit {seq} of {thread} is lost");
        }
    }
}

#[derive(Default)]
struct Facts {
    submitted: BTreeSet<String>,
    answered: BTreeMap<String, String>,
    performed: BTreeMap<String, Vec<String>>,
    finished: BTreeSet<String>,
    committed: BTreeMap<String, BTreeSet<u64>>,
    journaled: BTreeSet<(String, String)>,
}

impl Facts {
    fn of(folder: &Path, again: &impl Fn(&str)) -> Self {
        let mut facts = Self::default();
        let path = folder.join(Diary::NAME);
        for line in BufReader::new(File::open(path).unwrap()).lines() {
            facts.read(&line.unwrap(), again);
        }
        facts
    }

    fn read(&mut self, line: &str, again: &impl Fn(&str)) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["submitted", run] => {
                self.submitted.insert(run.to_owned());
            }
            ["answered", run, answer] => {
                self.answered.insert(run.to_owned(), answer.to_owned());
            }
            ["performed", effect, key] => {
                if self.finished.contains(effect) {
                    again(effect);
                }
                self.performed.entry(effect.to_owned()).or_default().push(key.to_owned());
            }
            ["finished", effect] => {
                self.finished.insert(effect.to_owned());
            }
            ["committed", thread, seq] => {
                let seqs = self.committed.entry(thread.to_owned()).or_default();
                let new = seqs.insert(seq.parse().unwrap());
                assert!(new, "commit {seq} of {thread} was acknowledged twice");
            }
            ["journaled", thread, key] => {
                let new = self.journaled.insert((thread.to_owned(), key.to_owned()));
                assert!(new, "effect {key} of {thread} was journaled twice");
            }
            _ => panic!("the diary says `{line}`"),
        }
    }

    /// Checks how often one effect was performed.
    fn is_in_doubt(&self, (run, name): (&str, &str), outcome: &Value, once: bool) -> bool {
        let keys = self.performed.get(&format!("{run}/{name}")).cloned().unwrap_or_default();
        let different: BTreeSet<_> = keys.iter().collect();
        assert!(different.len() <= 1, "{run}/{name}: {keys:?}");
        if outcome == "ambiguous" {
            assert!(once && keys.len() <= 1, "{run}/{name}: {keys:?}");
            return true;
        }
        assert!(!(keys.is_empty() || once && keys.len() > 1), "{run}/{name}: {keys:?}");
        false
    }

    fn compare(&self, outcomes: &BTreeMap<String, Values>) -> (usize, usize) {
        let mut ambiguous = 0;
        for run in &self.submitted {
            assert!(outcomes.contains_key(run), "{run} was submitted and is lost");
        }
        for (run, answer) in &self.answered {
            assert_eq!(outcomes[run]["approve"], json!(answer), "{run} has lost its answer");
        }
        for (run, values) in outcomes {
            if values.contains_key("seen") {
                let times = self.performed.get(&format!("{run}/pay")).map_or(0, Vec::len);
                assert!(times <= 1, "{run} has paid {times} times");
                continue;
            }
            for (name, once) in
                [("ticket", false), ("message", true), ("act", true), ("report", false)]
            {
                ambiguous += usize::from(self.is_in_doubt((run, name), &values[name], once));
            }
        }
        assert!(!outcomes.is_empty(), "nothing was submitted between the kills");
        (outcomes.len(), ambiguous)
    }
}
