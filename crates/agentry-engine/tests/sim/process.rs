//! Processes that live, stand still, die and come back; each with a clock of its own.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_backends::memory::MemoryStore;
use agentry_core::{Clock, Timestamp};
use agentry_engine::Registry;
use agentry_engine::durable::{Handle, Settings, Worker};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::history::History;
use crate::wire::{Rates, Wire};

/// How long a thread stays with a worker that is not heard of.
pub(crate) const LEASE: Duration = Duration::from_secs(5);

/// Goes with the simulated time, but for the jumps that it makes.
pub(crate) struct JumpyClock {
    began: Instant,
    off_by_us: AtomicI64,
}

impl JumpyClock {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), off_by_us: AtomicI64::new(0) }
    }

    pub(crate) fn jump(&self, off_by_us: i64) {
        self.off_by_us.store(off_by_us, Ordering::Relaxed);
    }
}

impl Clock for JumpyClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.began.elapsed().as_micros()).unwrap();
        let off_by = self.off_by_us.load(Ordering::Relaxed);
        Timestamp::from_micros(1_769_846_400_000_000 + elapsed + off_by)
    }
}

/// What all processes have in common.
pub(crate) struct Common {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) history: Arc<History>,
    pub(crate) registry: Registry,
    pub(crate) rates: watch::Receiver<Rates>,
    /// Nothing goes wrong any more.
    pub(crate) healed: watch::Receiver<bool>,
    pub(crate) shutdown: CancellationToken,
}

/// One place where one process after the other lives.
pub(crate) struct Post {
    pub(crate) number: usize,
    pub(crate) clock: Arc<JumpyClock>,
    pub(crate) kill: Notify,
    pub(crate) stop: Notify,
    life: Mutex<Option<(Handle, Arc<Wire>)>>,
}

enum End {
    Died,
    Stopped,
    Returned,
    Over,
}

impl Post {
    pub(crate) fn new(number: usize) -> Self {
        Self {
            number,
            clock: Arc::new(JumpyClock::new()),
            kill: Notify::new(),
            stop: Notify::new(),
            life: Mutex::new(None),
        }
    }

    pub(crate) fn handle(&self) -> Option<Handle> {
        self.life.lock().unwrap().as_ref().map(|(handle, _)| handle.clone())
    }

    pub(crate) fn wire(&self) -> Option<Arc<Wire>> {
        self.life.lock().unwrap().as_ref().map(|(_, wire)| Arc::clone(wire))
    }

    /// Lives until everything is over.
    pub(crate) async fn keep(self: Arc<Self>, common: Arc<Common>, mut dice: Dice) {
        let mut name = format!("w{}", self.number);
        for generation in 1.. {
            let end = self.live(&name, &common, &mut dice).await;
            *self.life.lock().unwrap() = None;
            match end {
                End::Over => return,
                End::Died => common.history.tell(|| format!("{name}: is dead")),
                End::Stopped => common.history.tell(|| format!("{name}: has stopped")),
                End::Returned => {
                    common.history.wrong(format!("{name} has given up"));
                    return;
                }
            }
            let mut healed = common.healed.clone();
            let down = dice.span(0, 15_000);
            drop(tokio::time::timeout(down, healed.wait_for(|healed| *healed)).await);
            if common.shutdown.is_cancelled() {
                return;
            }
            if dice.chance(300) {
                name = format!("w{}.{generation}", self.number);
            }
        }
    }

    async fn live(&self, name: &str, common: &Common, dice: &mut Dice) -> End {
        let lane = (name.to_owned(), Dice::new(dice.below(u64::MAX), name));
        let history = Arc::clone(&common.history);
        let wire = Wire::new(Arc::clone(&common.store), lane, history, common.rates.clone());
        let wire = Arc::new(wire);
        let settings = Settings {
            name: name.to_owned(),
            life: dice.below(u64::MAX).to_string(),
            threads_max: if dice.chance(200) { 1 } else { 64 },
            lease: LEASE,
            poll: dice.span(300, 1_500),
            drain: Duration::from_secs(3),
            ..Settings::default()
        };
        let ports = (Arc::clone(&wire) as _, Arc::clone(&common.store) as _);
        let clock = Arc::clone(&self.clock);
        let worker = Worker::with(ports, common.registry.clone(), clock, settings);
        *self.life.lock().unwrap() = Some((worker.handle(), Arc::clone(&wire)));
        common.history.tell(|| format!("{name}: begins"));
        let leave = CancellationToken::new();
        let mut working = JoinSet::new();
        working.spawn(worker.run(leave.clone()));
        let end = tokio::select! {
            biased;
            () = wire.died.notified() => End::Died,
            () = self.kill.notified() => End::Died,
            () = self.stop.notified() => End::Stopped,
            () = common.shutdown.cancelled() => End::Over,
            ended = working.join_next() => {
                common.history.tell(|| format!("{name}: ends with {ended:?}"));
                End::Returned
            }
        };
        if let End::Stopped | End::Over = end {
            leave.cancel();
            // One that stands still for too long is killed.
            let stopped = tokio::time::timeout(Duration::from_secs(20), working.join_next()).await;
            common.history.tell(|| format!("{name}: stops with {stopped:?}"));
        }
        wire.cut();
        working.shutdown().await;
        end
    }
}
