//! What instances share, in Redis or Valkey.
//!
//! While the server is away every operation fails at once; the link looks for it in the background and says once a minute
//! that it is away. Scripts keep each operation to one round trip and to the server's own clock. They touch keys that they
//! find on the way, so a Redis Cluster is not supported.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::shared::{
    Count, Counted, Entry, Error, Found, Hint, Hints, Shared, VALUE_BYTES_MAX,
};
use async_trait::async_trait;
use bytes::Bytes;
use redis::{Client, ErrorKind, RedisError, Script, ScriptInvocation};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::hints;
use link::Link;

mod link;
mod scripts;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Before every key and channel: installations that share a server have different ones.
    pub prefix: String,
    /// No operation takes longer.
    pub deadline: Duration,
    /// Nor does a new connection.
    pub connect_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            prefix: "agentry".to_owned(),
            deadline: Duration::from_millis(50),
            connect_deadline: Duration::from_secs(2),
        }
    }
}

/// The address is none. The message does not repeat it: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the address of the shared store is not usable, write redis://HOST:6379 or rediss://USER:PASSWORD@HOST:6379/0: {reason}"
)]
pub struct NotAnAddress {
    reason: String,
}

/// A handle; the operations work while its [`Keeper`] runs.
#[derive(Clone)]
pub struct RedisShared {
    link: Arc<Link>,
    settings: Arc<Settings>,
}

/// Holds the connections and renews them.
pub struct Keeper {
    link: Arc<Link>,
    settings: Arc<Settings>,
    client: Client,
}

/// An entry lives no longer, so the memory of an invalidated tag need not either.
const TTL_MAX: Duration = Duration::from_secs(30 * 86_400);

impl RedisShared {
    /// Connects to nothing yet: the server may come later.
    pub fn open(url: &str, settings: Settings) -> Result<(Self, Keeper), NotAnAddress> {
        let client = Client::open(url).map_err(|error| NotAnAddress { reason: explain(&error) })?;
        let link = Arc::new(Link::new());
        let settings = Arc::new(settings);
        let keeper = Keeper { link: Arc::clone(&link), settings: Arc::clone(&settings), client };
        Ok((Self { link, settings }, keeper))
    }

    /// Whether the server answers at present.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.link.connection().is_some()
    }

    async fn run<T: redis::FromRedisValue>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, Error> {
        self.within(async |connection| invocation.invoke_async(connection).await).await
    }

    /// One operation within its deadline. After one that did not come back nobody waits for the server until it has
    /// answered a ping.
    async fn within<T>(
        &self,
        operation: impl AsyncFnOnce(&mut redis::aio::MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, Error> {
        let Some(mut connection) = self.link.connection() else {
            return Err(Error::Away { reason: "there is no connection".to_owned() });
        };
        let waiting = Waiting { link: &self.link, since: Instant::now() };
        let ended = tokio::time::timeout(self.settings.deadline, operation(&mut connection)).await;
        // It ended, this way or another: what follows knows better.
        std::mem::forget(waiting);
        let reason = match ended {
            Ok(Ok(value)) => return Ok(value),
            // It answered, if with an error: the connection is good.
            Ok(Err(error)) if is_answer(&error) => {
                let reason = explain(&error);
                self.link.complain(&reason);
                return Err(Error::Away { reason });
            }
            Ok(Err(error)) => explain(&error),
            Err(_) => format!("no answer within {} ms", self.settings.deadline.as_millis()),
        };
        self.link.doubt(&reason);
        Err(Error::Away { reason })
    }

    fn entry(&self, key: &[u8]) -> Vec<u8> {
        [self.settings.prefix.as_bytes(), b":e:", key].concat()
    }

    fn prefix(&self, kind: &str) -> String {
        format!("{}:{kind}:", self.settings.prefix)
    }
}

#[async_trait]
impl Shared for RedisShared {
    async fn get(&self, key: &[u8]) -> Result<Option<Found>, Error> {
        let mut script = scripts::GET.key(self.entry(key));
        let found: Option<(Vec<u8>, i64)> = self.run(script.arg(self.prefix("t"))).await?;
        Ok(found.map(|(value, ttl_ms)| Found {
            value: Bytes::from(value),
            ttl: Duration::from_millis(u64::try_from(ttl_ms).unwrap_or(0)),
        }))
    }

    async fn set(&self, entry: Entry) -> Result<(), Error> {
        let Entry { key, value, ttl, tags } = entry;
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::TooLong { bytes: value.len() });
        }
        let tags: Vec<String> = tags.iter().map(|tag| digest(tag)).collect();
        let mut script = scripts::SET.key(self.entry(&key));
        script.arg(value.as_ref()).arg(tags.join(" ")).arg(millis(ttl.min(TTL_MAX)));
        self.run(&script).await
    }

    async fn delete(&self, key: &[u8]) -> Result<(), Error> {
        let key = self.entry(key);
        self.within(async |connection| redis::cmd("UNLINK").arg(key).query_async(connection).await)
            .await
    }

    async fn invalidate(&self, tag: &str) -> Result<(), Error> {
        let mut script = scripts::INVALIDATE.key(self.prefix("t") + &digest(tag));
        self.run(script.arg(millis(TTL_MAX))).await
    }

    async fn add(&self, counts: Vec<Count>) -> Result<Vec<Counted>, Error> {
        let mut script = scripts::ADD.prepare_invoke();
        script.arg(self.prefix("n"));
        for Count { key, window, amount } in &counts {
            script.arg(key).arg(millis(*window)).arg(*amount);
        }
        let sums: Vec<(u64, u64, i64, i64)> = self.run(&script).await?;
        let counted = sums.into_iter().map(|(window, into_ms, current, previous)| Counted {
            window,
            into: Duration::from_millis(into_ms),
            current: u64::try_from(current).unwrap_or(0),
            previous: u64::try_from(previous).unwrap_or(0),
        });
        Ok(counted.collect())
    }

    async fn present(&self, instance: &str, ttl: Duration) -> Result<u32, Error> {
        let mut script = scripts::PRESENT.key(self.prefix("instances"));
        self.run(script.arg(instance).arg(millis(ttl))).await
    }

    async fn publish(&self, hint: Hint) -> Result<(), Error> {
        let channel = self.prefix("hints");
        let text = serde_json::to_string(&hint)
            .map_err(|error| Error::Away { reason: error.to_string() })?;
        self.within(async |connection| {
            redis::cmd("PUBLISH").arg(channel).arg(text).query_async(connection).await
        })
        .await
    }

    fn hints(&self) -> Hints {
        hints::stream(self.link.hints.subscribe())
    }
}

impl Keeper {
    /// Until the shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { link, settings, client } = self;
        let channel = format!("{}:hints:", settings.prefix);
        let keep = async {
            tokio::join!(link.keep(&client, &settings), link.listen(&client, &settings, &channel),)
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            ((), ()) = keep => {}
        }
        link.close();
    }
}

/// An operation under way. Dropped before its end, after a while: its caller has less patience than we, and the next one
/// shall not have to lose it too.
struct Waiting<'a> {
    link: &'a Link,
    since: Instant,
}

/// A server that is well takes a fraction of this.
const SLOW: Duration = Duration::from_millis(10);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.since.elapsed() >= SLOW {
            self.link.doubt("a caller gave up waiting for an answer");
        }
    }
}

/// The server said no, as against being away.
fn is_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// Without the address, which may hold a password.
fn explain(error: &RedisError) -> String {
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("{}{detail}", error.category())
}

/// Of one length, and without what the tag says.
fn digest(tag: &str) -> String {
    let digest = Sha256::digest(tag.as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests;
