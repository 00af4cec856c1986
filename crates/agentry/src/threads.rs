//! Threads on the durable engine: what the server's faces ask, answered by it.

use std::sync::Arc;

use agentry_core::threads::{ThreadStore, Threads};
use agentry_core::{Clock, RunId, ThreadId};
use agentry_engine::durable::{Handle, Settings, Worker};
use agentry_engine::observe::Observer;
use agentry_graphs::Graphs;

use crate::versions::Programs;

mod agent;
mod behalf;
mod drawing;
mod engine;
mod following;
mod known;
mod messages;
mod states;
pub(crate) mod telling;
mod upkeep;
mod webhooks;

pub(crate) use agent::{NAME, Speaking, chat};
pub(crate) use behalf::OnBehalf;
pub(crate) use known::Known;
pub(crate) use webhooks::Hooks;

/// The engine, for the server.
pub(crate) struct Durable {
    handle: Handle,
    known: Known,
}

impl Durable {
    /// The graphs that there are.
    pub(crate) fn known(&self) -> Known {
        self.known.clone()
    }
}

/// A worker for these programs, and what the server asks it through.
pub(crate) fn open(
    stores: (Arc<dyn ThreadStore>, Arc<dyn Threads>),
    (programs, definitions): (Programs, Graphs),
    (clock, settings): (Arc<dyn Clock>, Settings),
    observer: Arc<dyn Observer>,
) -> (Worker, Durable) {
    let known = Known::new(&programs.current, definitions);
    let registry = programs.into_registry();
    let worker = Worker::with(stores, registry, clock, settings).observed(observer);
    let handle = worker.handle();
    (worker, Durable { handle, known })
}

/// A message that is one of several of a run.
fn message_id(run: RunId, number: usize) -> String {
    format!("{run}-{number}")
}

/// One that came to a thread outside of any run.
fn outside_id(thread: ThreadId, moment: agentry_core::Timestamp, number: usize) -> String {
    format!("{thread}-{}-{number}", moment.as_micros())
}
