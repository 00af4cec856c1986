//! How much may be under way at one target, and who waits when that is reached.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::moment::{Moment, micros};
use gradient::Gradient;
use queue::{Place, Queue};

mod gradient;
mod queue;

/// For so many calls under way, so many may wait for each.
const WAITING_PER_SLOT: usize = 2;
const WAIT_MAX: Duration = Duration::from_secs(1);
/// A wait takes no more than a tenth of the time that a call has.
const WAIT_SHARE: u32 = 10;
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSettings {
    pub initial: u32,
    pub min: u32,
    pub max: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { initial: 20, min: 4, max: 200 }
    }
}

/// Who goes first when there is a queue, and last when there is too much of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

impl Priority {
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no priority `{0}`; there are: high, normal, low")]
pub struct UnknownPriority(String);

impl FromStr for Priority {
    type Err = UnknownPriority;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.as_str() == text)
            .ok_or_else(|| UnknownPriority(text.chars().take(40).collect()))
    }
}

/// Who wants to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    pub priority: Priority,
    /// Callers of one priority take turns by this: [`affinity`](crate::affinity) of the tenant's or the key's name.
    pub caller: u64,
    /// Of the call as a whole.
    pub deadline: Option<Instant>,
}

/// There is too much to do; the call was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many calls are under way: try again in {} s", retry_after.as_secs())]
pub struct Shed {
    pub retry_after: Duration,
}

/// The right to have one call under way. Ends when it is dropped.
#[derive(Debug)]
pub struct Permit {
    limiter: Limiter,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.release();
    }
}

/// A limit that finds its height: it falls when first tokens take longer than they use to, falls steeply when the target
/// says that it has too much to do, and rises by one a second while it is needed.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    epoch: Instant,
    /// What the state says, to be read without its lock.
    has_room: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    gradient: Gradient,
    in_use: u32,
    queue: Queue<oneshot::Sender<Result<Permit, Shed>>>,
    /// How long the queue may be, of what is usual.
    queue_percent: u8,
    /// A moving average, in microseconds.
    call_micros: u64,
    shed: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitState {
    pub limit: u32,
    pub in_use: u32,
    pub waiting: usize,
    /// As many may wait as long as the limit is what it is.
    pub waiting_max: usize,
    /// How many calls were turned away.
    pub shed: u64,
}

impl Limiter {
    #[must_use]
    pub fn new(settings: LimitSettings, now: Instant) -> Self {
        Self(Arc::new(Inner {
            epoch: now,
            has_room: AtomicBool::new(true),
            state: Mutex::new(State {
                gradient: Gradient::new(settings),
                in_use: 0,
                queue: Queue::default(),
                queue_percent: 100,
                call_micros: 0,
                shed: 0,
            }),
        }))
    }

    /// Lets fewer wait than usual, in percent; 100 gives everything back. Those who wait already go on waiting.
    pub fn shorten_queue(&self, percent: u8) {
        self.lock().queue_percent = percent.min(100);
    }

    pub fn has_room(&self) -> bool {
        self.0.has_room.load(Ordering::Relaxed)
    }

