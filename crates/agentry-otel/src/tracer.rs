//! What is done on the way of a call: note it, or count that there is no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agentry_core::trace::Sampling;
use agentry_core::{Clock, Trace};
use agentry_gateway::{Call, Observer, Settled};
use tokio::sync::mpsc;

use crate::otlp::Span;
use crate::record::{Noted, Record};

/// Hears of calls and of executions. Costs a few copies of pointers for each.
pub struct Tracer {
    records: mpsc::Sender<Noted>,
    clock: Arc<dyn Clock>,
    dropped: Arc<AtomicU64>,
    sampling: Sampling,
    seed: u64,
    named: AtomicU64,
}

impl Tracer {
    pub(crate) fn new(
        records: mpsc::Sender<Noted>,
        clock: Arc<dyn Clock>,
        dropped: Arc<AtomicU64>,
        (seed, sampling): (u64, Sampling),
    ) -> Self {
        Self { records, clock, dropped, sampling, seed, named: AtomicU64::new(0) }
    }

    pub(crate) fn sampling(&self) -> Sampling {
        self.sampling
    }

    pub(crate) fn span(&self, span: impl FnOnce() -> Span) {
        self.note(|| Noted::Span(Box::new(span())));
    }

    /// Nothing is made where there is no room.
    fn note(&self, noted: impl FnOnce() -> Noted) {
        match self.records.try_reserve() {
            Ok(place) => place.send(noted()),
            Err(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Of a call that came through no face that names it: an agent's.
    fn root(&self) -> Trace {
        let number = self.named.fetch_add(3, Ordering::Relaxed);
        let word = |at: u64| mixed(self.seed ^ mixed(number.wrapping_add(at)));
        let id = (u128::from(word(0)) << 64) | u128::from(word(1));
        Trace::root(id, word(2), self.sampling.takes(id))
    }
}

impl Observer for Tracer {
    fn started(&self, _: &Call<'_>) {}

    fn settled(&self, settled: &Settled<'_>) {
        let trace = settled.cx.trace.unwrap_or_else(|| self.root());
        if !trace.is_sampled {
            return;
        }
        self.note(|| Noted::Call(Box::new(Record::new(settled, trace, self.clock.now()))));
    }
}

/// Spreads the bits of a number over all of a word; another number for each.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
