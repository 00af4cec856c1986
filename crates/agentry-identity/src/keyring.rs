//! All keys in memory, as the store and the configuration have them.
//!
//! A request asks the snapshot and nothing else. What this instance changes is in force when the change is acknowledged;
//! what another one changes is seen within [`POLL`] and the time of a query, or as soon as a hint arrives.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use agentry_core::keys::{Change, Changed, Key, KeyStore, Keys};
use agentry_core::shared::{Hint, Hints, Shared};
use agentry_core::store::Error;
use agentry_core::{Timestamp, audit};
use futures_util::{StreamExt as _, stream};
use subtle::ConstantTimeEq as _;
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Caller, Denied, Pseudonyms};

/// How often the store is asked whether another instance has changed keys.
pub const POLL: Duration = Duration::from_millis(500);
/// How often it is told which keys were used.
const TELL: Duration = Duration::from_secs(60);
/// A store that does not answer must not stop the loop.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the ids of keys begin with that only the configuration can change.
pub const CONFIGURED: &str = "config:";

pub struct KeyRing {
    store: Arc<dyn KeyStore>,
    /// Those of the configuration.
    configured: RwLock<Vec<Key>>,
    pseudonyms: Option<Arc<Pseudonyms>>,
    shared: Option<Arc<dyn Shared>>,
    snapshot: RwLock<Arc<Snapshot>>,
    /// One change or look at the store at a time: an older snapshot never follows a newer one.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Snapshot {
    version: u64,
    /// Those of the configuration first.
    keys: Vec<Key>,
    by_digest: HashMap<[u8; 8], Vec<Arc<Held>>>,
}

struct Held {
    digest: [u8; 32],
    caller: Arc<Caller>,
    expires: Option<Timestamp>,
    revoked: bool,
    /// In seconds since the epoch. It goes on from snapshot to snapshot.
    used: Arc<AtomicI64>,
}

impl KeyRing {
    /// Reads all keys. `configured` come from the configuration, and only it can change them.
    pub async fn open(store: Arc<dyn KeyStore>, configured: Vec<Key>) -> Result<Self, Error> {
        let ring = Self {
            store,
            configured: RwLock::new(configured),
            pseudonyms: None,
            shared: None,
            snapshot: RwLock::default(),
            turn: Mutex::default(),
        };
        ring.install(ring.store.keys().await?);
        Ok(ring)
    }

    /// Lets callers go by pseudonyms instead of the names of their users.
    #[must_use]
    pub fn with_pseudonyms(mut self, pseudonyms: Arc<Pseudonyms>) -> Self {
        self.pseudonyms = Some(pseudonyms);
        let stored = self.stored();
        self.install(stored);
        self
    }

    /// Tells other instances at once what is revoked here.
    #[must_use]
    pub fn with_shared(mut self, shared: Arc<dyn Shared>) -> Self {
        self.shared = Some(shared);
        self
    }

    /// Takes these keys of the configuration instead of those of before. Those that are no longer there end at once.
    pub async fn configure(&self, configured: Vec<Key>) {
        let _turn = self.turn.lock().await;
        let stored = self.stored();
        *self.configured.write().unwrap_or_else(PoisonError::into_inner) = configured;
        self.install(stored);
    }

    /// How many keys there are beside those of the configuration, those that are over included.
    #[must_use]
    pub fn stored_count(&self) -> usize {
        self.stored().keys.len()
    }

