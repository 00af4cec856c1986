//! What instances share, for when there is only one.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_core::shared::{
    Count, Counted, Entry, Error, Found, Hint, Hints, Shared, VALUE_BYTES_MAX,
};
use agentry_core::{Clock, Timestamp};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

use crate::hints;

/// All in memory, gone with the process. When its bytes are used up, what would be gone soonest goes first.
pub struct MemoryShared {
    clock: Arc<dyn Clock>,
    bytes_max: usize,
    state: Mutex<State>,
    hints: broadcast::Sender<Hint>,
}

#[derive(Default)]
struct State {
    entries: HashMap<Vec<u8>, Held>,
    /// The same entries, by when they are over.
    ends: BTreeSet<(Timestamp, Vec<u8>)>,
    bytes: usize,
    /// By key and the window's length.
    counts: HashMap<(String, u64), Window>,
    /// Until when an instance lives for sure.
    instances: HashMap<String, Timestamp>,
}

struct Held {
    value: Bytes,
    tags: Vec<String>,
    end: Timestamp,
}

struct Window {
    number: u64,
    current: i64,
    previous: i64,
}

/// Beyond this many, windows that are over are looked for and dropped.
const COUNTS_USUAL: usize = 4_096;

impl MemoryShared {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, bytes_max: usize) -> Self {
        Self { clock, bytes_max, state: Mutex::default(), hints: hints::channel() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Shared for MemoryShared {
    async fn get(&self, key: &[u8]) -> Result<Option<Found>, Error> {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(held) = state.entries.get(key) else {
            return Ok(None);
        };
        let ttl = held.end.since(now);
        if ttl.is_zero() {
            state.remove(key);
            return Ok(None);
        }
        Ok(Some(Found { value: held.value.clone(), ttl }))
    }

    async fn set(&self, entry: Entry) -> Result<(), Error> {
        let Entry { key, value, ttl, tags } = entry;
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::TooLong { bytes: value.len() });
        }
        let now = self.clock.now();
        let mut state = self.state();
        state.remove(&key);
        state.bytes += key.len() + value.len();
        let end = now.plus(ttl);
        state.ends.insert((end, key.clone()));
        state.entries.insert(key, Held { value, tags, end });
        while state.bytes > self.bytes_max
            && let Some((_, first)) = state.ends.first().cloned()
        {
            state.remove(&first);
        }
        Ok(())
    }

    async fn delete(&self, key: &[u8]) -> Result<(), Error> {
        self.state().remove(key);
        Ok(())
    }

    async fn invalidate(&self, tag: &str) -> Result<(), Error> {
        let mut state = self.state();
        let tagged =
            state.entries.iter().filter(|(_, held)| held.tags.iter().any(|one| one == tag));
        let tagged: Vec<_> = tagged.map(|(key, _)| key.clone()).collect();
        for key in tagged {
            state.remove(&key);
        }
        Ok(())
    }

    async fn add(&self, counts: Vec<Count>) -> Result<Vec<Counted>, Error> {
        let now = u64::try_from(self.clock.now().as_millis()).unwrap_or(0);
        let mut state = self.state();
        if state.counts.len() > COUNTS_USUAL {
            state.counts.retain(|(_, window_ms), window| now / window_ms <= window.number + 1);
        }
        Ok(counts.into_iter().map(|count| state.count(count, now)).collect())
    }

    async fn present(&self, instance: &str, ttl: Duration) -> Result<u32, Error> {
        let now = self.clock.now();
        let mut state = self.state();
        state.instances.insert(instance.to_owned(), now.plus(ttl));
        state.instances.retain(|_, end| *end > now);
        Ok(u32::try_from(state.instances.len()).unwrap_or(u32::MAX))
    }

    async fn publish(&self, hint: Hint) -> Result<(), Error> {
        // Nobody listening is no error.
        drop(self.hints.send(hint));
        Ok(())
    }

    fn hints(&self) -> Hints {
        hints::stream(self.hints.subscribe())
    }
}

impl State {
    fn remove(&mut self, key: &[u8]) {
        if let Some((key, held)) = self.entries.remove_entry(key) {
            self.bytes = self.bytes.saturating_sub(key.len() + held.value.len());
            self.ends.remove(&(held.end, key));
        }
    }

    fn count(&mut self, count: Count, now: u64) -> Counted {
        let Count { key, window, amount } = count;
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX).max(1);
        let number = now / window_ms;
        let held = self.counts.entry((key, window_ms)).or_insert(Window {
            number,
            current: 0,
            previous: 0,
        });
        if held.number < number {
            let previous = if held.number + 1 == number { held.current } else { 0 };
            *held = Window { number, current: 0, previous };
        }
        held.current = held.current.saturating_add(amount);
        Counted {
            window: number,
            into: Duration::from_millis(now % window_ms),
            current: u64::try_from(held.current).unwrap_or(0),
            previous: u64::try_from(held.previous).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests;
