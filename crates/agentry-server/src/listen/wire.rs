//! One accepted connection as the HTTP library sees it: with deadlines on heads and on writing.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::framing::{Flawed, Framing};

/// Where the first flaw of a connection is left for the code that answers it.
pub(super) type Finding = Arc<OnceLock<Flawed>>;

pub(super) struct Wire<S> {
    stream: S,
    /// What was read to tell the protocol; handed out first.
    opening: Bytes,
    /// HTTP/1 only.
    framing: Option<Framing>,
    finding: Finding,
    head: Deadline,
    write: Deadline,
}

/// How long a [`Wire`] waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) head: Duration,
    pub(super) write_stall: Duration,
}

impl<S> Wire<S> {
    pub(super) fn http1(stream: S, opening: Bytes, patience: Patience) -> (Self, Finding) {
        let finding = Finding::default();
        let wire = Self {
            stream,
            opening,
            framing: Some(Framing::default()),
            finding: Arc::clone(&finding),
            head: Deadline::new(patience.head),
            write: Deadline::new(patience.write_stall),
        };
        (wire, finding)
    }

    pub(super) fn http2(stream: S, opening: Bytes, patience: Patience) -> Self {
        let (wire, _) = Self::http1(stream, opening, patience);
        Self { framing: None, ..wire }
    }

    fn observe(&mut self, bytes: &[u8]) {
        let Some(framing) = &mut self.framing else { return };
        let heads = framing.heads();
        if let Some(flawed) = framing.observe(bytes) {
            // Only the first counts: the connection ends with it.
            let _ = self.finding.set(flawed);
        }
        if framing.heads() != heads {
            self.head.clear();
        }
        if framing.in_head() {
            self.head.start();
        } else {
            self.head.clear();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.opening.is_empty() {
            let part = this.opening.len().min(buf.remaining());
            let bytes = this.opening.slice(..part);
            this.opening.advance(part);
            if this.opening.is_empty() {
                // With it goes the memory that it was read into.
                this.opening = Bytes::new();
            }
            this.observe(&bytes);
            buf.put_slice(&bytes);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(result) => {
                this.observe(buf.filled().get(before..).unwrap_or_default());
                Poll::Ready(result)
            }
            Poll::Pending => {
                ready!(this.head.poll(cx));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the request head took too long",
                )))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Passes on what writing said, unless it has been stuck for too long.
    fn unstuck<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.write.clear();
            return wrote;
        }
        self.write.start();
        ready!(self.write.poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the other side takes nothing of the answer",
        )))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.unstuck(cx, wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write_vectored(cx, pieces);
        this.unstuck(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A time limit that starts and stops with what it watches.
struct Deadline {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Deadline {
    fn new(limit: Duration) -> Self {
        Self { limit, sleep: None, running: false }
    }

    /// Starts counting, unless it counts already.
    fn start(&mut self) {
        if self.running {
            return;
        }
        self.running = true;
        let at = Instant::now() + self.limit;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
        }
    }

    fn clear(&mut self) {
        self.running = false;
    }

    /// Ready once the time is over; never while it does not count.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Some(sleep) if self.running => sleep.as_mut().poll(cx),
            Some(_) | None => Poll::Pending,
        }
    }
}
