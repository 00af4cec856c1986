//! Connections that are kept and used again.
//!
//! One that speaks HTTP/1.1 carries one request at a time and lies here in between; one that speaks HTTP/2 carries many.
//! A request that finds a kept connection closed before any of it was sent goes over another one.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use agentry_core::Pieces;
use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use http_body::Body as _;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use crate::body::Source;
use crate::connect::{Deadlined, TimedOut};
use crate::error::{Error, Phase, causes, reason};
use crate::http1::{self, Broken, Io};
use crate::reach::Resolver;
use crate::{PROBE_AFTER, PROBE_TIMEOUT, Settings};

type Http2 = http2::SendRequest<Full<Bytes>>;

/// A handle; cloning it is cheap. Kept connections end with the last one.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    connector: Deadlined<HttpsConnector<HttpConnector<Resolver>>>,
    settings: Settings,
    kept: Mutex<HashMap<Origin, Kept>>,
    is_looked_after: AtomicBool,
    /// Owns what drives connections.
    tasks: TaskTracker,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Origin {
    is_secure: bool,
    authority: Authority,
}

#[derive(Default)]
struct Kept {
    /// The one that was used last is used first.
    http1: Vec<(http1::Connection, Instant)>,
    http2: Option<(Http2, Instant)>,
}

/// Where a connection goes back to when the response has ended.
pub(crate) struct Lease {
    origin: Origin,
    pool: Weak<Inner>,
}

enum Connection {
    Http1(http1::Connection),
    Http2(Http2),
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn new(
        connector: Deadlined<HttpsConnector<HttpConnector<Resolver>>>,
        settings: Settings,
    ) -> Self {
        Self(Arc::new(Inner {
            connector,
            settings,
            kept: Mutex::default(),
            is_looked_after: AtomicBool::new(false),
            tasks: TaskTracker::new(),
        }))
    }

    pub(crate) async fn send(
        &self,
        mut request: Request<Pieces>,
    ) -> Result<Response<Source>, Error> {
        let origin = Origin::of(request.uri());
        loop {
            let kept = self.0.take(&origin);
            let is_kept = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                // In a box of its own: most requests find a kept one.
                None => Box::pin(self.0.connect(&origin, request.uri())).await?,
            };
            let sent = std::mem::take(&mut request);
            match connection {
                Connection::Http1(connection) => {
                    match connection.send(sent, origin.host()).await {
                        Ok(response) => {
                            let lease = Lease { origin, pool: Arc::downgrade(&self.0) };
                            return Ok(response.map(|transfer| Source::Http1(transfer, lease)));
                        }
                        // It was closed while it lay here.
                        Err(Broken::Unsent(unsent, _)) if is_kept => request = *unsent,
                        Err(broken) => return Err(Error::Broken { reason: reason(&broken) }),
                    }
                }
                Connection::Http2(mut sender) => {
                    let sent = sent.map(|body| Full::new(body.into_bytes()));
                    match sender.try_send_request(sent).await {
                        Ok(response) => return Ok(response.map(Source::Http2)),
                        Err(mut error) => match error.take_message() {
                            // The same: nothing of the request has left.
                            Some(unsent) if is_kept => {
                                request = unsent.map(|body| whole(body).into());
                            }
                            _ => return Err(Error::Broken { reason: reason(error.error()) }),
                        },
                    }
                }
            }
        }
    }
}

