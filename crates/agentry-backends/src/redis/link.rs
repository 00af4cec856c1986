//! The connections: one for operations, one for hints. Each is looked for until it is there, and again when it is lost.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_core::shared::Hint;
use futures_util::StreamExt as _;
use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::{AsyncConnectionConfig, Client};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{Instant, sleep, timeout};

use super::{Settings, explain};
use crate::hints;

pub(super) struct Link {
    current: Mutex<Current>,
    /// Somebody doubts the connection.
    doubted: Notify,
    /// How often the connection was lost: who hears hints over one from before may be deaf.
    losses: watch::Sender<u64>,
    pub(super) hints: broadcast::Sender<Hint>,
}

#[derive(Default)]
struct Current {
    /// What callers may use: nothing while it is doubted.
    connection: Option<MultiplexedConnection>,
    warned: Option<Instant>,
    is_away: bool,
}

const WARN_EVERY: Duration = Duration::from_secs(60);
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_MAX: Duration = Duration::from_secs(2);
/// An idle connection that has died is noticed after this and the deadline for an answer.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_DEADLINE: Duration = Duration::from_secs(1);

impl Link {
    pub(super) fn new() -> Self {
        Self {
            current: Mutex::default(),
            doubted: Notify::new(),
            losses: watch::Sender::new(0),
            hints: hints::channel(),
        }
    }

    pub(super) fn connection(&self) -> Option<MultiplexedConnection> {
        self.current().connection.clone()
    }

    /// An operation did not come back. Nobody uses the connection until it has answered a ping.
    pub(super) fn doubt(&self, reason: &str) {
        self.current().connection = None;
        self.warn(reason);
        self.doubted.notify_one();
    }

    pub(super) fn close(&self) {
        self.current().connection = None;
    }

    /// Never ends.
    pub(super) async fn keep(&self, client: &Client, settings: &Settings) {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_deadline))
            .set_response_timeout(Some(PING_DEADLINE));
        let mut wait = LOOK_FIRST;
        loop {
            match client.get_multiplexed_async_connection_with_config(&config).await {
                Ok(connection) => {
                    wait = LOOK_FIRST;
                    let reason = self.watch(connection).await;
                    self.current().connection = None;
                    self.losses.send_modify(|losses| *losses += 1);
                    self.warn(&reason);
                }
                Err(error) => self.warn(&explain(&error)),
            }
            sleep(wait).await;
            wait = (wait * 2).min(LOOK_MAX);
        }
    }

    /// Until the connection is lost; tells why.
    async fn watch(&self, mut connection: MultiplexedConnection) -> String {
        loop {
            let ping = redis::cmd("PING");
            match timeout(PING_DEADLINE, ping.query_async::<()>(&mut connection)).await {
                Ok(Ok(())) => self.back(&connection),
                Ok(Err(error)) => return explain(&error),
                Err(_) => return "it answers no ping".to_owned(),
            }
            // Over or doubted, either way it is time for the next ping.
            drop(timeout(PING_EVERY, self.doubted.notified()).await);
        }
    }

    /// Never ends.
    pub(super) async fn listen(&self, client: &Client, settings: &Settings, channel: &str) {
        let mut losses = self.losses.subscribe();
        let mut wait = LOOK_FIRST;
        loop {
            losses.mark_unchanged();
            let subscribed = timeout(settings.connect_deadline, subscribe(client, channel));
            if let Ok(Ok(messages)) = subscribed.await {
                wait = LOOK_FIRST;
                // Whatever was said until now was not heard.
                self.tell(Hint::Missed);
                tokio::select! {
                    () = self.hear(messages) => {}
                    // The other connection was lost: this one may be as dead and not know it.
                    _ = losses.changed() => {}
                }
            }
            sleep(wait).await;
            wait = (wait * 2).min(LOOK_MAX);
        }
    }

    async fn hear(&self, mut messages: PubSubStream) {
        while let Some(message) = messages.next().await {
            // From a newer version: what it means is not known, that it meant something is.
            let hint = serde_json::from_slice(message.get_payload_bytes());
            self.tell(hint.unwrap_or(Hint::Missed));
        }
    }

    fn tell(&self, hint: Hint) {
        // Nobody listening is no error.
        drop(self.hints.send(hint));
    }

    fn warn(&self, reason: &str) {
        self.current().is_away = true;
        if self.may_warn() {
            tracing::warn!(reason, "the shared store is away, each instance works by itself");
        }
    }

    /// It is there, and does not do what it is told: read-only, out of memory, another program's keys.
    pub(super) fn complain(&self, reason: &str) {
        if self.may_warn() {
            tracing::warn!(reason, "the shared store refuses an operation");
        }
    }

    fn may_warn(&self) -> bool {
        let now = Instant::now();
        let mut current = self.current();
        let may = current.warned.is_none_or(|last| now.duration_since(last) >= WARN_EVERY);
        if may {
            current.warned = Some(now);
        }
        may
    }

    fn back(&self, connection: &MultiplexedConnection) {
        let mut current = self.current();
        current.connection = Some(connection.clone());
        if std::mem::replace(&mut current.is_away, false) {
            drop(current);
            tracing::info!("the shared store is there again");
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn subscribe(client: &Client, channel: &str) -> Result<PubSubStream, redis::RedisError> {
    let mut connection = client.get_async_pubsub().await?;
    connection.subscribe(channel).await?;
    Ok(connection.into_on_message())
}
