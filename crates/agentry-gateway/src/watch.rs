//! A streamed answer on its way through: within its bounds, and settled when it is over.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agentry_alarm::Alarm;
use agentry_balance::{Blame, Picked};
use agentry_core::Failure as _;
use agentry_core::chat::{Event, Usage};
use agentry_core::model::{ModelError, Waiting};
use agentry_core::relay::Frame;
use futures_util::{Stream, StreamExt as _};
use tokio::time::Instant;

use crate::dispatch::after;
use crate::settle::Settlement;

/// A piece of a streamed answer, in whichever form.
pub(crate) trait Piece: Send + Unpin + 'static {
    /// Whether nothing of the answer itself is in it yet.
    fn is_head(&self) -> bool;
    fn usage(&self) -> Option<&Usage>;
    /// Whether it says why the answer ended.
    fn is_finish(&self) -> bool;
    /// Whether the answer is complete with it.
    fn is_end(&self) -> bool;
}

impl Piece for Event {
    fn is_head(&self) -> bool {
        matches!(self, Self::Started(_))
    }

    fn usage(&self) -> Option<&Usage> {
        if let Self::Usage(usage) = self { Some(usage) } else { None }
    }

    fn is_finish(&self) -> bool {
        matches!(self, Self::Finished { .. })
    }

    fn is_end(&self) -> bool {
        *self == Self::Done
    }
}

impl Piece for Frame {
    fn is_head(&self) -> bool {
        !self.marks.says && !self.marks.done
    }

    fn usage(&self) -> Option<&Usage> {
        self.marks.usage.as_deref()
    }

    fn is_finish(&self) -> bool {
        self.marks.finish.is_some()
    }

    fn is_end(&self) -> bool {
        self.marks.done
    }
}

pub(crate) type Pieces<P> = Pin<Box<dyn Stream<Item = Result<P, ModelError>> + Send>>;

/// An answer of which something was said, but nothing handed out.
pub(crate) struct Opening<P> {
    said: VecDeque<P>,
    rest: Pieces<P>,
}

/// Whoever clears his throat more often has begun to speak.
const HEADS_MAX: usize = 16;

/// Waits for the first piece that carries anything. Until then a failure may be mended by asking again.
pub(crate) async fn open<P: Piece>(mut stream: Pieces<P>) -> Result<Opening<P>, ModelError> {
    let mut said = VecDeque::new();
    loop {
        let piece = stream.next().await.ok_or(ModelError::Truncated)??;
        let is_head = piece.is_head();
        said.push_back(piece);
        if !is_head || said.len() >= HEADS_MAX {
            return Ok(Opening { said, rest: stream });
        }
    }
}

/// By whom and for how long an answer is watched.
pub(crate) struct Watch {
    pub(crate) settlement: Settlement,
    pub(crate) picked: Picked,
    pub(crate) idle: Duration,
    pub(crate) end: Instant,
}

pub(crate) fn watch<P: Piece>(opening: Opening<P>, watch: Watch) -> Pieces<P> {
    let Opening { said, rest } = opening;
    let Watch { settlement, picked, idle, end } = watch;
    let alarm = Alarm::new(end.min(after(Instant::now(), idle)));
    Box::pin(Watched {
        said,
        rest: Some(rest),
        settlement,
        picked: Some(picked),
        idle,
        end,
        alarm,
        start: Instant::now(),
    })
}

struct Watched<P> {
    said: VecDeque<P>,
    /// Gone once the answer has ended, well or badly: the upstream's connection is let go at once.
    rest: Option<Pieces<P>>,
    settlement: Settlement,
    /// Until the target was told how it went.
    picked: Option<Picked>,
    start: Instant,
    idle: Duration,
    end: Instant,
    alarm: Alarm,
}

impl<P: Piece> Watched<P> {
    fn see(&mut self, piece: &P) {
        if let Some(usage) = piece.usage() {
            self.settlement.uses(usage);
        }
        if piece.is_finish() {
            self.settlement.completes();
        }
        if piece.is_end() {
            self.settlement.finish();
            self.rest = None;
            if let Some(picked) = self.picked.take() {
                picked.succeed(Instant::now().into_std());
            }
        }
    }

    fn fail(&mut self, error: ModelError) -> Poll<Option<Result<P, ModelError>>> {
        self.rest = None;
        self.settlement.fail(error.code());
        if let Some(picked) = self.picked.take() {
            picked.fail(Instant::now().into_std(), Blame::of(&error));
        }
        Poll::Ready(Some(Err(error)))
    }
}

impl<P: Piece> Stream for Watched<P> {
    type Item = Result<P, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(piece) = this.said.pop_front() {
            this.see(&piece);
            return Poll::Ready(Some(Ok(piece)));
        }
        let Some(rest) = &mut this.rest else {
            return Poll::Ready(None);
        };
        match rest.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                let now = Instant::now();
                if now >= this.end {
                    let after = this.start.elapsed();
                    return this.fail(ModelError::TimedOut { waiting: Waiting::End, after });
                }
                this.alarm.set(this.end.min(after(now, this.idle)));
                this.see(&piece);
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(Some(Err(error))) => this.fail(error),
            Poll::Ready(None) => this.fail(ModelError::Truncated),
            Poll::Pending => {
                ready!(this.alarm.poll(cx));
                let (waiting, after) = if Instant::now() >= this.end {
                    (Waiting::End, this.start.elapsed())
                } else {
                    (Waiting::NextEvent, this.idle)
                };
                this.fail(ModelError::TimedOut { waiting, after })
            }
        }
    }
}
