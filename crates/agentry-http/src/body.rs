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
use crate::http1::Transfer;
use crate::pool::Lease;
use crate::{Deadlines, after};

/// Chunks of a response body. It ends after its first error; dropping it cancels the call.
#[derive(Debug)]
pub struct BodyStream {
    source: Source,
    start: Instant,
    total_at: Instant,
    idle: Duration,
    /// For the next chunk.
    alarm: Alarm,
}

/// Where a body comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// With where its connection goes at a good end.
    Http1(Transfer, Lease),
    Http2(Incoming),
    /// It has ended, well or badly.
    Over,
}

impl BodyStream {
    pub(crate) fn new(source: Source, (start, deadlines): (Instant, &Deadlines)) -> Self {
        let total_at = after(start, deadlines.total);
        let until = total_at.min(after(Instant::now(), deadlines.idle));
        let alarm = Alarm::new(until);
        let mut body = Self { source, start, total_at, idle: deadlines.idle, alarm };
        body.end_if_over();
        body
    }

    /// Lets go of the connection as soon as nothing more can come over it.
    fn end_if_over(&mut self) {
        let is_over = match &self.source {
            Source::Http1(transfer, _) => transfer.is_over(),
            Source::Http2(incoming) => incoming.is_end_stream(),
            Source::Over => false,
        };
        if is_over {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Source::Http1(transfer, lease) = std::mem::replace(&mut self.source, Source::Over)
            && let Some(connection) = transfer.into_connection()
        {
            lease.give_back(connection);
        }
    }

    /// Nothing more is wanted of it. If it ends by itself soon, as one does whose last word was heard, its connection is used
    /// again.
    pub fn let_end(self) {
        if let Source::Http1(_, lease) = &self.source
            && let Some(tasks) = lease.tasks()
        {
            tasks.spawn(end_soon(self));
        }
    }

    /// Whether it is known that nothing more will come.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.source, Source::Over)
    }

    /// How much is still to come, if that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match &self.source {
            Source::Http1(transfer, _) => transfer.left(),
            Source::Http2(incoming) => incoming.size_hint().exact(),
            Source::Over => Some(0),
        }
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
            match this.source.poll_piece(cx) {
                Poll::Ready(Some(Ok(piece))) => {
                    let now = Instant::now();
                    if now >= this.total_at {
                        let error = this.timed_out();
                        this.source = Source::Over;
                        return Poll::Ready(Some(Err(error)));
                    }
                    this.alarm.set(this.total_at.min(after(now, this.idle)));
                    this.end_if_over();
                    if !piece.is_empty() {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
                Poll::Ready(Some(Err(reason))) => {
                    this.source = Source::Over;
                    return Poll::Ready(Some(Err(Error::Broken { reason })));
                }
                Poll::Ready(None) => {
                    this.end();
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    ready!(this.alarm.poll(cx));
                    let error = this.timed_out();
                    this.source = Source::Over;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

/// A piece that is smaller does not hold on to the buffer that it was read into.
const SMALL: usize = 4096;

impl Source {
    /// The next piece, perhaps an empty one, or why there is none.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, String>>> {
        match self {
            Self::Over => Poll::Ready(None),
            Self::Http1(transfer, _) => transfer.poll_piece(cx).map_err(|broken| reason(&broken)),
            Self::Http2(incoming) => Pin::new(incoming).poll_frame(cx).map(|frame| {
                let piece = frame?.map(|frame| frame.into_data().unwrap_or_default());
                let piece = piece.map(|piece| match piece.len() {
                    SMALL.. => piece,
                    _ => Bytes::copy_from_slice(&piece),
                });
                Some(piece.map_err(|error| reason(&error)))
            }),
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
