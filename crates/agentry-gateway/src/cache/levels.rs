//! The cache of this process before the one that all instances share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentry_core::shared::{self, Entry, Hint, Hints, Shared};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Cache, Fresh, Kept, Key, Lookup, Tag, Ticket};

/// How a call reaches the answers that were given before.
#[derive(Clone)]
pub struct Levels {
    local: Arc<Cache>,
    shared: Option<Arc<Far>>,
}

/// The shared level as calls see it.
struct Far {
    port: Arc<dyn Shared>,
    deadline: Duration,
    writes: mpsc::Sender<Fresh>,
    counters: Counters,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FarSettings {
    /// A call waits no longer for the shared level.
    pub deadline: Duration,
    /// So many answers may wait to be written there; more are kept here only.
    pub writes_max: usize,
}

impl Default for FarSettings {
    fn default() -> Self {
        Self { deadline: Duration::from_millis(20), writes_max: 256 }
    }
}

#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    failures: AtomicU64,
    written: AtomicU64,
    unwritten: AtomicU64,
}

/// What happened at the shared level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FarStats {
    pub hits: u64,
    pub misses: u64,
    /// Lookups that were not answered in time, or with something that is not ours.
    pub failures: u64,
    pub written: u64,
    /// Answers that the shared level did not take, or that it would have been too slow for.
    pub unwritten: u64,
}

/// Writes to the shared level, and hears from it. Without it running, answers stay in this process.
pub struct Upkeep {
    local: Arc<Cache>,
    far: Arc<Far>,
    writes: mpsc::Receiver<Fresh>,
    hints: Hints,
}

impl Levels {
    #[must_use]
    pub fn local(local: Arc<Cache>) -> Self {
        Self { local, shared: None }
    }

    #[must_use]
    pub fn shared(
        local: Arc<Cache>,
        port: Arc<dyn Shared>,
        settings: FarSettings,
    ) -> (Self, Upkeep) {
        let FarSettings { deadline, writes_max } = settings;
        let (sender, writes) = mpsc::channel(writes_max.max(1));
        let hints = port.hints();
        let far = Far { port, deadline, writes: sender, counters: Counters::default() };
        let far = Arc::new(far);
        let upkeep = Upkeep { local: Arc::clone(&local), far: Arc::clone(&far), writes, hints };
        (Self { local, shared: Some(far) }, upkeep)
    }

    #[must_use]
    pub fn cache(&self) -> &Arc<Cache> {
        &self.local
    }

    /// Looks into this process only.
    #[must_use]
    pub fn get(&self, key: &Key) -> Lookup {
        self.local.get(key, Instant::now().into_std())
    }

    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// After a miss: looks at what the other instances know, within the deadline, and keeps it here too.
    pub async fn get_shared(&self, key: &Key, ticket: Ticket) -> Option<Arc<Kept>> {
        let far = self.shared.as_ref()?;
        let fresh = far.get(key, ticket).await?;
        let kept = Arc::clone(&fresh.kept);
        // Whether there is room for it here or not, it is an answer.
        self.local.insert(fresh, Instant::now().into_std());
        Some(kept)
    }

    /// Keeps an answer here and, as soon as that may be, at the shared level.
    pub fn keep(&self, fresh: Fresh) -> bool {
        if let Some(far) = &self.shared
            && far.writes.try_send(fresh.clone()).is_err()
        {
            far.counters.unwritten.fetch_add(1, Ordering::Relaxed);
        }
        self.local.insert(fresh, Instant::now().into_std())
    }

    /// Forgets everything under a tag: here in any case, elsewhere when the shared level can be reached. Tells how many
    /// entries it were here.
    pub async fn invalidate(&self, tag: Tag<'_>) -> Result<usize, shared::Error> {
        let tag = tag.to_string();
        let forgotten = self.local.invalidate(&tag);
        if let Some(far) = &self.shared {
            far.port.invalidate(&tag).await?;
            far.port.publish(Hint::TagInvalidated { tag }).await?;
        }
        Ok(forgotten)
    }

