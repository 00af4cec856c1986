//! Removes what was kept for long enough, in parts, until there is nothing more to remove.

use std::time::Duration;

use agentry_core::Clock as _;
use agentry_core::items::Items;
use agentry_engine::durable::{Handle, Place, Retention, Tidied};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::SystemClock;

/// How often it is looked for what was kept for long enough.
const EVERY: Duration = Duration::from_secs(30);
/// Where a part has found as much as it may: others want the database too.
const PAUSE: Duration = Duration::from_secs(1);
const ITEMS_MAX: usize = 1_000;

pub(super) async fn run(
    handle: &Handle,
    items: &dyn Items,
    retention: Retention,
    shutdown: &CancellationToken,
) {
    let mut place = Place::default();
    while !shutdown.is_cancelled() {
        if let Err(problem) = handle.sweep().await {
            warn!(%problem, "threads that were kept long enough cannot be removed yet");
        }
        if let Err(problem) = items.sweep(SystemClock.now(), ITEMS_MAX).await {
            warn!(%problem, "items that have expired cannot be removed yet");
        }
        let pause = match handle.tidy(retention, &mut place).await {
            Ok(tidied) => {
                let Tidied { threads, cut, entries, more } = tidied;
                if threads > 0 || cut > 0 {
                    info!(threads, cut, entries, "threads and histories were kept for long enough");
                }
                if more { PAUSE } else { EVERY }
            }
            Err(problem) => {
                warn!(%problem, "threads cannot be tidied up yet");
                EVERY
            }
        };
        shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}
