//! Connections that are kept and used again.
//!
//! One that speaks HTTP/1.1 carries one request at a time and lies here in between; one that speaks HTTP/2 carries many.
//! A request that finds a kept connection closed before any of it was sent goes over another one.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

use crate::connect::{Deadlined, TimedOut};
use crate::error::{Error, Phase, causes, reason};
use crate::reach::Resolver;
use crate::{PROBE_AFTER, PROBE_TIMEOUT, Settings};

type Http1 = http1::SendRequest<Full<Bytes>>;
type Http2 = http2::SendRequest<Full<Bytes>>;
type Unsent = TrySendError<Request<Full<Bytes>>>;

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
    http1: Vec<(Http1, Instant)>,
    http2: Option<(Http2, Instant)>,
}

/// A connection that carries one request, and goes back when the response has ended.
pub(crate) struct Lease {
    sender: Http1,
    origin: Origin,
    pool: Weak<Inner>,
}

enum Connection {
    Http1(Http1),
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

    /// The lease is for the one who reads the response.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Option<Lease>), Error> {
        let origin = Origin::of(request.uri());
        loop {
            let kept = self.0.take(&origin);
            let is_kept = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                // In a box of its own: most requests find a kept one.
                None => Box::pin(self.0.connect(&origin, request.uri())).await?,
            };
            let sent = match connection {
                Connection::Http1(sender) => self.http1(sender, &mut request, &origin).await,
                Connection::Http2(mut sender) => {
                    let sent = sender.try_send_request(take(&mut request)).await;
                    sent.map(|response| (response, None))
                }
            };
            match sent {
                Ok(answered) => return Ok(answered),
                Err(mut error) => match error.take_message() {
                    // It was closed while it lay here: nothing of the request has left.
                    Some(unsent) if is_kept => request = origin.absolute(unsent),
                    _ => return Err(Error::Broken { reason: reason(error.error()) }),
                },
            }
        }
    }

    async fn http1(
        &self,
        mut sender: Http1,
        request: &mut Request<Full<Bytes>>,
        origin: &Origin,
    ) -> Result<(Response<Incoming>, Option<Lease>), Unsent> {
        let response = sender.try_send_request(origin.relative(take(request))).await?;
        let pool = Arc::downgrade(&self.0);
        Ok((response, Some(Lease { sender, origin: origin.clone(), pool })))
    }
}

/// What is left behind is not looked at again.
fn take(request: &mut Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    std::mem::replace(request, Request::new(Full::default()))
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, HashMap<Origin, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kept connection that is open, as far as is known.
    fn take(&self, origin: &Origin) -> Option<Connection> {
        let mut all = self.kept();
        let kept = all.get_mut(origin)?;
        if let Some((sender, used)) = &mut kept.http2 {
            if !sender.is_closed() {
                *used = Instant::now();
                return Some(Connection::Http2(sender.clone()));
            }
            kept.http2 = None;
        }
        while let Some((sender, since)) = kept.http1.pop() {
            if since.elapsed() >= self.settings.pool_idle_timeout {
                // All others are older.
                kept.http1.clear();
                return None;
            }
            if !sender.is_closed() {
                return Some(Connection::Http1(sender));
            }
        }
        None
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
        let (sender, connection) = http1::handshake(io).await.map_err(broken)?;
        self.tasks.spawn(async { drop(connection.await) });
        Ok(Connection::Http1(sender))
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
            Connection::Http1(sender) => {
                if kept.http1.len() < self.settings.pool_idle_per_host_max {
                    kept.http1.push((sender, Instant::now()));
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
            http1.retain(|(sender, since)| since.elapsed() < span && !sender.is_closed());
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
    pub(crate) fn give_back(self) {
        let Self { sender, origin, pool } = self;
        if let Some(inner) = pool.upgrade()
            && !sender.is_closed()
        {
            inner.keep(origin, Connection::Http1(sender));
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

    /// As HTTP/1.1 wants it: the host in a header, and the rest as the target.
    fn relative(&self, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
        if let Ok(host) = HeaderValue::from_str(self.authority.as_str()) {
            request.headers_mut().entry(header::HOST).or_insert(host);
        }
        request
    }

    /// The opposite, for a request that goes over another connection.
    fn absolute(&self, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(if self.is_secure { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(self.authority.clone());
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        request
    }
}
