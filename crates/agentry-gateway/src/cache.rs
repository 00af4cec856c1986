//! Answers that were given before.
//!
//! The key is a digest of everything that changes the answer, the tenant first; making it is the caller's business. What
//! lies here is bounded in bytes, each entry has its hour, and an answer that was under way while its tag was invalidated
//! is not taken in afterwards.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache as Table;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

mod admit;
mod flights;
mod folded;
mod kept;
pub(crate) mod levels;
mod marks;
mod tags;
mod ttl;

pub use admit::{Answered, End, Guarded, NotKept, admit};
pub use flights::{
    Bounds, Entered, FlightStats, Flights, Follower, Leader, Past, Piece, Reader, Stopped, Turn,
    Upstream,
};
pub use folded::Folded;
pub use kept::{Form, Kept, Unreadable};
pub use levels::{FarSettings, FarStats, Levels, Upkeep};
pub use marks::Ticket;
pub use tags::{Tag, Tags};

use marks::{Mark, Marks};
use ttl::Ttl;

/// A digest of everything that changes the answer. Its bits must be as good as random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 32]);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key of the cache is 64 hexadecimal digits")]
pub struct NotAKey;

impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut key = [0; 32];
        if text.len() != 2 * key.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAKey);
        }
        for (at, byte) in key.iter_mut().enumerate() {
            let digits = text.get(2 * at..2 * at + 2).ok_or(NotAKey)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotAKey)?;
        }
        Ok(Self(key))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Of answers and what it takes to find them.
    pub bytes_max: usize,
    pub ttl: Duration,
}

/// The answers of one process, exact matches only.
pub struct Cache {
    table: Table<Key, Arc<Slot>, Weight, DefaultHashBuilder, Evictions>,
    bytes_max: usize,
    ttl: Ttl,
    marks: Marks,
    start: Instant,
    counters: Counters,
    evictions: Evictions,
}

pub enum Lookup {
    Hit(Arc<Kept>),
    /// The ticket goes back with the answer, once there is one.
    Miss(Ticket),
}

/// An answer that is to be kept.
#[derive(Debug, Clone)]
pub struct Fresh {
    pub key: Key,
    pub kept: Arc<Kept>,
    pub tags: Tags,
    /// From the lookup that missed.
    pub ticket: Ticket,
    /// For one that lives already: how long it may still.
    pub ttl_max: Option<Duration>,
}

/// What has happened since the start, and what lies here now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub hits: u64,
    pub misses: u64,
    pub inserts: u64,
    /// For want of room.
    pub evictions: u64,
    pub entries: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    /// What a new entry gets.
    pub ttl: Duration,
}

struct Slot {
    kept: Arc<Kept>,
    tags: Tags,
    /// Milliseconds since the cache began.
    expires: u64,
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    inserts: AtomicU64,
}

/// What an entry takes beside its answer: the key, the slot, its places in table and queue.
const ENTRY_BYTES: usize = 224;
/// A shard that is smaller than this could not hold a long answer.
const SHARD_BYTES_MIN: usize = 8 << 20;
const SHARDS_MAX: usize = 32;
/// A guess, to lay out the table; nothing depends on it.
const ANSWER_BYTES_USUAL: usize = 4 << 10;

