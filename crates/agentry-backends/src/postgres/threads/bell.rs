//! Tells other instances that there is something to do, so that they need not wait for their next look.
//!
//! It is a hint and no more: it is sent after what it is about is stored, many at once, and it may get lost. It has a
//! connection of its own, because whoever notifies within a transaction makes everybody else's wait for its disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_postgres::{AsyncMessage, Client};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::postgres::pool::{Notices, Pool};

/// What comes to light within this time is told together.
const GATHER: Duration = Duration::from_millis(10);
/// Before the next attempt to reach the server.
const PAUSE: Duration = Duration::from_secs(1);

/// Cheap to clone; the last one to go ends the connection.
#[derive(Clone)]
pub(crate) struct Bell {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

struct Shared {
    pool: Arc<Pool>,
    started: AtomicBool,
    wanted: Notify,
    rung: watch::Sender<u64>,
    stop: CancellationToken,
}

impl Bell {
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        let stop = CancellationToken::new();
        let shared = Shared {
            pool: Arc::clone(pool),
            started: AtomicBool::new(false),
            wanted: Notify::new(),
            rung: watch::Sender::new(0),
            stop: stop.clone(),
        };
        Self { shared: Arc::new(shared), _stop: Arc::new(stop.drop_guard()) }
    }

    /// Changes when another instance has rung.
    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.start();
        self.shared.rung.subscribe()
    }

    /// Returns at once; others hear of it a little later.
    pub(crate) fn ring(&self) {
        self.start();
        self.shared.wanted.notify_one();
    }

    fn start(&self) {
        if !self.shared.started.swap(true, Ordering::Relaxed) {
            let shared = Arc::clone(&self.shared);
            self.shared.pool.tasks().spawn(async move {
                let stop = shared.stop.clone();
                stop.run_until_cancelled(shared.run()).await;
            });
        }
    }
}

impl Shared {
    async fn run(self: Arc<Self>) {
        loop {
            match self.pool.listen().await {
                Ok((client, notices)) => {
                    if let Err(problem) = self.attend(client, notices).await {
                        tracing::debug!(%problem, "hints are not passed on for a moment");
                    }
                }
                Err(reason) => tracing::debug!(reason, "hints are not passed on for a moment"),
            }
            sleep(PAUSE).await;
        }
    }

    /// Until the connection ends.
    async fn attend(
        self: &Arc<Self>,
        client: Client,
        mut notices: Notices,
    ) -> Result<(), tokio_postgres::Error> {
        let lost = CancellationToken::new();
        let (shared, ended) = (Arc::clone(self), lost.clone().drop_guard());
        let (own, known) = watch::channel(None);
        self.pool.tasks().spawn(async move {
            let _ended = ended;
            while let Some(Ok(notice)) = notices.next().await {
                if let AsyncMessage::Notification(notice) = notice
                    && Some(notice.process_id()) != *known.borrow()
                {
                    shared.ring_here();
                }
            }
        });
        let channel = format!("{}_work", self.pool.settings.schema);
        client.batch_execute(&format!("LISTEN {channel}; SET synchronous_commit = off")).await?;
        let row = client.query_one("SELECT pg_backend_pid()", &[]).await?;
        own.send_replace(Some(row.get::<_, i32>(0)));
        let notify = client.prepare("SELECT pg_notify($1, '')").await?;
        // Something may have been told in between.
        self.ring_here();
        while !lost.is_cancelled() {
            tokio::select! {
                () = lost.cancelled() => {}
                () = self.wanted.notified() => {
                    sleep(GATHER).await;
                    client.query(&notify, &[&channel]).await?;
                }
            }
        }
        Ok(())
    }

    fn ring_here(&self) {
        self.rung.send_modify(|count| *count = count.wrapping_add(1));
    }
}
