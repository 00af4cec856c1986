//! What happens to slices in the background: they are refilled before they are used up, renewed while we live, and given
//! back when others need them more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::ledger::Reclaim;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::Event;
use super::account::Slice;
use super::budgets::Shared;

/// How many slices may wait to be refilled; calls wait for the others.
pub(super) const HUNGRY_MAX: usize = 1_024;
const TICK: Duration = Duration::from_secs(1);
/// How often accounts are looked through; calls wait meanwhile.
const TIDY: Duration = Duration::from_secs(10);
/// How many signs of life are given in a lease.
const RENEWALS: u32 = 10;
/// When to try again what the ledger has not heard.
const RETRY: Duration = Duration::from_secs(10);
/// An account that nobody has asked for is not kept in memory, and a shorter time when there are many.
const KEPT: Duration = Duration::from_secs(600);
const KEPT_OF_MANY: Duration = Duration::from_secs(30);
const MANY: usize = 50_000;
/// How often the ledger is asked in one tick.
const ASKED_MAX: usize = 64;

pub(super) struct Keeper {
    shared: Arc<Shared>,
    hungry: mpsc::Receiver<Arc<Slice>>,
    tasks: TaskTracker,
    lease_until: Timestamp,
    /// Where among the slices the last tick has ended.
    cursor: usize,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, hungry: mpsc::Receiver<Arc<Slice>>) -> Self {
        let lease_until = shared.clock.now().plus(shared.settings.lease);
        Self { shared, hungry, tasks: TaskTracker::new(), lease_until, cursor: 0 }
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) -> Self {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut renewal = tokio::time::Instant::now();
        let mut tidying = renewal;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(slice) = self.hungry.recv() => self.feed(slice),
                now = ticks.tick() => {
                    if now >= renewal {
                        renewal = now + self.renew().await;
                    }
                    if now >= tidying {
                        tidying = now + TIDY;
                        self.forget_idle();
                    }
                    self.give_back_surplus().await;
                }
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
        self
    }

    fn feed(&self, slice: Arc<Slice>) {
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            if let Err(problem) = shared.top_up(&slice).await {
                info!(account = &*slice.id.account, %problem, "a slice could not be refilled");
            }
            slice.queued.store(false, Ordering::Relaxed);
        });
    }

    /// A sign of life. When it comes too late, or fewer slices are ours than we think, nobody knows what we hold: every slice
    /// has to be asked for anew. Returns when the next one is due.
    async fn renew(&mut self) -> Duration {
        let shared = &self.shared;
        let lapses = shared.lapses.load(Ordering::Acquire);
        let open = shared.slices().iter().filter(|it| it.pot().is_current(lapses)).count();
        let now = shared.clock.now();
        let until = now.plus(shared.settings.lease);
        let mut next = shared.settings.lease / RENEWALS;
        match shared.ledger.renew(&shared.settings.holder, until).await {
            Ok(renewed) => {
                if now >= self.lease_until || renewed < open as u64 {
                    warn!(open, renewed, "slices of budgets were lost; they are asked for anew");
                    shared.lapses.fetch_add(1, Ordering::AcqRel);
                    shared.watcher.happened(&Event::Lapsed);
                }
                self.lease_until = until;
                let admit_until = until.minus(shared.settings.margin).as_micros();
                shared.admit_until.store(admit_until, Ordering::Release);
            }
            Err(problem) => {
                warn!(%problem, "the ledger does not hear that we live");
                next = next.min(RETRY);
            }
        }
        // The database may have finished what a former life of ours had begun only after we settled its slices.
        let former = Reclaim::Former(shared.settings.holder.clone());
        for gone in [former, Reclaim::Expired { now }] {
            match shared.ledger.reclaim(gone).await {
                Ok(0) => {}
                Ok(slices) => info!(slices, "slices of instances that are gone were settled"),
                Err(problem) => info!(%problem, "slices of others could not be looked through"),
            }
        }
        next
    }

    fn forget_idle(&self) {
        let mut accounts = self.shared.accounts();
        let kept = if accounts.len() > MANY { KEPT_OF_MANY } else { KEPT };
        let long_ago = self.shared.clock.now().minus(kept);
        // Nobody else has it, and nobody can get it while we look.
        accounts.retain(|_, account| {
            !(Arc::strong_count(account) == 1
                && account.used_before(long_ago)
                && account.is_quiet())
        });
    }

    /// Looks at all slices, but asks the ledger only so often before it leaves the rest for the next time.
    async fn give_back_surplus(&mut self) {
        let shared = &self.shared;
        let now = shared.clock.now();
        let mut slices: Vec<_> = shared.slices().clone();
        let count = slices.len();
        slices.rotate_left(self.cursor.checked_rem(count).unwrap_or(0));
        let (mut asked, mut ended) = (0, Vec::new());
        for slice in slices {
            self.cursor = self.cursor.wrapping_add(1);
            let Ok(_turn) = slice.turn.try_lock() else { continue };
            // Only the list and we have it: its account is forgotten, or its period is over.
            let unused = Arc::strong_count(&slice) == 2;
            let surplus = {
                let mut pot = slice.pot();
                match (pot.is_open(), unused) {
                    (false, _) => 0,
                    (true, true) => pot.take_rest(),
                    (true, false) => pot.take_surplus(slice.cap(), now),
                }
            };
            asked += usize::from(surplus > 0 || unused);
            shared.give_back(&slice, surplus).await;
            if unused && self.end(&slice).await {
                ended.push(Arc::as_ptr(&slice).addr());
            }
            if asked >= ASKED_MAX {
                break;
            }
        }
        if !ended.is_empty() {
            shared.slices().retain(|slice| !ended.contains(&Arc::as_ptr(slice).addr()));
        }
    }

    /// Settles a slice that is of no more use, when the ledger knows all that was spent of it.
    async fn end(&self, slice: &Slice) -> bool {
        let (open, quiet, version) = {
            let pot = slice.pot();
            (pot.is_open(), pot.is_quiet(), pot.version())
        };
        if !quiet {
            return false;
        }
        if open && let Err(problem) = self.shared.ledger.settle(&slice.id, version).await {
            info!(account = &*slice.id.account, %problem, "a slice could not be settled");
            return false;
        }
        true
    }

    /// The process ends, and all that could be recorded is: what is left goes back at once.
    pub(super) async fn close(self) {
        self.shared.admit_until.store(i64::MIN, Ordering::Release);
        let slices: Vec<_> = self.shared.slices().clone();
        for slice in slices {
            let _turn = slice.turn.lock().await;
            let rest = slice.pot().take_rest();
            if slice.pot().is_open() {
                self.shared.give_back(&slice, rest).await;
            }
            self.end(&slice).await;
        }
    }
}