impl Cache {
    #[must_use]
    pub fn new(settings: Settings, now: Instant) -> Self {
        let Settings { bytes_max, ttl } = settings;
        let evictions = Evictions::default();
        let shards = (bytes_max / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        // The table rounds up to a power of two, which would make the shards smaller than wanted.
        let shards = 1 << shards.ilog2();
        let weight = bytes_max as u64 / shards as u64 * shards as u64;
        let entries = (bytes_max / ANSWER_BYTES_USUAL).max(32 * shards);
        let hasher = DefaultHashBuilder::default();
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(entries)
            .weight_capacity(weight)
            .build();
        let table = match options {
            Ok(options) => Table::with_options(options, Weight, hasher, evictions.clone()),
            // Only when a capacity is missing, and none is.
            Err(_) => Table::with(entries, weight, Weight, hasher, evictions.clone()),
        };
        Self {
            table,
            bytes_max,
            ttl: Ttl::new(ttl, Arc::clone(&evictions.0)),
            marks: Marks::default(),
            start: now,
            counters: Counters::default(),
            evictions,
        }
    }

    #[must_use]
    pub fn get(&self, key: &Key, now: Instant) -> Lookup {
        let Some(slot) = self.table.get(key) else {
            return self.miss();
        };
        if slot.expires <= self.millis(now) {
            self.table.remove_if(key, |found| Arc::ptr_eq(found, &slot));
            return self.miss();
        }
        self.counters.hits.fetch_add(1, Ordering::Relaxed);
        self.ttl.hit();
        Lookup::Hit(Arc::clone(&slot.kept))
    }

    fn miss(&self) -> Lookup {
        self.counters.misses.fetch_add(1, Ordering::Relaxed);
        self.ttl.miss();
        Lookup::Miss(self.marks.ticket())
    }

    /// A call joined one that was under way: as good as a hit for the time to live.
    pub fn joined(&self) {
        self.ttl.hit();
    }

    /// `false` when it was not taken in: it is too long, or was invalidated since its ticket was given.
    pub fn insert(&self, fresh: Fresh, now: Instant) -> bool {
        let Fresh { key, kept, tags, ticket, ttl_max } = fresh;
        if kept.bytes() + ENTRY_BYTES > self.entry_bytes_max() {
            return false;
        }
        let ttl = self.ttl.now();
        let ttl = ttl_max.map_or(ttl, |max| max.min(ttl));
        let expires = self.millis(now).saturating_add(millis(ttl));
        let slot = Arc::new(Slot { kept, tags, expires });
        let inserted = self.marks.unless_invalidated(&key, &slot.tags, ticket, || {
            self.table.insert(key, Arc::clone(&slot));
        });
        if inserted {
            self.counters.inserts.fetch_add(1, Ordering::Relaxed);
        }
        inserted
    }

    /// Whether it could still be taken in: nothing of it was invalidated since its ticket was given.
    #[must_use]
    pub fn is_current(&self, fresh: &Fresh) -> bool {
        self.marks.unless_invalidated(&fresh.key, &fresh.tags, fresh.ticket, || {})
    }

    /// No answer may take more than an eighth of its part of the cache, lest one displace all others.
    #[must_use]
    pub fn entry_bytes_max(&self) -> usize {
        usize::try_from(self.table.shard_capacity() / 8).unwrap_or(usize::MAX)
    }

    /// How long an entry lives that is taken in now.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl.now()
    }

    pub fn remove(&self, key: &Key) {
        self.marks.mark(Mark::Key(*key));
        self.table.remove(key);
    }

    /// Forgets everything under a tag. It looks at every entry: an act of administration, some milliseconds for 100,000.
    pub fn invalidate(&self, tag: &str) -> usize {
        self.marks.mark(Mark::Tag(tag.into()));
        let before = self.table.len();
        self.table.retain(|_, slot| !slot.tags.contains(tag));
        before.saturating_sub(self.table.len())
    }

    pub fn clear(&self) {
        self.marks.mark_all();
        self.table.clear();
    }

    /// Keeps to a part of its bytes, in percent of what was configured, and forgets what is too much at once. 100 gives
    /// everything back.
    pub fn shrink(&self, percent: u8) {
        let bytes = self.bytes_max as u64 / 100 * u64::from(percent.min(100));
        let shards = self.table.num_shards() as u64;
        self.table.set_capacity(bytes / shards * shards);
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        let Counters { hits, misses, inserts } = &self.counters;
        Stats {
            hits: hits.load(Ordering::Relaxed),
            misses: misses.load(Ordering::Relaxed),
            inserts: inserts.load(Ordering::Relaxed),
            evictions: self.evictions.0.load(Ordering::Relaxed),
            entries: self.table.len() as u64,
            bytes: self.table.weight(),
            bytes_max: self.table.capacity(),
            ttl: self.ttl.now(),
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.start))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Arc<Slot>> for Weight {
    fn weight(&self, _: &Key, slot: &Arc<Slot>) -> u64 {
        (slot.kept.bytes() + ENTRY_BYTES) as u64
    }
}

/// Counts what was displaced, and lets it fall outside the table's lock.
#[derive(Clone, Default)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Key, Arc<Slot>> for Evictions {
    type RequestState = Vec<Arc<Slot>>;

    fn on_evict(&self, state: &mut Self::RequestState, _: Key, slot: Arc<Slot>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        state.push(slot);
    }
}

#[cfg(test)]
mod tests;
