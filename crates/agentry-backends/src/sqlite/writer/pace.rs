//! When the writer stays awake for the next command.
//!
//! A run that is alone sends its next command soon after it has heard of the one before: sooner than a thread that sleeps is woken.
//! Where commands come seldom, nothing is gained by being awake. Where several runs send them, it would part those that come
//! together, each with a sync of its own.

use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// A little more than a step of a run takes besides its commit.
const AWAKE_FOR: Duration = Duration::from_micros(150);

pub(super) struct Pace {
    /// Whoever is to send needs a processor, too.
    possible: bool,
    /// When a command was last answered that was alone.
    answered: Option<Instant>,
    /// The one after it came soon, and nobody else sent one meanwhile.
    quick: bool,
}

impl Pace {
    pub(super) fn new() -> Self {
        let possible = available_parallelism().is_ok_and(|processors| processors.get() > 1);
        Self { possible, answered: None, quick: false }
    }

    /// So many commands were answered at once.
    pub(super) fn answered(&mut self, commands: usize) {
        self.answered = (self.possible && commands == 1).then(Instant::now);
    }

    /// A command was there already when the one before was answered: somebody else's.
    pub(super) fn waited_for(&mut self) {
        self.quick = false;
    }

    /// A command has come, and none was there before.
    pub(super) fn came(&mut self) {
        self.quick = self.is_soon();
    }

    /// Whether the next one is likely to come at once.
    pub(super) fn is_quick(&self) -> bool {
        self.quick && self.answered.is_some()
    }

    /// Whether what comes now comes soon.
    pub(super) fn is_soon(&self) -> bool {
        self.answered.is_some_and(|answered| answered.elapsed() < AWAKE_FOR)
    }
}