    /// Without waiting, and behind those who wait.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Permit> {
        let mut state = self.lock();
        let is_free = state.in_use < state.gradient.limit() && state.queue.is_empty();
        is_free.then(|| self.grant(&mut state))
    }

    /// Waits its turn: for at most a second, a tenth of what is left until the call's deadline, or until somebody more
    /// important needs the place.
    pub async fn acquire(&self, wish: Wish) -> Result<Permit, Shed> {
        let (place, granted) = {
            let mut state = self.lock();
            if state.in_use < state.gradient.limit() && state.queue.is_empty() {
                return Ok(self.grant(&mut state));
            }
            self.enqueue(&mut state, wish)?
        };
        let waiting = Waiting { limiter: self, place };
        let now = tokio::time::Instant::now();
        let left = wish.deadline.map(|deadline| deadline.saturating_duration_since(now.into_std()));
        let patience = left.map_or(WAIT_MAX, |left| (left / WAIT_SHARE).min(WAIT_MAX));
        let result = tokio::time::timeout_at(now + patience, granted).await;
        drop(waiting);
        match result {
            Ok(Ok(granted)) => granted,
            // The sender is never dropped unsent; and if it were, there is no place.
            Ok(Err(_)) | Err(_) => Err(self.lock().turned_away()),
        }
    }

    /// The time to first token of a call; nothing for one whose answer came whole, which says no more than that it came.
    pub fn observe(&self, now: Instant, first_token: Option<Duration>) {
        let mut state = self.lock();
        let in_use = state.in_use;
        state.gradient.observe(self.at(now), first_token, in_use);
        self.note_room(&state);
        drop(state);
        self.hand_out();
    }

    /// The target said that it has too much to do.
    pub fn throttled(&self, now: Instant) {
        let mut state = self.lock();
        state.gradient.throttled(self.at(now));
        self.note_room(&state);
    }

    /// How long a call took to its end.
    pub fn took(&self, time: Duration) {
        let mut state = self.lock();
        let time = micros(time);
        let old = state.call_micros;
        state.call_micros = if old == 0 { time } else { old - old / 16 + time / 16 };
    }

    #[must_use]
    pub fn state(&self) -> LimitState {
        let state = self.lock();
        LimitState {
            limit: state.gradient.limit(),
            in_use: state.in_use,
            waiting: state.queue.len(),
            waiting_max: state.waiting_max(),
            shed: state.shed,
        }
    }

    fn grant(&self, state: &mut State) -> Permit {
        state.in_use += 1;
        state.gradient.used(state.in_use);
        self.note_room(state);
        Permit { limiter: self.clone() }
    }

    fn enqueue(
        &self,
        state: &mut State,
        wish: Wish,
    ) -> Result<(Place, oneshot::Receiver<Result<Permit, Shed>>), Shed> {
        if state.queue.len() >= state.waiting_max() {
            let Some(given_up) = state.queue.make_way(wish.priority, wish.caller) else {
                return Err(state.turned_away());
            };
            // Whoever waited there may have left.
            let _ = given_up.send(Err(state.turned_away()));
        }
        let (tx, rx) = oneshot::channel();
        Ok((state.queue.push(wish.priority, wish.caller, tx), rx))
    }

    fn release(&self) {
        let mut state = self.lock();
        state.in_use = state.in_use.saturating_sub(1);
        self.note_room(&state);
        drop(state);
        self.hand_out();
    }

    /// Lets in whom there is room for.
    fn hand_out(&self) {
        loop {
            let mut state = self.lock();
            if state.in_use >= state.gradient.limit() {
                return;
            }
            let Some(next) = state.queue.pop() else { return };
            let permit = self.grant(&mut state);
            drop(state);
            // A permit that nobody takes is dropped here, without the lock, and so goes to the one behind.
            drop(next.send(Ok(permit)));
        }
    }

    fn note_room(&self, state: &State) {
        let has_room = state.in_use < state.gradient.limit();
        self.0.has_room.store(has_room, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, now: Instant) -> Moment {
        Moment::between(self.0.epoch, now)
    }
}

impl State {
    fn waiting_max(&self) -> usize {
        let usual = self.gradient.limit() as usize * WAITING_PER_SLOT;
        usual * usize::from(self.queue_percent) / 100
    }

    /// By the time the queue has gone through, there may be room.
    fn turned_away(&mut self) -> Shed {
        self.shed += 1;
        let rounds = self.queue.len() as u64 / u64::from(self.gradient.limit().max(1)) + 1;
        let wait = Duration::from_micros(self.call_micros.saturating_mul(rounds));
        Shed { retry_after: wait.clamp(RETRY_MIN, RETRY_MAX) }
    }
}

/// Leaves the queue when whoever waits goes away.
struct Waiting<'a> {
    limiter: &'a Limiter,
    place: Place,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let left = self.limiter.lock().queue.remove(self.place);
        drop(left);
    }
}

#[cfg(test)]
mod tests;
