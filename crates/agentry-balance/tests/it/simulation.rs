//! What callers see while one of four upstreams is ill.

use agentry_balance::Strategy;

use crate::world::{Fault, Outcome, Setup, run};

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

fn peak_ewma(fault: Fault, seed: u64) -> Outcome {
    run(Setup { strategy: Strategy::PeakEwma, ejects: true, fault, seed }).unwrap()
}

#[test]
fn an_upstream_that_fails_fast_is_hardly_noticed() {
    for seed in SEEDS {
        let healthy = peak_ewma(Fault::None, seed);
        let ill = peak_ewma(Fault::FailsFast, seed);
        assert!(healthy.success_percent >= 100.0, "seed {seed}: {healthy:?}");
        assert!(healthy.p50 < 1.0 && healthy.p99 < 3.2, "seed {seed}: {healthy:?}");
        assert!(ill.success_percent >= 99.5, "seed {seed}: {ill:?}");
        assert!(ill.p99 <= healthy.p99 * 1.1, "seed {seed}: {ill:?}, healthy {healthy:?}");
        assert!(ill.back_after.is_some_and(|after| after <= 30.0), "seed {seed}: {ill:?}");
    }
}

#[test]
fn an_upstream_that_is_slow_is_avoided() {
    for seed in SEEDS {
        let healthy = peak_ewma(Fault::None, seed);
        let ill = peak_ewma(Fault::Slow, seed);
        assert!(ill.success_percent >= 100.0, "seed {seed}: {ill:?}");
        assert!(ill.p99 <= healthy.p99 * 1.25, "seed {seed}: {ill:?}, healthy {healthy:?}");
    }
}

#[test]
fn every_strategy_leaves_an_upstream_alone_that_fails() {
    for strategy in Strategy::ALL {
        let outcome =
            run(Setup { strategy, ejects: true, fault: Fault::FailsFast, seed: 1 }).unwrap();
        assert!(outcome.success_percent >= 99.5, "{strategy}: {outcome:?}");
    }
}
