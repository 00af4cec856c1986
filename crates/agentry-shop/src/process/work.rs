//! Real CPU work in known amounts.

use std::hint::black_box;
use std::time::Instant;

const PROBE_ROUNDS: u64 = 2_000;
const PROBES: u32 = 24;

/// Knows how many rounds this build does in a millisecond on this machine, so that a request costs the same everywhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    rounds_per_ms: f64,
}

impl Work {
    /// The best of many short probes: being preempted can only make a probe slower.
    pub(crate) fn calibrate() -> Self {
        let best_ns = (0..PROBES)
            .map(|probe| {
                let begun = Instant::now();
                black_box(rounds(PROBE_ROUNDS, u64::from(probe)));
                begun.elapsed().as_nanos()
            })
            .min()
            .unwrap_or(1)
            .max(1);
        Self { rounds_per_ms: PROBE_ROUNDS as f64 * 1e6 / best_ns as f64 }
    }

    /// Computes for about `ms` milliseconds of CPU time; the result is a checksum of `seed`.
    pub(crate) fn run(self, ms: f64, seed: u64) -> u64 {
        black_box(rounds((self.rounds_per_ms * ms.max(0.0)) as u64, seed))
    }
}

fn rounds(count: u64, seed: u64) -> u64 {
    (0..count).fold(seed | 1, |mixed, _| {
        let shifted = mixed ^ (mixed << 13);
        let shifted = shifted ^ (shifted >> 7);
        shifted ^ (shifted << 17)
    })
}
