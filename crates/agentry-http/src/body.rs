//! The body of a response, as it arrives and within its deadlines.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agentry_alarm::{Alarm, within};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::error::{Error, Phase, reason};
use crate::pool::Lease;
use crate::{Deadlines, after};

/// Chunks of a response body. It ends after its first error; dropping it cancels the call.
#[derive(Debug)]
pub struct BodyStream {
    /// Gone once the body has ended, well or badly.
    incoming: Option<Incoming>,
    start: Instant,
    total_at: Instant,
    idle: Duration,
    /// For the next chunk.
    alarm: Alarm,
    /// The connection, to be given back at a good end.
    lease: Option<Lease>,
}

impl BodyStream {
    pub(crate) fn new(
        incoming: Incoming,
        lease: Option<Lease>,
        (start, deadlines): (Instant, &Deadlines),
    ) -> Self {
        let total_at = after(start, deadlines.total);
        let until = total_at.min(after(Instant::now(), deadlines.idle));
        let mut body = Self {
            incoming: Some(incoming),
            start,
            total_at,
            idle: deadlines.idle,
            alarm: Alarm::new(until),
            lease,
        };
        body.end_if_over();
        body
    }

    /// Lets go of the connection as soon as nothing more can come over it.
    fn end_if_over(&mut self) {
        if self.incoming.as_ref().is_some_and(Incoming::is_end_stream) {
            self.end();
        }
    }

    fn end(&mut self) {
        self.incoming = None;
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    /// Nothing more is wanted of it. If it ends by itself soon, as one does whose last word was heard, its connection is used
    /// again.
    pub fn let_end(self) {
        if let Some(tasks) = self.lease.as_ref().and_then(Lease::tasks) {
            tasks.spawn(end_soon(self));
        }
    }

    /// Whether it is known that nothing more will come.
    pub(crate) fn is_ended(&self) -> bool {
        self.incoming.is_none()
    }

    fn timed_out(&self) -> Error {
        if Instant::now() >= self.total_at {
            Error::TimedOut { phase: Phase::Total, after: self.start.elapsed() }
        } else {
            Error::TimedOut { phase: Phase::Idle, after: self.idle }
        }
    }
}

impl Stream for BodyStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let this = &mut *self;
            let Some(incoming) = &mut this.incoming else {
                return Poll::Ready(None);
            };
            match Pin::new(incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let now = Instant::now();
                    if now >= this.total_at {
                        let error = this.timed_out();
                        this.incoming = None;
                        return Poll::Ready(Some(Err(error)));
                    }
                    this.alarm.set(this.total_at.min(after(now, this.idle)));
                    this.end_if_over();
                    if let Ok(chunk) = frame.into_data()
                        && !chunk.is_empty()
                    {
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    this.incoming = None;
                    return Poll::Ready(Some(Err(Error::Broken { reason: reason(&error) })));
                }
                Poll::Ready(None) => this.end(),
                Poll::Pending => {
                    ready!(this.alarm.poll(cx));
                    let error = this.timed_out();
                    this.incoming = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

/// How long, and for how much, the end of a body is waited for that nobody reads.
const END_WITHIN: Duration = Duration::from_secs(1);
const END_CHUNKS_MAX: usize = 16;

async fn end_soon(mut body: BodyStream) {
    let ending = async {
        for _ in 0..END_CHUNKS_MAX {
            if body.next().await.is_none() {
                return;
            }
        }
    };
    // Whether it has ended or not: what has not is closed with it.
    let _ = within(Instant::now() + END_WITHIN, ending).await;
}
