//! How many of the last calls went well.

use std::time::Duration;

use crate::moment::Moment;

const SLOTS: u64 = 10;
const SLOT: Duration = Duration::from_secs(3);

/// Counts of the last 27 to 30 seconds.
#[derive(Debug, Default)]
pub(crate) struct Window {
    slots: [Slot; SLOTS as usize],
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Which slot of time it is, from 1; 0 is none.
    number: u64,
    tally: Tally,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) good: u32,
    pub(crate) bad: u32,
}

impl Window {
    pub(crate) fn good(&mut self, now: Moment) {
        if let Some(tally) = self.current(now) {
            tally.good = tally.good.saturating_add(1);
        }
    }

    pub(crate) fn bad(&mut self, now: Moment) {
        if let Some(tally) = self.current(now) {
            tally.bad = tally.bad.saturating_add(1);
        }
    }

    pub(crate) fn tally(&self, now: Moment) -> Tally {
        let last = number(now);
        let recent = self.slots.iter().filter(|slot| slot.number + SLOTS > last);
        recent.fold(Tally::default(), |sum, slot| Tally {
            good: sum.good.saturating_add(slot.tally.good),
            bad: sum.bad.saturating_add(slot.tally.bad),
        })
    }

    fn current(&mut self, now: Moment) -> Option<&mut Tally> {
        let number = number(now);
        let slot = self.slots.get_mut((number % SLOTS) as usize)?;
        if slot.number < number {
            *slot = Slot { number, tally: Tally::default() };
        }
        Some(&mut slot.tally)
    }
}

impl Tally {
    pub(crate) fn calls(self) -> u32 {
        self.good.saturating_add(self.bad)
    }

    /// Of none, all went well.
    pub(crate) fn success_rate(self) -> f64 {
        if self.calls() == 0 { 1.0 } else { f64::from(self.good) / f64::from(self.calls()) }
    }
}

fn number(now: Moment) -> u64 {
    const MICROS: u64 = SLOT.as_micros() as u64;
    now.as_micros() / MICROS + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_half_a_minute_is_forgotten() {
        let mut window = Window::default();
        for second in 0..100 {
            let now = Moment::default().plus(Duration::from_secs(second));
            window.good(now);
            if second >= 90 {
                window.bad(now);
            }
            let Tally { good, bad } = window.tally(now);
            let lived = u32::try_from(second + 1).unwrap();
            assert!(good <= 30 && good >= lived.min(27), "{good} good at {second}");
            assert_eq!(bad, lived.saturating_sub(90));
        }
        let later = Moment::default().plus(Duration::from_secs(1_000));
        assert_eq!(window.tally(later), Tally::default());
        assert!((window.tally(later).success_rate() - 1.0).abs() < f64::EPSILON);
    }
}
