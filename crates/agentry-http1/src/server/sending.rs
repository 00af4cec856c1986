//! An answer on its way out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agentry_alarm::Alarm;
use bytes::Bytes;
use http_body::Body;
use tokio::io::AsyncWrite as _;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::Instant;

use super::Ended;
use crate::response::{Out, Telling};

/// So much of a body is gathered before it is written.
const GATHERED_MAX: usize = 64 << 10;

/// So many pieces are written at once.
const PIECES_MAX: usize = 16;

pub(super) struct Sending {
    out: Out,
    telling: Telling,
    /// Nothing more is asked of the body.
    is_over: bool,
    is_broken: bool,
    stall: Duration,
    /// While the other side takes nothing.
    stalled: Option<Alarm>,
}

impl Sending {
    pub(super) fn new(out: Out, telling: Telling, stall: Duration) -> Self {
        let is_over = matches!(telling, Telling::None | Telling::Length(0));
        Self { out, telling, is_over, is_broken: false, stall, stalled: None }
    }

    /// Takes what the body has.
    pub(super) fn fill<B: Body<Data = Bytes>>(
        &mut self,
        cx: &mut Context<'_>,
        mut body: Pin<&mut B>,
    ) {
        while !self.is_over && self.out.len() < GATHERED_MAX {
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are not passed on.
                    self.take(frame.into_data().unwrap_or_default());
                    if body.is_end_stream() {
                        self.end();
                    }
                }
                Poll::Ready(Some(Err(_))) => (self.is_over, self.is_broken) = (true, true),
                Poll::Ready(None) => self.end(),
                Poll::Pending => return,
            }
        }
    }

    fn take(&mut self, mut data: Bytes) {
        match &mut self.telling {
            Telling::Chunks => self.out.push_chunk(data),
            Telling::Close => self.out.push(data),
            Telling::Length(left) => {
                let room = usize::try_from(*left).unwrap_or(usize::MAX);
                // More than was announced would be read as the next answer.
                self.is_broken |= data.len() > room;
                data.truncate(room);
                *left -= data.len() as u64;
                self.is_over |= *left == 0;
                self.out.push(data);
            }
            Telling::None => {}
        }
    }

    fn end(&mut self) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        match self.telling {
            Telling::Chunks => self.out.push_last_chunk(),
            Telling::Length(left) => self.is_broken |= left > 0,
            Telling::Close | Telling::None => {}
        }
    }

    /// How it ended, once everything is written.
    pub(super) fn ended(&self) -> Option<Result<(), Ended>> {
        let is_done = self.is_over && self.out.is_empty();
        let ended = if self.is_broken { Err(Ended::Broken) } else { Ok(()) };
        is_done.then_some(ended)
    }

    /// Whether there is nothing to write yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.out.is_empty()
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        write: &mut OwnedWriteHalf,
    ) -> Poll<Result<(), Ended>> {
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let count = self.out.slices(&mut slices);
        let slices = slices.get(..count).unwrap_or_default();
        match Pin::new(write).poll_write_vectored(cx, slices) {
            Poll::Ready(Ok(0)) => {
                Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into()))
            }
            Poll::Ready(Ok(wrote)) => {
                self.out.advance(wrote);
                self.stalled = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => {
                let stall = self.stall;
                let alarm = self.stalled.get_or_insert_with(|| Alarm::new(Instant::now() + stall));
                ready!(alarm.poll(cx));
                Poll::Ready(Err(Ended::Stalled))
            }
        }
    }
}
