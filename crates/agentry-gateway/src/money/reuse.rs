//! Calls that asked no target: counted in memory, and told to the ledger every few seconds.
//!
//! They cost nothing, so they are in no record of their own. What was counted in the last seconds before a `kill -9` is lost;
//! what was told is counted once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_core::ledger::{Holder, Ledger, ReportRow, Reused, Tally};
use agentry_core::{MicroUsd, Timestamp};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// From one tally to the next.
const EVERY: Duration = Duration::from_secs(2);
/// So many keys and models are told apart within that time; what more there is is not counted.
const CELLS_MAX: usize = 65_536;

/// Where they are counted. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Reuse(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    cells: HashMap<Cell, Count>,
    /// For which there was no room.
    missed: u64,
}

#[derive(PartialEq, Eq, Hash)]
struct Cell {
    day: i64,
    tenant: Arc<str>,
    key: Arc<str>,
    model: Arc<str>,
}

#[derive(Default)]
struct Count {
    calls: u64,
    saved: i64,
}

impl Reuse {
    /// Takes well under a microsecond.
    pub(crate) fn count(
        &self,
        at: Timestamp,
        (tenant, key, model): (&Arc<str>, &Arc<str>, &Arc<str>),
        saved: Option<MicroUsd>,
    ) {
        let (tenant, key, model) = (Arc::clone(tenant), Arc::clone(key), Arc::clone(model));
        let cell = Cell { day: ReportRow::day_number(at), tenant, key, model };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { cells, missed } = &mut *counts;
        if cells.len() >= CELLS_MAX && !cells.contains_key(&cell) {
            *missed += 1;
            return;
        }
        let count = cells.entry(cell).or_default();
        count.calls += 1;
        count.saved = count.saved.saturating_add(saved.map_or(0, |saved| saved.0));
    }

    fn take(&self) -> Vec<Reused> {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let Counts { cells, missed } = counts;
        if missed > 0 {
            warn!(
                calls = missed,
                "too many keys and models at once: so many cached answers are not in the report"
            );
        }
        let reused = |(cell, count): (Cell, Count)| {
            let (Cell { day, tenant, key, model }, Count { calls, saved }) = (cell, count);
            let text = |text: Arc<str>| text.as_ref().to_owned();
            let (tenant, key, model) = (text(tenant), text(key), text(model));
            Reused { day, tenant, key, model, calls, saved: MicroUsd(saved) }
        };
        cells.into_iter().map(reused).collect()
    }
}

/// Tells the ledger.
pub(super) struct Teller {
    reuse: Reuse,
    ledger: Arc<dyn Ledger>,
    holder: Holder,
    /// Of the last tally.
    number: i64,
    /// Not heard yet.
    pending: Option<Tally>,
}

impl Teller {
    pub(super) fn new(reuse: Reuse, ledger: Arc<dyn Ledger>, holder: Holder) -> Self {
        Self { reuse, ledger, holder, number: 0, pending: None }
    }

    /// Until told to stop.
    pub(super) async fn run(&mut self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            self.tell().await;
        }
    }

    /// What is left at the end.
    pub(super) async fn finish(mut self, patience: Duration) {
        let rest = async {
            // What was not heard before, and what came after it.
            self.tell().await;
            self.tell().await;
        };
        if timeout(patience, rest).await.is_err() {
            warn!("the process ends before the ledger has heard of all cached answers");
        }
    }

    async fn tell(&mut self) {
        let tally = match self.pending.take() {
            Some(tally) => tally,
            None => {
                let reused = self.reuse.take();
                if reused.is_empty() {
                    return;
                }
                self.number += 1;
                Tally { holder: self.holder.clone(), number: self.number, reused }
            }
        };
        // It is kept until it is heard: dropped in between, it would be lost.
        self.pending = Some(tally.clone());
        match self.ledger.append_reused(tally).await {
            Ok(()) => self.pending = None,
            Err(problem) => info!(%problem, "cached answers are told to the ledger later"),
        }
    }
}

#[cfg(test)]
mod tests;
