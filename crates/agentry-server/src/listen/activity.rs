//! Knows whether a connection has a request in flight, and since when not.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, sleep, sleep_until};

#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    in_flight: usize,
    quiet_since: Instant,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { in_flight: 0, quiet_since: Instant::now() })))
    }

    /// Counts a request until the guard is dropped.
    pub(super) fn begin(&self) -> InFlight {
        self.with(|state| state.in_flight += 1);
        InFlight(self.clone())
    }

    /// Returns once there has been no request in flight for `limit`.
    pub(super) async fn quiet_for(&self, limit: Duration) {
        loop {
            let (in_flight, since) = self.with(|state| (state.in_flight, state.quiet_since));
            if in_flight > 0 {
                sleep(limit).await;
            } else if since.elapsed() < limit {
                sleep_until(since + limit).await;
            } else {
                return;
            }
        }
    }

    fn with<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request that has not been answered completely.
#[derive(Debug)]
pub(super) struct InFlight(Activity);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.in_flight = state.in_flight.saturating_sub(1);
            state.quiet_since = Instant::now();
        });
    }
}

/// A response body that keeps its request in flight until it is sent or dropped.
pub(super) struct Counted {
    body: Body,
    _in_flight: InFlight,
}

impl Counted {
    pub(super) fn new(body: Body, in_flight: InFlight) -> Self {
        Self { body, _in_flight: in_flight }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
