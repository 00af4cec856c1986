//! How long nothing ran while somebody was waited for.

use std::time::Duration;

use agentry_core::Timestamp;

/// Told of beginnings and ends in the order of time.
#[derive(Debug, Default)]
pub(super) struct Spans {
    running: usize,
    asking: usize,
    /// Since when it only waits.
    idle: Option<Timestamp>,
    waited: Duration,
}

impl Spans {
    pub(super) fn begins(&mut self, at: Timestamp) {
        self.running += 1;
        self.look(at);
    }

    pub(super) fn ends(&mut self, at: Timestamp) {
        self.running = self.running.saturating_sub(1);
        self.look(at);
    }

    pub(super) fn asks(&mut self, at: Timestamp) {
        self.asking += 1;
        self.look(at);
    }

    pub(super) fn answered(&mut self, at: Timestamp) {
        self.asking = self.asking.saturating_sub(1);
        self.look(at);
    }

    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    fn look(&mut self, at: Timestamp) {
        let waits = self.running == 0 && self.asking > 0;
        match (self.idle, waits) {
            (None, true) => self.idle = Some(at),
            (Some(since), false) => {
                self.waited += at.since(since);
                self.idle = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
}
