//! What calls to models come to that are made for one purpose, such as one attempt at a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::MicroUsd;

/// Clones count together. Whoever settles a call adds to it.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    calls: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    cost: AtomicI64,
}

/// What a meter shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metered {
    pub calls: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    #[serde(rename = "micro_usd")]
    pub cost: MicroUsd,
}

impl Metered {
    pub fn add(&mut self, other: Self) {
        let Self { calls, input_tokens, output_tokens, cost } = other;
        self.calls = self.calls.saturating_add(calls);
        self.input_tokens = self.input_tokens.saturating_add(input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(output_tokens);
        self.cost = MicroUsd(self.cost.0.saturating_add(cost.0));
    }
}

impl Meter {
    pub fn add(&self, metered: Metered) {
        let Metered { calls, input_tokens, output_tokens, cost } = metered;
        self.0.calls.fetch_add(calls, Ordering::Relaxed);
        self.0.input_tokens.fetch_add(input_tokens, Ordering::Relaxed);
        self.0.output_tokens.fetch_add(output_tokens, Ordering::Relaxed);
        self.0.cost.fetch_add(cost.0, Ordering::Relaxed);
    }

    #[must_use]
    pub fn read(&self) -> Metered {
        Metered {
            calls: self.0.calls.load(Ordering::Relaxed),
            input_tokens: self.0.input_tokens.load(Ordering::Relaxed),
            output_tokens: self.0.output_tokens.load(Ordering::Relaxed),
            cost: MicroUsd(self.0.cost.load(Ordering::Relaxed)),
        }
    }
}

/// The same meter, whatever it shows.
impl PartialEq for Meter {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Meter {}
