//! One pooled HTTP client with deadlines and size bounds, for every call outward.
//!
//! HTTP/1.1 and HTTP/2, plain and over TLS with the roots of the Mozilla programme. It follows no redirects, keeps no cookies,
//! repeats no request that may have been processed, and reads no proxy settings from the environment.

use std::sync::Arc;
use std::time::Duration;

use agentry_alarm::within;
use agentry_core::Pieces;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderValue, Request, Response, header};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::Instant;

mod body;
mod connect;
mod error;
mod http1;
mod pool;
mod reach;

pub use body::BodyStream;
pub use error::{Error, Phase};
pub use reach::Reach;

use connect::Deadlined;
use pool::Pool;
use reach::Resolver;

/// What holds for every call of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For the name look-up, the TCP connection and the TLS handshake together.
    pub connect_timeout: Duration,
    /// An unused connection is closed after this long.
    pub pool_idle_timeout: Duration,
    pub pool_idle_per_host_max: usize,
    pub reach: Reach,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            pool_idle_timeout: Duration::from_secs(60),
            pool_idle_per_host_max: 256,
            reach: Reach::Anywhere,
        }
    }
}

/// How long one call may wait, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// From the start until the head of the response is there, connecting included.
    pub head: Duration,
    /// Between two chunks of the body.
    pub idle: Duration,
    /// From the start until the body has ended.
    pub total: Duration,
}

impl Deadlines {
    /// One bound on the whole call.
    #[must_use]
    pub fn within(total: Duration) -> Self {
        Self { head: total, idle: total, total }
    }
}

/// A connection that is silent for so long is asked whether anybody is there, and dropped when nobody is: a pooled
/// connection to a machine that is gone would let one call after the other run into its deadline.
const PROBE_AFTER: Duration = Duration::from_secs(20);
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// A handle on the pool; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Pool,
    reach: Arc<Reach>,
}

impl Client {
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver::new(settings.reach.clone()));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_keepalive(Some(PROBE_AFTER));
        tcp.set_keepalive_interval(Some(PROBE_TIMEOUT));
        tcp.set_keepalive_retries(Some(3));
        let tls = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(tcp);
        let connector = Deadlined::new(tls, settings.connect_timeout);
        let reach = Arc::new(settings.reach.clone());
        Self { pool: Pool::new(connector, settings.clone()), reach }
    }

    /// Sends a request and returns when the head of its response is there. Any status is a success here. Dropping the
    /// future or the body cancels the call.
    pub async fn send(
        &self,
        request: Request<impl Into<Pieces>>,
        deadlines: &Deadlines,
    ) -> Result<Response<BodyStream>, Error> {
        let mut request = request.map(Into::into);
        check_url(request.uri())?;
        self.reach
            .check(request.uri())
            .map_err(|reason| Error::InvalidUrl { url: request.uri().to_string(), reason })?;
        request
            .headers_mut()
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("agentry/", env!("CARGO_PKG_VERSION"))));
        let start = Instant::now();
        let head_by = after(start, deadlines.head.min(deadlines.total));
        let sending = self.pool.send(request);
        let response = match within(head_by, sending).await {
            Ok(sent) => sent?,
            Err(_) => {
                let phase =
                    if deadlines.head <= deadlines.total { Phase::Head } else { Phase::Total };
                return Err(Error::TimedOut { phase, after: start.elapsed() });
            }
        };
        Ok(response.map(|source| BodyStream::new(source, (start, deadlines))))
    }

    /// Sends a request and reads its whole response, of at most `bytes_max`.
    pub async fn fetch(
        &self,
        request: Request<impl Into<Pieces>>,
        deadlines: &Deadlines,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, Error> {
        let (parts, body) = self.send(request, deadlines).await?.into_parts();
        Ok(Response::from_parts(parts, read(body, bytes_max).await?))
    }
}

/// An announced length is believed up to here.
const RESERVED_MAX: usize = 1 << 20;

/// Reads a body to its end, unless it is longer than `bytes_max`.
pub async fn read(mut body: BodyStream, bytes_max: usize) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if bytes.len().saturating_add(chunk.len()) > bytes_max {
            return Err(Error::TooLarge { bytes_max });
        }
        if bytes.is_empty() && body.is_ended() {
            return Ok(chunk);
        }
        if bytes.is_empty() {
            let left = body.left().and_then(|left| usize::try_from(left).ok()).unwrap_or(0);
            bytes.reserve(chunk.len().saturating_add(left).min(bytes_max).min(RESERVED_MAX));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// A time that is too far away to be written down is as good as a year from now.
fn after(start: Instant, span: Duration) -> Instant {
    start.checked_add(span).unwrap_or_else(|| start + Duration::from_secs(365 * 86_400))
}

fn check_url(url: &http::Uri) -> Result<(), Error> {
    let reason = match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => return Ok(()),
        (Some("http" | "https"), _) => "it names no host",
        _ => "it must begin with http:// or https://",
    };
    Err(Error::InvalidUrl { url: url.to_string(), reason })
}

#[cfg(test)]
mod tests;
