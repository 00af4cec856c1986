//! An account as this instance knows it: its caps, and the slices it holds.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentry_core::ledger::{Holder, Per, Period, SliceId};
use agentry_core::{MicroUsd, Timestamp};

use super::pot::Pot;

/// A cap on what an account may spend in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub per: Per,
    pub cap: MicroUsd,
}

/// Stands for no cap.
const NONE: i64 = i64::MAX;

/// One budget holder with its caps. Cheap to keep: whoever makes many calls looks it up once.
pub struct Account {
    pub(super) name: Arc<str>,
    limited: [Limited; 3],
    /// When it was last looked up, in microseconds.
    used: AtomicI64,
}

struct Limited {
    per: Per,
    cap: Arc<AtomicI64>,
    current: Mutex<Option<Arc<Slice>>>,
}

/// What is held of one account in one period.
pub(super) struct Slice {
    pub id: Arc<SliceId>,
    cap: Arc<AtomicI64>,
    ends: Option<Timestamp>,
    pot: Mutex<Pot>,
    /// What those need that wait for the ledger.
    pub waiting: AtomicI64,
    /// Whose turn it is to ask the ledger.
    pub turn: tokio::sync::Mutex<()>,
    /// It is on its way to be refilled.
    pub queued: AtomicBool,
}

impl Account {
    pub(super) fn new(name: Arc<str>) -> Self {
        let limited =
            |per| Limited { per, cap: Arc::new(AtomicI64::new(NONE)), current: Mutex::default() };
        let limited = [limited(Per::Day), limited(Per::Month), limited(Per::Total)];
        Self { name, limited, used: AtomicI64::new(i64::MIN) }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets the caps anew. What is held already stays held.
    pub(super) fn limit(&self, limits: &[Limit], now: Timestamp) {
        self.used.store(now.as_micros(), Ordering::Relaxed);
        for limited in &self.limited {
            let of_period = limits.iter().filter(|limit| limit.per == limited.per);
            let cap = of_period.map(|limit| limit.cap.0.clamp(0, NONE - 1)).min();
            limited.cap.store(cap.unwrap_or(NONE), Ordering::Relaxed);
        }
    }

    pub(super) fn used_before(&self, moment: Timestamp) -> bool {
        self.used.load(Ordering::Relaxed) < moment.as_micros()
    }

    /// No call is in flight, and the ledger knows all that was spent.
    pub(super) fn is_quiet(&self) -> bool {
        self.limited.iter().all(|limited| {
            let current = limited.current.lock().unwrap_or_else(PoisonError::into_inner);
            current.as_ref().is_none_or(|slice| slice.pot().is_quiet())
        })
    }

    /// One for each cap. `open` makes a slice that is not there, or whose period is over.
    pub(super) fn slices<'a>(
        &'a self,
        now: Timestamp,
        open: impl Fn(Slice) -> Arc<Slice> + 'a,
        holder: &'a Holder,
    ) -> impl Iterator<Item = Arc<Slice>> + 'a {
        self.limited.iter().filter_map(move |limited| {
            if limited.cap.load(Ordering::Relaxed) == NONE {
                return None;
            }
            let mut current = limited.current.lock().unwrap_or_else(PoisonError::into_inner);
            match &*current {
                Some(slice) if slice.ends.is_none_or(|ends| now < ends) => Some(Arc::clone(slice)),
                Some(_) | None => {
                    let period = limited.per.period(now);
                    let id =
                        SliceId { account: Arc::clone(&self.name), period, holder: holder.clone() };
                    let slice = open(Slice::new(id, Arc::clone(&limited.cap)));
                    *current = Some(Arc::clone(&slice));
                    Some(slice)
                }
            }
        })
    }
}

impl Slice {
    fn new(id: SliceId, cap: Arc<AtomicI64>) -> Self {
        Self {
            ends: id.period.end(),
            id: Arc::new(id),
            cap,
            pot: Mutex::default(),
            waiting: AtomicI64::new(0),
            turn: tokio::sync::Mutex::new(()),
            queued: AtomicBool::new(false),
        }
    }

    pub(super) fn pot(&self) -> MutexGuard<'_, Pot> {
        self.pot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cap(&self) -> i64 {
        self.cap.load(Ordering::Relaxed)
    }

    pub(super) fn period(&self) -> Period {
        self.id.period
    }
}
