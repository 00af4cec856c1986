//! What can really go wrong inside a process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use crate::Fault;

use super::shared::Shared;

const BURNERS: u64 = 2;
const BURN_LOCKED_MS: f64 = 2.0;
const BURN_FREE_MS: f64 = 8.0;

const LEAK_EVERY: Duration = Duration::from_millis(100);
const LEAK_BYTES_MIN: u64 = 1_000_000;
const LEAK_BYTES_SPREAD: u64 = 500_000;
const LEAKED_BYTES_MAX: usize = 400_000_000;

#[derive(Default)]
pub(crate) struct Faults {
    /// Requests pass through it; who holds it for writing stops them all.
    gate: Arc<RwLock<()>>,
    held: Mutex<Option<OwnedRwLockWriteGuard<()>>>,
    slow_hop: AtomicBool,
    /// The threads of the present fault run while this is true; each fault has its own.
    running: Mutex<Arc<AtomicBool>>,
}

impl Faults {
    /// What the network adds before a request reaches the service.
    pub(crate) async fn hop(&self, shared: &Shared) {
        if self.slow_hop.load(Ordering::Relaxed) {
            let ms = shared.random(|random| random.between(250.0, 400.0));
            tokio::time::sleep(Duration::from_secs_f64(ms / 1e3)).await;
        }
    }

    pub(crate) async fn pass(&self) {
        drop(self.gate.read().await);
    }

    fn clear(&self) -> Arc<AtomicBool> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.store(false, Ordering::Relaxed);
        *running = Arc::new(AtomicBool::new(true));
        self.slow_hop.store(false, Ordering::Relaxed);
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Arc::clone(&running)
    }
}

/// Ends the present fault and begins `fault`.
pub(crate) fn switch(shared: &Arc<Shared>, fault: Fault) {
    let running = shared.faults.clear();
    match fault {
        // A broken deployment is a configuration, not a state of the process.
        Fault::None | Fault::BadDeploy => {}
        Fault::Latency => shared.faults.slow_hop.store(true, Ordering::Relaxed),
        Fault::Hang => {
            shared.tracker.spawn(hang(Arc::clone(shared), running));
        }
        Fault::Cpu => {
            for burner in 0..BURNERS {
                let (shared, running) = (Arc::downgrade(shared), Arc::clone(&running));
                std::thread::spawn(move || burn(&shared, &running, burner));
            }
        }
        Fault::Leak => {
            let shared = Arc::downgrade(shared);
            std::thread::spawn(move || leak(&shared, &running));
        }
    }
}

async fn hang(shared: Arc<Shared>, running: Arc<AtomicBool>) {
    let guard = Arc::clone(&shared.faults.gate).write_owned().await;
    let mut held = shared.faults.held.lock().unwrap_or_else(PoisonError::into_inner);
    if running.load(Ordering::Relaxed) {
        *held = Some(guard);
    }
}

fn burn(shared: &Weak<Shared>, running: &AtomicBool, seed: u64) {
    while running.load(Ordering::Relaxed) {
        let Some(shared) = shared.upgrade() else { return };
        shared.table(|_| shared.work.run(BURN_LOCKED_MS, seed));
        shared.work.run(BURN_FREE_MS, seed);
    }
}

fn leak(shared: &Weak<Shared>, running: &AtomicBool) {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut bytes = 0;
    while running.load(Ordering::Relaxed) {
        let Some(shared) = shared.upgrade() else { return };
        if bytes < LEAKED_BYTES_MAX {
            let size = LEAK_BYTES_MIN + shared.random(|random| random.below(LEAK_BYTES_SPREAD));
            let size = usize::try_from(size).unwrap_or(0);
            // Anything but zero: pages of zeros would not be touched.
            kept.push(vec![0xa5; size]);
            bytes += size;
        }
        drop(shared);
        std::thread::sleep(LEAK_EVERY);
    }
}
