//! How instances learn what the others have counted.
//!
//! Every tenth of a second each tells the shared store what it has counted since, and hears the sums; one that uses more
//! than a sixteenth of a limit at once tells it at once. In between it does not know what the others admit, so together
//! they may admit more than the limit: by no more than the others can admit in one such step. While the store is away, and
//! until it has heard of a key's use elsewhere, each keeps to its share: the limit divided by the instances that were there
//! last. What others used counts less and less for up to two minutes, for of them only sums by the minute are known.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_core::shared::{Count, Counted, Shared};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::KeyLimits;
use super::meter::{MINUTE, Meter};

pub struct ExchangeSettings {
    pub store: Arc<dyn Shared>,
    /// No two instances have the same.
    pub instance: String,
    /// Between two steps.
    pub every: Duration,
}

/// Steps until it is told to stop.
pub struct Exchange {
    store: Arc<dyn Shared>,
    instance: String,
    every: Duration,
    sharing: Arc<Sharing>,
    /// The keys that were used lately.
    active: Vec<Arc<KeyLimits>>,
}

/// What keys and the exchange have in common.
pub(super) struct Sharing {
    /// Keys that were used and are not active yet.
    enlisted: Mutex<Vec<Arc<KeyLimits>>>,
    hurry: Notify,
    /// Nobody hears us.
    is_away: AtomicBool,
    instances: AtomicU32,
    /// Grows with each step.
    step: AtomicU64,
}

/// Whether a key takes part.
#[derive(Default)]
pub(super) struct Turn {
    is_enlisted: AtomicBool,
    /// The last step before its last use.
    used: AtomicU64,
}

/// Steps come no closer than this, however much there is to tell.
const PAUSE: Duration = Duration::from_millis(5);
/// So many counts go into one operation.
const COUNTS_MAX: usize = 512;
const PRESENT_EVERY: Duration = Duration::from_secs(3);
const PRESENT_FOR: Duration = Duration::from_secs(10);

pub(super) fn open(settings: ExchangeSettings) -> (Arc<Sharing>, Exchange) {
    let ExchangeSettings { store, instance, every } = settings;
    let sharing = Arc::new(Sharing {
        enlisted: Mutex::default(),
        hurry: Notify::new(),
        is_away: AtomicBool::new(true),
        instances: AtomicU32::new(1),
        step: AtomicU64::new(0),
    });
    let exchange =
        Exchange { store, instance, every, sharing: Arc::clone(&sharing), active: Vec::new() };
    (sharing, exchange)
}

impl Sharing {
    pub(super) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// That were there last.
    pub(super) fn instances(&self) -> u64 {
        u64::from(self.instances.load(Ordering::Relaxed).max(1))
    }

    /// The key was used.
    pub(super) fn enlist(&self, key: &Arc<KeyLimits>) {
        key.turn.used.store(self.step.load(Ordering::Relaxed), Ordering::Relaxed);
        if !key.turn.is_enlisted.load(Ordering::Relaxed)
            && !key.turn.is_enlisted.swap(true, Ordering::AcqRel)
        {
            self.enlisted().push(Arc::clone(key));
        }
    }

    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    fn enlisted(&self) -> MutexGuard<'_, Vec<Arc<KeyLimits>>> {
        self.enlisted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exchange {
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut present = None;
        loop {
            let now = Instant::now();
            if present.is_none_or(|last| now.duration_since(last) >= PRESENT_EVERY) {
                present = Some(now);
                self.present().await;
            }
            self.step().await;
            let pause = async {
                sleep(PAUSE).await;
                drop(
                    timeout(self.every.saturating_sub(PAUSE), self.sharing.hurry.notified()).await,
                );
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = pause => {}
            }
        }
        // What was counted last is for the others to know.
        self.step().await;
    }

    async fn present(&self) {
        match self.store.present(&self.instance, PRESENT_FOR).await {
            Ok(instances) => {
                self.sharing.instances.store(instances, Ordering::Relaxed);
                self.sharing.is_away.store(false, Ordering::Relaxed);
            }
            // The store's backend says so once a minute.
            Err(_) => self.sharing.is_away.store(true, Ordering::Relaxed),
        }
    }

    async fn step(&mut self) {
        self.sharing.step.fetch_add(1, Ordering::Relaxed);
        let enlisted = std::mem::take(&mut *self.sharing.enlisted());
        self.active.extend(enlisted);
        self.rest();
        for keys in self.active.chunks(COUNTS_MAX / 2) {
            tell(self.store.as_ref(), &self.sharing, keys).await;
        }
    }

    /// Keys that were not used for two minutes take no part.
    fn rest(&mut self) {
        let step = self.sharing.step.load(Ordering::Relaxed);
        let steps = (2 * MINUTE).as_millis() / self.every.as_millis().max(1);
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        self.active.retain(|key| {
            if step.saturating_sub(key.turn.used.load(Ordering::Relaxed)) <= steps {
                return true;
            }
            key.requests.forget_others();
            key.tokens.forget_others();
            key.turn.is_enlisted.store(false, Ordering::Release);
            false
        });
    }
}

async fn tell(store: &dyn Shared, sharing: &Sharing, keys: &[Arc<KeyLimits>]) {
    let meters: Vec<(&Meter, i64)> = keys
        .iter()
        .flat_map(|key| [&key.requests, &key.tokens])
        .map(|meter| (meter, meter.take_unsent()))
        .collect();
    let names = keys.iter().flat_map(|key| [('r', &key.name), ('t', &key.name)]);
    let counts = meters.iter().zip(names).map(|((_, amount), (kind, name))| Count {
        key: format!("{kind}:{name}"),
        window: MINUTE,
        amount: *amount,
    });
    let (counts, told): (Vec<Count>, Vec<_>) =
        counts.zip(&meters).filter(|(_, (meter, _))| meter.is_limited()).unzip();
    if counts.is_empty() {
        return;
    }
    let heard: Result<Vec<Counted>, _> = store.add(counts).await;
    sharing.is_away.store(heard.is_err(), Ordering::Relaxed);
    match heard {
        Ok(heard) => {
            for ((meter, amount), counted) in told.into_iter().zip(heard) {
                meter.hears(amount, counted);
            }
        }
        Err(_) => {
            for (meter, amount) in told {
                meter.put_unsent(amount);
            }
        }
    }
}
