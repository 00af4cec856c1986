//! Simulated workers on a simulated store, in simulated time: whatever goes wrong, nothing is lost and nothing is done
//! twice. A seed is a whole story, and always the same one.
//!
//! `cargo xtask sim --first 7 --seeds 1` tells one story in full.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod check;
mod clients;
mod dice;
mod graphs;
mod history;
mod outside;
mod process;
mod story;
mod wire;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What runs without being asked for more.
const SEEDS: u64 = 500;
/// How much of a story that went wrong is printed.
const LINES_SHOWN: usize = 60;

/// `AGENTRY_SIM_SEEDS` stories, from `AGENTRY_SIM_FIRST` on.
#[test]
fn whatever_goes_wrong_nothing_is_lost_and_nothing_is_done_twice() {
    let first = number("AGENTRY_SIM_FIRST").unwrap_or(0);
    let seeds = number("AGENTRY_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let (failed, counts) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let seed = next.fetch_add(1, Ordering::Relaxed)
                    && seed < first + seeds
                {
                    let story = story::tell(seed);
                    if !story.facts.wrong.is_empty() || seeds == 1 {
                        let most = if seeds == 1 { usize::MAX } else { LINES_SHOWN };
                        print(seed, &story.facts, most);
                    }
                    if !story.facts.wrong.is_empty() {
                        failed.lock().unwrap().push(seed);
                    }
                    for (what, count) in story.facts.counts {
                        *counts.lock().unwrap().entry(what).or_insert(0) += count;
                    }
                }
            });
        }
    });
    println!("{seeds} seeds from {first}: {:?}", counts.lock().unwrap());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "seeds that went wrong: {failed:?}");
}

/// Among them answers that were lost when the worker that had them was stopped, and clocks that kept a run from beginning.
#[test]
fn seeds_that_went_wrong_once_do_not_again() {
    for seed in [1, 15, 1_340, 2_675] {
        let wrong = story::tell(seed).facts.wrong;
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in 1_000..1_010 {
        let (one, other) = (story::tell(seed).facts.lines, story::tell(seed).facts.lines);
        let differs = one.iter().zip(&other).position(|(one, other)| one != other);
        if let Some(at) = differs {
            panic!("seed {seed}, line {at}:\n{}\n{}", one[at], other[at]);
        }
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}

fn print(seed: u64, facts: &history::Facts, lines_max: usize) {
    let from = facts.lines.len().saturating_sub(lines_max);
    let lines = facts.lines[from..].join("\n");
    println!("seed {seed} went like this:\n{lines}\nseed {seed} ends: {:#?}", facts.wrong);
}

fn number(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "this is the outermost shell of a test")]
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not `{value}`")))
}
