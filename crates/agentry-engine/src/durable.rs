//! Threads that outlive the process: a worker claims them from a store, commits each decision and performs it; a handle
//! gives it work and looks at what became of it.

pub mod handle;
pub mod inspect;
pub mod order;
pub mod worker;

mod answering;
mod drive;
mod hub;
mod keep;
mod keeper;
mod retain;
mod upkeep;
mod wait;

pub use handle::Handle;
pub use hub::Heard;
pub use inspect::Updated;
pub use order::{Order, Wish};
pub use retain::{Place, Retention, Tidied};
pub use wait::Follower;
pub use worker::{Elsewhere, Settings, Worker};

use agentry_core::run::Values;
use agentry_core::thread::{Loaded, NewRun, Pinned};
use agentry_core::{RunId, Timestamp};
use serde_json::{Map, Value};

use crate::machine::Request;
use crate::{Program, Registry};

impl Program {
    /// A run that is the only one of its thread, not yet submitted. A second one with the same `key` is not stored.
    #[must_use]
    pub fn single_run(&self, key: &str, input: Map<String, Value>, now: Timestamp) -> NewRun {
        let graph = &self.graph().name;
        let run = RunId::derived(now, &format!("{graph}\n{key}"));
        let request = Request::Input(input);
        let wish = Wish {
            key: Some(key.to_owned()),
            ..Wish::new(run, run.own_thread(), graph, request, now)
        };
        wish.into_run(self.pinned(), Vec::new())
    }

    #[must_use]
    pub fn pinned(&self) -> Pinned {
        Pinned { graph: self.graph().name.clone(), version: self.version().to_owned() }
    }
}

/// The state of a thread's own graph without what is not complete yet; before the first run has begun, what it is to take
/// in. Needs no program.
#[must_use]
pub fn values(loaded: &Loaded) -> Values {
    let line = &loaded.line;
    let mut values = line
        .snapshot
        .as_ref()
        .and_then(|snapshot| snapshot.states.get(agentry_core::thread::ROOT).cloned())
        .unwrap_or_default();
    for write in line.entries.iter().flat_map(|entry| &entry.writes) {
        if write.ns == agentry_core::thread::ROOT {
            write.delta.clone().apply(&mut values, write.channel.clone());
        }
    }
    let first = loaded.runs.first().filter(|_| loaded.thread.seq.0 == 0);
    if let Some(order) = first.and_then(|run| Order::from_value(&run.input).ok())
        && let Request::Input(input) = order.submission.request
    {
        values.extend(input);
    }
    values
}

impl Registry {
    /// Everything that there is, old versions included.
    #[must_use]
    pub fn pinned(&self) -> Vec<Pinned> {
        let pinned = |(graph, version)| Pinned { graph, version };
        self.pairs().into_iter().map(pinned).collect()
    }
}