    /// Whether there is no key, and never was one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).keys.is_empty()
    }

    /// All keys, those of the configuration first.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        let snapshot = self.snapshot();
        let seen = |key: &Key| {
            let held = snapshot.held(&key.digest).map(|held| held.used.load(Ordering::Relaxed));
            let seen = held.filter(|seconds| *seconds > 0).map(from_seconds);
            Key { used: key.used.max(seen), ..key.clone() }
        };
        snapshot.keys.iter().map(seen).collect()
    }

    /// What `user` is called in records, if that is not the own name.
    #[must_use]
    pub fn pseudonym(&self, tenant: &str, user: &str) -> Option<String> {
        self.pseudonyms.as_ref().map(|pseudonyms| pseudonyms.of(tenant, user))
    }

    /// Who holds the key of this id, or the one that took its place. `None` when there never was such a key.
    #[must_use]
    pub fn caller(&self, id: &str, now: Timestamp) -> Option<Result<Arc<Caller>, Denied>> {
        let snapshot = self.snapshot();
        let find = |id: &str| snapshot.keys.iter().find(|key| key.id == id);
        let mut key = find(id)?;
        for _ in 0..snapshot.keys.len() {
            match key.replaced_by.as_deref().and_then(find) {
                Some(successor) => key = successor,
                None => break,
            }
        }
        let held = snapshot.held(&key.digest)?;
        Some(match held.revoked {
            true => Err(Denied::Revoked),
            false if held.expires.is_some_and(|expires| expires <= now) => Err(Denied::Expired),
            false => Ok(Arc::clone(&held.caller)),
        })
    }

    /// Whose secret has this digest. `None` when nobody's has.
    pub(crate) fn find(
        &self,
        digest: &[u8; 32],
        now: Timestamp,
    ) -> Option<Result<Arc<Caller>, Denied>> {
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        let held = snapshot.held(digest)?;
        if held.revoked {
            return Some(Err(Denied::Revoked));
        }
        if held.expires.is_some_and(|expires| expires <= now) {
            return Some(Err(Denied::Expired));
        }
        let seconds = now.as_millis() / 1_000;
        // To the minute: requests of one key should not fight for one place in memory.
        if held.used.load(Ordering::Relaxed) < seconds - 59 {
            held.used.store(seconds, Ordering::Relaxed);
        }
        Some(Ok(Arc::clone(&held.caller)))
    }

    /// Changes the store. What comes of it is in force here when this returns, whatever the store says afterwards.
    pub async fn change(&self, change: Change, audit: Vec<audit::Entry>) -> Result<Changed, Error> {
        let _turn = self.turn.lock().await;
        let revoked = match &change {
            Change::Revoke { id, .. } => Some(id.clone()),
            Change::Create { .. } | Change::Rotate { .. } | Change::ForgetUser { .. } => None,
        };
        let changed = self.store.change(change.clone(), audit).await;
        if matches!(changed, Err(_) | Ok(Changed::Done(_))) {
            match self.store.keys().await {
                Ok(keys) => self.install(keys),
                Err(problem) => {
                    warn!(%problem, "keys could not be read after a change");
                    self.apply(&change);
                }
            }
        }
        if let (Some(shared), Some(id), Ok(Changed::Done(_))) = (&self.shared, revoked, &changed)
            && let Err(problem) = shared.publish(Hint::KeyRevoked { id }).await
        {
            info!(%problem, "other instances will find the revoked key by themselves");
        }
        changed
    }

    /// What was done to the keys: see [`KeyStore::key_audit`].
    pub async fn audit(&self, after: u64, max: usize) -> Result<Vec<audit::Record>, Error> {
        self.store.key_audit(after, max).await
    }

    /// Looks whether another instance has changed something.
    pub async fn refresh(&self) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        if self.store.version().await? != self.snapshot().version {
            self.install(self.store.keys().await?);
        }
        Ok(())
    }

    /// Follows the store until `shutdown`, and looks at once when a hint says so.
    pub async fn run(self: Arc<Self>, hints: Option<Hints>, shutdown: CancellationToken) {
        let mut hints = hints.unwrap_or_else(|| Box::pin(stream::pending()));
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tell = interval(TELL);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = HashMap::new();
        let (mut reachable, mut hinted) = (true, true);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = tell.tick() => {
                    self.tell(&mut told).await;
                    continue;
                }
                hint = hints.next(), if hinted => match hint {
                    Some(Hint::KeyRevoked { .. } | Hint::Missed) => {}
                    Some(Hint::TagInvalidated { .. } | Hint::KeyInvalidated { .. }) => continue,
                    None => hinted = false,
                },
                _ = poll.tick() => {}
            }
            let looked = timeout(PATIENCE, self.refresh()).await;
            let problem = match looked {
                Ok(Ok(())) => None,
                Ok(Err(problem)) => Some(problem.to_string()),
                Err(_) => Some("no answer".to_owned()),
            };
            match (&problem, reachable) {
                (Some(problem), true) => {
                    warn!(%problem, "changes of keys cannot be seen: those known stay in force");
                }
                (None, false) => info!("changes of keys are seen again"),
                (Some(_), false) | (None, true) => {}
            }
            reachable = problem.is_none();
        }
        self.tell(&mut told).await;
    }

    async fn tell(&self, told: &mut HashMap<String, i64>) {
        let snapshot = self.snapshot();
        let mut uses = Vec::new();
        for key in snapshot.keys.iter().filter(|key| !key.id.starts_with(CONFIGURED)) {
            let seconds =
                snapshot.held(&key.digest).map_or(0, |held| held.used.load(Ordering::Relaxed));
            if seconds > told.get(&key.id).copied().unwrap_or(0) {
                uses.push((key.id.clone(), from_seconds(seconds)));
            }
        }
        if uses.is_empty() {
            return;
        }
        match timeout(PATIENCE, self.store.used(uses.clone())).await {
            Ok(Ok(())) => {
                let seconds = |at: Timestamp| at.as_millis() / 1_000;
                told.extend(uses.into_iter().map(|(id, at)| (id, seconds(at))));
            }
            // It is told with the next ones.
            Ok(Err(problem)) => info!(%problem, "when keys were used is not stored yet"),
            Err(_) => info!("when keys were used is not stored yet"),
        }
    }

    /// What is certain of a change though the store cannot be read: nothing goes on that was to end.
    fn apply(&self, change: &Change) {
        let mut stored = self.stored();
        for key in &mut stored.keys {
            match change {
                Change::Revoke { tenant, id, at } if key.tenant == *tenant && key.id == *id => {
                    key.revoked = Some(*at);
                }
                Change::ForgetUser { tenant, user, at }
                    if key.tenant == *tenant && key.user.as_ref() == Some(user) =>
                {
                    key.revoked = Some(*at);
                }
                Change::Create { .. }
                | Change::Rotate { .. }
                | Change::Revoke { .. }
                | Change::ForgetUser { .. } => {}
            }
        }
        // The next look must find that something has changed.
        stored.version = u64::MAX;
        self.install(stored);
    }

    fn stored(&self) -> Keys {
        let snapshot = self.snapshot();
        let configured = self.configured.read().unwrap_or_else(PoisonError::into_inner).len();
        let keys = snapshot.keys.iter().skip(configured).cloned().collect();
        Keys { version: snapshot.version, keys }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn install(&self, stored: Keys) {
        let before = self.snapshot();
        let Keys { version, keys } = stored;
        let configured = self.configured.read().unwrap_or_else(PoisonError::into_inner).clone();
        let keys: Vec<Key> = configured.into_iter().chain(keys).collect();
        let mut by_digest: HashMap<[u8; 8], Vec<Arc<Held>>> = HashMap::with_capacity(keys.len());
        for key in &keys {
            let user = key.user.as_deref().map(|user| match &self.pseudonyms {
                Some(pseudonyms) => pseudonyms.of(&key.tenant, user).into(),
                None => user.into(),
            });
            let used = before.held(&key.digest).map(|held| Arc::clone(&held.used));
            let held = Held {
                digest: key.digest,
                caller: Arc::new(Caller::of(key, user)),
                expires: key.expires,
                revoked: key.revoked.is_some(),
                used: used.unwrap_or_default(),
            };
            by_digest.entry(beginning(&key.digest)).or_default().push(Arc::new(held));
        }
        let snapshot = Arc::new(Snapshot { version, keys, by_digest });
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

impl Snapshot {
    /// The place is found by a part of the digest; the whole of it is compared in constant time.
    fn held(&self, digest: &[u8; 32]) -> Option<&Arc<Held>> {
        let near = self.by_digest.get(&beginning(digest))?;
        near.iter().find(|held| bool::from(held.digest.ct_eq(digest)))
    }
}

fn beginning(digest: &[u8; 32]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    [a, b, c, d, e, f, g, h]
}

fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1_000))
}

#[cfg(test)]
mod tests;
