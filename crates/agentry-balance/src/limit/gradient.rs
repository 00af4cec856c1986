//! The height of a limit. Pure.
//!
//! Once a second the mean time to first token of that second is compared with that of the last minutes: when it is more
//! than half again as long, calls wait inside the target, and the limit falls by as much (Netflix's Gradient2). A target
//! that says it has too much to do lowers it by three tenths, at most once a second (AIMD). The limit rises by one a
//! second, and only while half of it is used. Time to first token is used because the length of an answer says nothing
//! about load.

use std::time::Duration;

use crate::limit::LimitSettings;
use crate::moment::Moment;

const WINDOW: Duration = Duration::from_secs(1);
const SAMPLES_MIN: u32 = 10;
/// So much slower than usual is still usual.
const TOLERANCE: f64 = 1.5;
const GRADIENT_MIN: f64 = 0.5;
/// How much of the way to the height that a window asks for is gone at once.
const SMOOTHING: f64 = 0.2;
/// In samples, of which there is at most one a second.
const LONG: f64 = 600.0;
const WARM_UP: u32 = 10;
/// What was usual is forgotten faster when everything has become twice as fast.
const FORGET: f64 = 0.9;
const THROTTLED: f64 = 0.7;

#[derive(Debug)]
pub(crate) struct Gradient {
    settings: LimitSettings,
    limit: f64,
    /// The usual time to first token, in seconds, and of how many windows.
    long: f64,
    windows: u32,
    window: Window,
    throttled: Option<Moment>,
}

#[derive(Debug, Default)]
struct Window {
    start: Option<Moment>,
    /// All calls, and those whose time to first token is known.
    calls: u32,
    timed: u32,
    seconds: f64,
    in_use_max: u32,
    was_throttled: bool,
}

impl Gradient {
    pub(crate) fn new(settings: LimitSettings) -> Self {
        let LimitSettings { initial, min, max } = settings;
        let min = min.max(1);
        let max = max.max(min);
        Self {
            settings: LimitSettings { initial, min, max },
            limit: f64::from(initial.clamp(min, max)),
            long: 0.0,
            windows: 0,
            window: Window::default(),
            throttled: None,
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit as u32
    }

    pub(crate) fn used(&mut self, in_use: u32) {
        self.window.in_use_max = self.window.in_use_max.max(in_use);
    }

    pub(crate) fn observe(&mut self, now: Moment, first_token: Option<Duration>, in_use: u32) {
        self.used(in_use);
        let window = &mut self.window;
        let start = *window.start.get_or_insert(now);
        window.calls += 1;
        if let Some(first_token) = first_token {
            window.timed += 1;
            window.seconds += first_token.as_secs_f64();
        }
        if now.since(start) >= WINDOW && window.calls >= SAMPLES_MIN {
            self.end_window();
        }
    }

    pub(crate) fn throttled(&mut self, now: Moment) {
        self.window.was_throttled = true;
        if self.throttled.is_none_or(|last| now.since(last) >= WINDOW) {
            self.throttled = Some(now);
            self.set(self.limit * THROTTLED);
        }
    }

    fn end_window(&mut self) {
        let Window { timed, seconds, in_use_max, was_throttled, .. } =
            std::mem::take(&mut self.window);
        let mut gradient = 1.0;
        if timed > 0 {
            let short = (seconds / f64::from(timed)).max(1e-6);
            self.learn(short);
            gradient = (TOLERANCE * self.long / short).clamp(GRADIENT_MIN, 1.0);
        }
        let is_needed = f64::from(in_use_max) >= self.limit / 2.0;
        if gradient < 1.0 {
            self.set(self.limit * (1.0 - SMOOTHING + SMOOTHING * gradient));
        } else if is_needed && !was_throttled {
            self.set(self.limit + 1.0);
        }
    }

    fn learn(&mut self, short: f64) {
        self.windows = self.windows.saturating_add(1);
        if self.windows <= WARM_UP {
            self.long += (short - self.long) / f64::from(self.windows);
        } else {
            self.long += (short - self.long) * 2.0 / (LONG + 1.0);
        }
        if self.long / short > 2.0 {
            self.long *= FORGET;
        }
    }

    fn set(&mut self, limit: f64) {
        let LimitSettings { initial: _, min, max } = self.settings;
        self.limit = limit.clamp(f64::from(min), f64::from(max));
    }
}

#[cfg(test)]
mod tests;
