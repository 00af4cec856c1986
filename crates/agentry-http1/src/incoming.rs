//! The bodies of requests.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use crate::framing::{Decoded, Framing};

/// A body of a known length comes in one piece if it is not longer than this, else in pieces of this size.
pub(crate) const PIECE_MAX: usize = 1 << 20;

/// Of a body of an unknown length so much is read at a time.
const READ_BYTES: usize = 16 << 10;

/// A read that leaves room tells that nothing more is there, and saves another one that would.
pub(crate) const SPARE: usize = 1;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The body of a request. Nothing of it is read from the connection before it is asked for.
///
/// A body whose length is known comes in one piece, however it arrives; in between, empty frames tell that some of it came,
/// and [`Arrived`] how much.
#[derive(Debug)]
pub struct Incoming(State);

#[derive(Debug)]
enum State {
    /// It came with the head, or there is none.
    Whole(Option<Bytes>),
    Live(Box<Live>),
}

/// How much of a body has come, for whoever waits for it: among the extensions of its request.
#[derive(Debug, Clone, Default)]
pub struct Arrived(Arc<AtomicU64>);

impl Arrived {
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// What is read from a connection, for as long as somebody reads it.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) read: OwnedReadHalf,
    /// What was read and belongs to nobody yet.
    pub(crate) got: BytesMut,
    /// Of the body that is being read.
    pub(crate) framing: Framing,
    /// How long the last request was: the next one may be, and then comes at once.
    pub(crate) expected: usize,
}

/// Where a line goes when its body is let go of.
#[derive(Debug, Default)]
pub(crate) struct Return(Mutex<Returned>);

#[derive(Debug, Default)]
struct Returned {
    line: Option<Line>,
    /// Nobody will read from the connection any more.
    is_broken: bool,
    /// The answer has begun: nothing may be written in between.
    is_answered: bool,
    waker: Option<Waker>,
}