/// The bytes of a body that was not sent.
fn whole(mut body: Full<Bytes>) -> Bytes {
    let frame = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
    match frame {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        Poll::Ready(None | Some(Err(_))) | Poll::Pending => Bytes::new(),
    }
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, HashMap<Origin, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kept connection that is open, as far as is known.
    fn take(&self, origin: &Origin) -> Option<Connection> {
        loop {
            let mut connection = self.take_any(origin)?;
            let is_open = match &mut connection {
                // It is looked at outside the lock.
                Connection::Http1(connection) => connection.is_quiet(),
                Connection::Http2(_) => true,
            };
            if is_open {
                return Some(connection);
            }
        }
    }

    fn take_any(&self, origin: &Origin) -> Option<Connection> {
        let mut all = self.kept();
        let kept = all.get_mut(origin)?;
        if let Some((sender, used)) = &mut kept.http2 {
            if !sender.is_closed() {
                *used = Instant::now();
                return Some(Connection::Http2(sender.clone()));
            }
            kept.http2 = None;
        }
        let (connection, since) = kept.http1.pop()?;
        if since.elapsed() >= self.settings.pool_idle_timeout {
            // All others are older.
            kept.http1.clear();
            return None;
        }
        Some(Connection::Http1(connection))
    }

    async fn connect(self: &Arc<Self>, origin: &Origin, uri: &Uri) -> Result<Connection, Error> {
        let mut connector = self.connector.clone();
        let connected = connector.call(uri.clone()).await;
        let io = connected.map_err(|error| self.not_connected(error.as_ref()))?;
        let broken = |error: hyper::Error| Error::Connect { reason: reason(&error) };
        if io.connected().is_negotiated_h2() {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PROBE_AFTER)
                .keep_alive_timeout(PROBE_TIMEOUT)
                .keep_alive_while_idle(true)
                .handshake(io)
                .await
                .map_err(broken)?;
            // How a connection ended is told to whoever waits for a response.
            self.tasks.spawn(async { drop(connection.await) });
            self.keep(origin.clone(), Connection::Http2(sender.clone()));
            return Ok(Connection::Http2(sender));
        }
        Ok(Connection::Http1(http1::Connection::new(Io::from(io))))
    }

    fn not_connected(&self, error: &(dyn std::error::Error + Send + Sync + 'static)) -> Error {
        if causes(error).any(<dyn std::error::Error>::is::<TimedOut>) {
            return Error::TimedOut { phase: Phase::Connect, after: self.settings.connect_timeout };
        }
        Error::Connect { reason: reason(error) }
    }

    fn keep(self: &Arc<Self>, origin: Origin, connection: Connection) {
        let mut all = self.kept();
        let kept = all.entry(origin).or_default();
        match connection {
            Connection::Http2(sender) => kept.http2 = Some((sender, Instant::now())),
            Connection::Http1(connection) => {
                if kept.http1.len() < self.settings.pool_idle_per_host_max {
                    kept.http1.push((connection, Instant::now()));
                }
            }
        }
        drop(all);
        if !self.is_looked_after.swap(true, Ordering::AcqRel) {
            self.tasks.spawn(look_after(Arc::downgrade(self), self.settings.pool_idle_timeout));
        }
    }

    /// Closes what was not used for `span`; says whether anything is left.
    fn forget_unused(&self, span: Duration) -> bool {
        let mut all = self.kept();
        all.retain(|_, Kept { http1, http2 }| {
            http1.retain_mut(|(connection, since)| since.elapsed() < span && connection.is_quiet());
            *http2 =
                http2.take().filter(|(sender, used)| used.elapsed() < span && !sender.is_closed());
            !http1.is_empty() || http2.is_some()
        });
        if all.is_empty() {
            self.is_looked_after.store(false, Ordering::Release);
        }
        !all.is_empty()
    }
}

/// For as long as anything is kept.
async fn look_after(inner: Weak<Inner>, span: Duration) {
    loop {
        tokio::time::sleep(span).await;
        match inner.upgrade() {
            Some(inner) if inner.forget_unused(span) => {}
            _ => return,
        }
    }
}

impl Lease {
    /// Where to spawn what still has to do with the connection; nothing when the pool is gone.
    pub(crate) fn tasks(&self) -> Option<TaskTracker> {
        self.pool.upgrade().map(|inner| inner.tasks.clone())
    }

    /// The response has ended: the connection is free.
    pub(crate) fn give_back(self, connection: http1::Connection) {
        let Self { origin, pool } = self;
        if let Some(inner) = pool.upgrade() {
            inner.keep(origin, Connection::Http1(connection));
        }
    }
}

impl Origin {
    /// `check_url` has seen that it has both parts.
    fn of(uri: &Uri) -> Self {
        let authority = uri.authority().cloned();
        Self {
            is_secure: uri.scheme() == Some(&Scheme::HTTPS),
            authority: authority.unwrap_or_else(|| Authority::from_static("localhost")),
        }
    }

    /// As the header wants it.
    fn host(&self) -> &str {
        let authority = self.authority.as_str();
        authority.rsplit_once('@').map_or(authority, |(_, host)| host)
    }
}
