//! One caller's view of an answer: its own, or one that it shares.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use agentry_alarm::within;
use agentry_core::Failure as _;
use agentry_core::chat::Event;
use agentry_core::model::{ChatStream, ModelError};
use agentry_core::relay::FrameStream;
use futures_util::{Stream, StreamExt as _, future, stream};
use tokio::time::Instant;

use crate::answer::{Answer, Found, Outcome};
use crate::cache::{Reader, Stopped, Upstream};
use crate::error::Error;
use crate::piece::{Begun, Piece};
use crate::settle::Settlement;

pub(crate) enum Source {
    Own(Upstream<Piece, Error>),
    Shared(Reader<Piece, Error>),
}

pub(crate) struct Reading {
    source: Source,
    /// Of a caller who joined: the call itself is settled where it is made.
    settlement: Option<Settlement>,
}

impl Reading {
    pub(crate) fn own(source: Source) -> Self {
        Self { source, settlement: None }
    }

    pub(crate) fn joined(reader: Reader<Piece, Error>, settlement: Settlement) -> Self {
        Self { source: Source::Shared(reader), settlement: Some(settlement) }
    }

    /// Waits for the first piece that says in which form the answer comes.
    pub(crate) async fn begin(mut self, found: Found, end: Instant) -> Result<Outcome, Error> {
        let Begun { target, attempts, cost } = match within(end, self.next()).await {
            Ok(Some(Ok(Piece::Begun(begun)))) => begun,
            Ok(Some(Err(error))) => return Err(error),
            Ok(Some(Ok(_)) | None) => {
                return Err(Error::Internal { reason: "an answer does not say whose it is" });
            }
            Err(_) => return Err(Error::TooLate),
        };
        if let Some(settlement) = &mut self.settlement {
            settlement.saves(cost);
        }
        // A target says its first word before anything is told of it, so this is no wait.
        let first =
            self.next().await.unwrap_or(Err(Error::Internal { reason: "an answer is empty" }))?;
        let answer = match first {
            Piece::Whole(response) => Answer::Whole(Box::new(Arc::unwrap_or_clone(response))),
            Piece::WholeBytes(whole) => Answer::WholeBytes(whole.body.clone()),
            Piece::Event(first) => Answer::Streamed(self.events(first)),
            Piece::Frame(first) => Answer::StreamedBytes(self.frames(first)),
            Piece::Begun(_) => return Err(Error::Internal { reason: "an answer begins twice" }),
        };
        let cost = if found == Found::Join { Some(agentry_core::MicroUsd(0)) } else { cost };
        Ok(Outcome { answer, target, attempts, cost, found })
    }

    fn events(self, first: Arc<Event>) -> ChatStream {
        let rest = self.map(|piece| match piece {
            Ok(Piece::Event(event)) => Ok(Arc::unwrap_or_clone(event)),
            Ok(_) => Err(mixed()),
            Err(error) => Err(ModelError::from(error)),
        });
        stream::once(future::ready(Ok(Arc::unwrap_or_clone(first)))).chain(rest).boxed()
    }

    fn frames(self, first: agentry_core::relay::Frame) -> FrameStream {
        let rest = self.map(|piece| match piece {
            Ok(Piece::Frame(frame)) => Ok(frame),
            Ok(_) => Err(mixed()),
            Err(error) => Err(ModelError::from(error)),
        });
        stream::once(future::ready(Ok(first))).chain(rest).boxed()
    }

    fn see(&mut self, piece: Option<&Result<Piece, Error>>) {
        let Some(settlement) = &mut self.settlement else { return };
        match piece {
            Some(Ok(piece)) if piece.is_end() => {
                settlement.finish();
            }
            Some(Ok(Piece::Event(_) | Piece::Frame(_))) => settlement.first_token(),
            Some(Ok(_)) => {}
            Some(Err(error)) => settlement.fail(error.code()),
            None => settlement.fail(ModelError::Truncated.code()),
        }
    }
}

impl Stream for Reading {
    type Item = Result<Piece, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let polled = match &mut this.source {
            Source::Own(pieces) => pieces.poll_next_unpin(cx),
            Source::Shared(reader) => reader.poll_next_unpin(cx).map_err(|stopped| match stopped {
                Stopped::Upstream(error) => error,
                Stopped::Behind => Error::Behind,
            }),
        };
        if let Poll::Ready(piece) = &polled {
            this.see(piece.as_ref());
        }
        polled
    }
}

fn mixed() -> ModelError {
    ModelError::Internal { reason: "an answer changes its form".to_owned() }
}
