//! The accept loop: the only door, and everything that guards it before a request exists.
//!
//! | what the other side does | what happens |
//! |---|---|
//! | opens more connections than allowed | 503 and close |
//! | connects and says nothing | closed after `first_byte` |
//! | sends half a head, or half an HTTP/2 preface | closed after `head` |
//! | keeps a connection without using it | closed after `idle` |
//! | never answers an HTTP/2 ping | closed after twice `ping` |
//! | does not read our answer | closed after `write_stall` |
//!
//! Bodies have their own limits, see [`crate::body`].

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentry_http1::Patience;
use axum::Router;
use hyper::server::conn::http2;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::{App, Settings, crons, router};

mod activity;
mod connection;
mod dates;
mod opening;
mod wire;

use dates::Dates;

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were not finished when the time to drain was over.
    pub connections_cut: usize,
}

/// Answers connections until `shutdown`, then lets what is in flight finish within [`Settings::drain`].
///
/// While it drains, new connections are still answered, so that a load balancer reads 503 at `/ready` and not a broken
/// connection; everything but the paths of `operate` is turned away.
pub async fn serve(listener: TcpListener, mut app: App, shutdown: CancellationToken) -> Drained {
    app.stopping = shutdown.clone();
    let door = Arc::new(Door::new(app));
    if let Some(threading) = door.app.threading.clone() {
        let app = Arc::clone(&door.app);
        door.app.tracker.spawn(crons::starting::run(app, threading));
    }
    tokio::select! {
        never = door.accept(&listener, &door.early, &shutdown) => match never {},
        () = shutdown.cancelled() => {}
    }
    let drained = tokio::select! {
        drained = door.drain() => drained,
        never = door.accept(&listener, &door.late, &door.cut) => match never {},
    };
    door.close().await;
    drained
}

/// Refused connections that are told so at the same time; more are closed without a word.
const REFUSALS_MAX: usize = 256;

/// What every connection shares.
struct Door {
    app: Arc<App>,
    router: Router,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    patience: Patience,
    dates: Dates,
    http2: http2::Builder<Tracked>,
    permits: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    /// Connections from before the wish to stop, and all that belongs to them: these are waited for.
    early: TaskTracker,
    /// Connections from after it.
    late: TaskTracker,
    /// Ends connections at once.
    cut: CancellationToken,
    open: AtomicUsize,
}

impl Door {
    fn new(app: App) -> Self {
        let settings = Arc::clone(&app.settings);
        let tracker = app.tracker.clone();
        let patience = Patience {
            head_bytes_max: settings.head_bytes_max,
            head: settings.head,
            idle: settings.idle,
            write_stall: settings.write_stall,
            linger: connection::LINGER,
        };
        let mut http2 = http2::Builder::new(Tracked(tracker.clone()));
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(settings.streams_max)
            .max_header_list_size(u32::try_from(settings.head_bytes_max).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(1024)
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .keep_alive_interval(settings.ping)
            .keep_alive_timeout(settings.ping);
        let app = Arc::new(app);
        Self {
            metrics: Arc::clone(&app.metrics),
            router: router(Arc::clone(&app)),
            app,
            patience,
            dates: Dates::default(),
            http2,
            permits: Arc::new(Semaphore::new(affordable(settings.connections_max))),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            settings,
            early: tracker,
            late: TaskTracker::new(),
            cut: CancellationToken::new(),
            open: AtomicUsize::new(0),
        }
    }

    async fn accept(
        self: &Arc<Self>,
        listener: &TcpListener,
        tracker: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Infallible {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.admit(stream, tracker, shutdown),
                Err(error) => pause_after(&error).await,
            }
        }
    }

    fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        tracker: &TaskTracker,
        shutdown: &CancellationToken,
    ) {
        // Small answers must not wait for more to come; if the option cannot be set, they are merely late.
        let _ = stream.set_nodelay(true);
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            self.metrics.connection_opened();
            self.open.fetch_add(1, Ordering::Relaxed);
            let (door, shutdown) = (Arc::clone(self), shutdown.clone());
            tracker.spawn(async move {
                let guard = OpenConnection { door: &door, _permit: permit };
                tokio::select! {
                    () = connection::run(&door, stream, &shutdown) => {}
                    () = door.cut.cancelled() => {}
                }
                drop(guard);
            });
        } else {
            self.metrics.connection_refused();
            if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
                tracker.spawn(async move {
                    // It was told or it was not; either way it is gone.
                    let _ = timeout(Duration::from_secs(2), refuse(stream)).await;
                    drop(permit);
                });
            }
        }
    }

    async fn drain(&self) -> Drained {
        self.early.close();
        info!(connections = self.open.load(Ordering::Relaxed), "draining");
        if timeout(self.settings.drain, self.early.wait()).await.is_ok() {
            return Drained { connections_cut: 0 };
        }
        let connections_cut = self.open.load(Ordering::Relaxed);
        warn!(connections_cut, "the time to drain is over, closing what is left");
        Drained { connections_cut }
    }

    /// Every task watches `cut`, and HTTP/2 streams end with their connection.
    async fn close(&self) {
        self.cut.cancel();
        self.late.close();
        let all = async {
            self.early.wait().await;
            self.late.wait().await;
        };
        if timeout(Duration::from_secs(1), all).await.is_err() {
            warn!("connections did not end when they were told to");
        }
    }
}

/// As many of `wanted` connections as this process may have files open, with a quarter left for everything else: whoever
/// runs out of files can neither accept nor write.
fn affordable(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    match files_max(&limits).map(|files| files - files / 4) {
        Some(most) if most < wanted => {
            info!(wanted, most, "fewer connections than configured: raise `ulimit -n` for more");
            most
        }
        Some(_) | None => wanted,
    }
}

/// The soft limit in the kernel's table, unless there is none.
fn files_max(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

struct OpenConnection<'a> {
    door: &'a Door,
    _permit: OwnedSemaphorePermit,
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.door.open.fetch_sub(1, Ordering::Relaxed);
        self.door.metrics.connection_closed();
    }
}

/// Out of file descriptors or memory: trying again at once would only burn a core.
async fn pause_after(error: &io::Error) {
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::Interrupted => {}
        _ => {
            warn!(%error, "cannot accept connections for now");
            sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    let body = concat!(
        r#"{"error":{"message":"the server has as many connections as it allows: try again in a moment","#,
        r#""type":"server_error","param":null,"code":"too_many_connections"}}"#,
    );
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing before the request is read would reset the connection, and the answer with it.
    let mut ignored = [0; 4096];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

/// Spawns the HTTP library's own tasks where shutdown waits for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_open_files_is_found() {
        let table = |soft: &str| {
            format!("Limit Soft Hard Units\nMax open files            {soft}   4096   files\n")
        };
        assert_eq!(files_max(&table("1024")), Some(1024));
        assert_eq!(files_max(&table("unlimited")), None);
        assert_eq!(files_max(""), None);
    }
}