    /// Forgets one answer: here in any case, elsewhere when the shared level can be reached.
    pub async fn remove(&self, key: &Key) -> Result<(), shared::Error> {
        self.local.remove(key);
        if let Some(far) = &self.shared {
            far.port.delete(&shared_key(key)).await?;
            far.port.publish(Hint::KeyInvalidated { key: key.to_string() }).await?;
        }
        Ok(())
    }

    /// Nothing when there is no shared level.
    #[must_use]
    pub fn shared_stats(&self) -> Option<FarStats> {
        let Counters { hits, misses, failures, written, unwritten } =
            &self.shared.as_ref()?.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(FarStats {
            hits: read(hits),
            misses: read(misses),
            failures: read(failures),
            written: read(written),
            unwritten: read(unwritten),
        })
    }
}

impl Far {
    async fn get(&self, key: &Key, ticket: Ticket) -> Option<Fresh> {
        let found = match timeout(self.deadline, self.port.get(&shared_key(key))).await {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None)) => return self.count(&self.counters.misses),
            // The backend says once a minute that it is away.
            Ok(Err(_)) | Err(_) => return self.count(&self.counters.failures),
        };
        match Kept::decode(&found.value) {
            Ok((kept, tags)) => {
                self.counters.hits.fetch_add(1, Ordering::Relaxed);
                let kept = Arc::new(kept);
                Some(Fresh { key: *key, kept, tags, ticket, ttl_max: Some(found.ttl) })
            }
            Err(error) => {
                tracing::debug!(%error, "an entry of the shared cache is unreadable");
                self.count(&self.counters.failures)
            }
        }
    }

    fn count<T>(&self, counter: &AtomicU64) -> Option<T> {
        counter.fetch_add(1, Ordering::Relaxed);
        None
    }

    async fn set(&self, fresh: Fresh, ttl: Duration) {
        let Fresh { key, kept, tags, ticket: _, ttl_max } = fresh;
        let written = match kept.encode(&tags) {
            Ok(value) => {
                let ttl = ttl_max.map_or(ttl, |max| max.min(ttl));
                let key = shared_key(&key).to_vec();
                let entry = Entry { key, value, ttl, tags: tags.written() };
                self.port.set(entry).await.is_ok()
            }
            Err(error) => {
                tracing::warn!(%error, "an answer cannot be written for the shared cache");
                false
            }
        };
        let Counters { written: yes, unwritten: no, .. } = &self.counters;
        if written { yes } else { no }.fetch_add(1, Ordering::Relaxed);
    }
}

impl Upkeep {
    /// Until the shutdown. What was not written by then is not written.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut hints_end = false;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                hint = self.hints.next(), if !hints_end => match hint {
                    Some(hint) => heed(&self.local, hint),
                    None => hints_end = true,
                },
                fresh = self.writes.recv() => match fresh {
                    // Invalidated in the meantime: the hint came first.
                    Some(fresh) if !self.local.is_current(&fresh) => {}
                    Some(fresh) => tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = self.far.set(fresh, self.local.ttl()) => {}
                    },
                    None => return,
                },
            }
        }
    }
}

fn heed(local: &Cache, hint: Hint) {
    match hint {
        Hint::TagInvalidated { tag } => {
            local.invalidate(&tag);
        }
        Hint::KeyInvalidated { key } => match key.parse() {
            Ok(key) => local.remove(&key),
            // From a version that writes keys otherwise: what it means is not known, so nothing is trusted.
            Err(_) => local.clear(),
        },
        // An invalidation may be among what was missed.
        Hint::Missed => local.clear(),
        Hint::KeyRevoked { .. } => {}
    }
}

fn shared_key(key: &Key) -> [u8; 34] {
    let mut shared = [0; 34];
    let (prefix, digest) = shared.split_at_mut(2);
    prefix.copy_from_slice(b"c:");
    digest.copy_from_slice(&key.0);
    shared
}

#[cfg(test)]
pub(crate) mod tests;
