//! What to give up when memory gets scarce, before anything fails. Pure: somebody else measures, and does what is said.

/// How scarce memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Calm,
    /// Give up what can be made again.
    Tight,
    /// Give up what can be refused.
    Critical,
}

/// What is to be done at a level. Everything is said at every change: what was taken is given back the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The cache may hold this part of what is configured, in percent; see [`Cache::shrink`](crate::cache::Cache::shrink).
    Cache { percent: u8 },
    /// Queues may be this long, in percent of what is configured. What waits already goes on waiting.
    Queues { percent: u8 },
    /// Calls of low priority get a 503 at once, or are let in again.
    LowPriority { is_refused: bool },
}

/// The level changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub from: Level,
    pub to: Level,
    pub rss_bytes: u64,
    pub limit_bytes: u64,
}

/// From which part of the limit a level holds, and below which it is left, in percent. The gap keeps it from flapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    pub tight: Threshold,
    pub critical: Threshold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    pub enter_percent: u8,
    pub leave_percent: u8,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            tight: Threshold { enter_percent: 80, leave_percent: 70 },
            critical: Threshold { enter_percent: 90, leave_percent: 85 },
        }
    }
}

/// The state between two measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    thresholds: Thresholds,
    level: Level,
}

/// Who carries out what a change asks for, and tells people of it.
pub trait Relief: Send + Sync {
    fn relieve(&self, change: Change);
}

impl Pressure {
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, level: Level::Calm }
    }

    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// After a measurement. Without a limit (0) there is no pressure.
    pub fn measure(&mut self, rss_bytes: u64, limit_bytes: u64) -> Option<Change> {
        let from = self.level;
        self.level = next(from, self.thresholds, rss_bytes, limit_bytes);
        let to = self.level;
        (from != to).then_some(Change { from, to, rss_bytes, limit_bytes })
    }

    /// The same, and tells who relieves.
    pub fn watch(&mut self, rss_bytes: u64, limit_bytes: u64, relief: &dyn Relief) {
        if let Some(change) = self.measure(rss_bytes, limit_bytes) {
            relief.relieve(change);
        }
    }
}

impl Change {
    #[must_use]
    pub fn actions(self) -> [Action; 3] {
        let (cache, queues, is_refused) = match self.to {
            Level::Calm => (100, 100, false),
            Level::Tight => (50, 75, false),
            Level::Critical => (10, 25, true),
        };
        [
            Action::Cache { percent: cache },
            Action::Queues { percent: queues },
            Action::LowPriority { is_refused },
        ]
    }
}

fn next(level: Level, thresholds: Thresholds, rss_bytes: u64, limit_bytes: u64) -> Level {
    let Thresholds { tight, critical } = thresholds;
    if limit_bytes == 0 {
        return Level::Calm;
    }
    let used = u128::from(rss_bytes) * 100;
    let holds = |threshold: Threshold, held: bool| {
        let Threshold { enter_percent, leave_percent } = threshold;
        let percent = if held { leave_percent.min(enter_percent) } else { enter_percent };
        used >= u128::from(percent) * u128::from(limit_bytes)
    };
    if holds(critical, level >= Level::Critical) {
        Level::Critical
    } else if holds(tight, level >= Level::Tight) {
        Level::Tight
    } else {
        Level::Calm
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn levels_change_late_in_both_directions() {
        let check = |measured: &[u64], expected: &[Level]| {
            let mut pressure = Pressure::new(Thresholds::default());
            let levels: Vec<Level> = measured
                .iter()
                .map(|rss| {
                    pressure.measure(*rss, 1_000);
                    pressure.level()
                })
                .collect();
            assert_eq!(levels, expected, "{measured:?}");
        };
        use Level::{Calm, Critical, Tight};
        check(&[0, 799, 800, 799, 700, 699], &[Calm, Calm, Tight, Tight, Tight, Calm]);
        check(&[899, 900, 850, 849, 899, 700], &[Tight, Critical, Critical, Tight, Tight, Tight]);
        check(&[5_000, 0, 900, 720], &[Critical, Calm, Critical, Tight]);
    }

    #[test]
    fn without_a_limit_there_is_no_pressure() {
        let mut pressure = Pressure::new(Thresholds::default());
        assert_eq!(pressure.measure(u64::MAX, 0), None);
        assert!(pressure.measure(u64::MAX, u64::MAX).is_some());
    }

    #[derive(Default)]
    struct Book(Mutex<Vec<[Action; 3]>>);

    impl Relief for Book {
        fn relieve(&self, change: Change) {
            self.0.lock().unwrap().push(change.actions());
        }
    }

    #[test]
    fn each_change_is_told_once_and_says_everything() {
        let book = Book::default();
        let mut pressure = Pressure::new(Thresholds::default());
        for rss in [10, 85, 86, 95, 95, 10, 10] {
            pressure.watch(rss, 100, &book);
        }
        let said = |cache, queues, is_refused| {
            [
                Action::Cache { percent: cache },
                Action::Queues { percent: queues },
                Action::LowPriority { is_refused },
            ]
        };
        let expected = [said(50, 75, false), said(10, 25, true), said(100, 100, false)];
        assert_eq!(*book.0.lock().unwrap(), expected);
    }
}
