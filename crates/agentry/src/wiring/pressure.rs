//! Looks every second at how much memory the process has, and gives up what it can before there is none left.

use std::sync::Arc;
use std::time::Duration;

use agentry_gateway::Gateway;
use agentry_gateway::pressure::{Action, Change, Level, Pressure, Relief, Thresholds};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The memory is bounded.
pub(crate) struct Pressed {
    bytes_max: u64,
    gateway: Arc<Gateway>,
}

const EVERY: Duration = Duration::from_secs(1);
const STATUS: &str = "/proc/self/status";

impl Pressed {
    pub(crate) fn new(bytes_max: usize, gateway: Arc<Gateway>) -> Self {
        Self { bytes_max: bytes_max as u64, gateway }
    }

    /// Until told to stop.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut pressure = Pressure::new(Thresholds::default());
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let Some(bytes) = rss() else {
                warn!("the memory of this process cannot be read here: `memory_max` does nothing");
                return;
            };
            pressure.watch(bytes, self.bytes_max, &self);
        }
    }
}

impl Relief for Pressed {
    fn relieve(&self, change: Change) {
        for action in change.actions() {
            self.gateway.relieve(action);
        }
        let Change { from: _, to, rss_bytes, limit_bytes } = change;
        let [Action::Cache { percent: cache }, ..] = change.actions() else { return };
        match to {
            Level::Calm => info!(rss_bytes, limit_bytes, "there is memory enough again"),
            Level::Tight => {
                warn!(rss_bytes, limit_bytes, cache, "memory is scarce: caches and queues shrink");
            }
            Level::Critical => warn!(
                rss_bytes,
                limit_bytes, cache, "memory is nearly used up: calls of low priority are refused"
            ),
        }
    }
}

/// What the process has in memory, in bytes.
fn rss() -> Option<u64> {
    let status = std::fs::read_to_string(STATUS).ok()?;
    resident(&status)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_resident_is_read_from_what_the_kernel_says() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t2\n"), Some(1_234 * 1_024));
        assert_eq!(resident("Name:\tx\n"), None);
        assert!(rss().is_some_and(|bytes| bytes > 1 << 20));
    }
}