impl Return {
    fn with<T>(&self, change: impl FnOnce(&mut Returned) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The line; nothing when it is broken.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Line>> {
        self.with(|returned| match returned.line.take() {
            None if !returned.is_broken => {
                returned.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            line => Poll::Ready(line),
        })
    }

    pub(crate) fn answer(&self) {
        self.with(|returned| returned.is_answered = true);
    }

    fn give(&self, line: Option<Line>) {
        let waker = self.with(|returned| {
            returned.is_broken = line.is_none();
            returned.line = line;
            returned.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Live {
    /// Until it is broken.
    line: Option<Line>,
    back: Arc<Return>,
    /// Of a body whose length is known.
    whole: BytesMut,
    asks_first: bool,
    arrived: Arrived,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("line", &self.line).finish_non_exhaustive()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.back.give(self.line.take());
    }
}

impl Incoming {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self(State::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    pub(crate) fn live(line: Line, asks_first: bool) -> (Self, Arc<Return>, Arrived) {
        let (back, arrived) = (Arc::new(Return::default()), Arrived::default());
        let live = Live {
            line: Some(line),
            back: Arc::clone(&back),
            whole: BytesMut::new(),
            asks_first,
            arrived: arrived.clone(),
        };
        (Self(State::Live(Box::new(live))), back, arrived)
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let live = match &mut self.0 {
            State::Whole(whole) => {
                return Poll::Ready(whole.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            State::Live(live) => live,
        };
        let Some(line) = &live.line else { return Poll::Ready(None) };
        let piece = if line.framing.is_over() {
            live.line_goes_back();
            return Poll::Ready(None);
        } else if line.framing.left().is_some() {
            ready!(live.poll_known(cx))
        } else {
            ready!(live.poll_chunked(cx))
        };
        if piece.is_err() {
            // What follows on the connection means nothing.
            live.line = None;
        } else if live.line.as_ref().is_some_and(|line| line.framing.is_over()) {
            live.line_goes_back();
        }
        Poll::Ready(Some(piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            State::Whole(whole) => whole.is_none(),
            State::Live(live) => live.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Whole(whole) => {
                SizeHint::with_exact(whole.as_ref().map_or(0, Bytes::len) as u64)
            }
            State::Live(live) => match live.line.as_ref().map(|line| line.framing.left()) {
                Some(Some(left)) => SizeHint::with_exact(left + live.whole.len() as u64),
                Some(None) => SizeHint::default(),
                None => SizeHint::with_exact(0),
            },
        }
    }
}

impl Live {
    fn is_over(&self) -> bool {
        self.line.as_ref().is_none_or(|line| line.framing.is_over())
    }

    /// All of the body is here: the connection may go on without waiting until it is let go of.
    fn line_goes_back(&mut self) {
        if let Some(line) = self.line.take() {
            self.back.give(Some(line));
            // What is given once is not given again.
            self.back = Arc::default();
        }
    }

    /// A client that waits to be asked is, unless it was answered already.
    fn ask(&mut self) {
        let Some(line) = &self.line else { return };
        if std::mem::take(&mut self.asks_first) && line.got.is_empty() {
            self.back.with(|returned| {
                if !returned.is_answered {
                    // A socket that nothing was written to yet takes this. If it does not, the client sends without it, later.
                    let _ = line.read.as_ref().try_write(CONTINUE);
                }
            });
        }
    }

    /// The next piece, or an empty one when there is some of it.
    fn poll_known(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.ask();
        let Self { line: Some(line), whole, arrived, .. } = self else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let mut is_new = false;
        loop {
            let left = line.framing.left().unwrap_or_default();
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            if left == 0 || whole.len() == PIECE_MAX {
                return Poll::Ready(Ok(std::mem::take(whole).freeze()));
            }
            if whole.capacity() == 0 {
                if line.got.is_empty() {
                    // Who only announced it has nothing here yet.
                    ready!(line.read.as_ref().poll_read_ready(cx))?;
                } else if line.got.len() < left.min(PIECE_MAX) {
                    // Perhaps there is room behind it for the rest.
                    *whole = std::mem::take(&mut line.got);
                    line.framing = Framing::of_length((left - whole.len()) as u64);
                    arrived.add(whole.len());
                    is_new = true;
                }
                whole.reserve(left.min(PIECE_MAX) - whole.len() + SPARE);
                continue;
            }
            let room = left.min(PIECE_MAX - whole.len());
            let read = if line.got.is_empty() {
                match pin!(line.read.read_buf(&mut (&mut *whole).limit(room + SPARE))).poll(cx) {
                    Poll::Ready(read) => {
                        let read = read?;
                        let wanted = read.min(room);
                        let end = whole.len() - (read - wanted);
                        line.got.extend_from_slice(whole.get(end..).unwrap_or_default());
                        whole.truncate(end);
                        wanted
                    }
                    Poll::Pending if is_new => return Poll::Ready(Ok(Bytes::new())),
                    Poll::Pending => return Poll::Pending,
                }
            } else {
                let here = line.got.split_to(room.min(line.got.len()));
                whole.extend_from_slice(&here);
                here.len()
            };
            if read == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            line.framing = Framing::of_length((left - read) as u64);
            arrived.add(read);
            is_new = true;
        }
    }

    fn poll_chunked(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.ask();
        let Self { line: Some(line), arrived, .. } = self else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        // Who waits holds nothing for what may come, and what came holds on to nothing but itself.
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        let mut got = std::mem::take(&mut line.got);
        if got.is_empty() {
            ready!(Pin::new(&mut line.read).poll_read(cx, &mut read))?;
        }
        let bytes = if got.is_empty() { read.filled() } else { got.as_ref() };
        if bytes.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let broken = |flaw| io::Error::new(io::ErrorKind::InvalidData, flaw);
        let Decoded { piece, rest, flaw } = line.framing.decode_copied(bytes).map_err(broken)?;
        if let Some(flaw) = flaw {
            return Poll::Ready(Err(broken(flaw)));
        }
        if rest > 0 && got.is_empty() {
            line.got.extend_from_slice(bytes.get(bytes.len() - rest..).unwrap_or_default());
        } else if rest > 0 {
            line.got = got.split_off(got.len() - rest);
        }
        arrived.add(piece.len());
        Poll::Ready(Ok(piece))
    }
}
