//! HTTP/1.1 over one connection, one exchange at a time.
//!
//! Nobody drives a connection but who waits for its response, and an idle one holds nothing but its socket: what is read is
//! taken apart on the stack and handed out in pieces of their own size.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};

use agentry_core::Pieces;
use bytes::{Buf as _, Bytes, BytesMut};
use http::{Method, Request, Response};
use tokio::io::{AsyncReadExt as _, ReadBuf};

mod head;
mod socket;

use agentry_http1::framing::{self, Decoded, Framing};
use head::{Flaw, Head, Outlook};
pub(crate) use socket::Io;

/// So much is read at a time while little comes, and so much once more than that was there.
const READ_BYTES: usize = 8 << 10;
const READ_BYTES_LARGE: usize = 128 << 10;

/// So many are written at once.
const PIECES_MAX: usize = 8;

/// What came instead of a response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// Nothing of the request has left: here it is.
    #[error("{1}")]
    Unsent(Box<Request<Pieces>>, io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it was closed before the response began")]
    ClosedBeforeHead,
    #[error("it was closed before the response ended")]
    ClosedEarly,
    #[error("the response is no HTTP/1.1: {0}")]
    Flaw(#[from] Flaw),
    #[error("the response is no HTTP/1.1: {0}")]
    Chunks(#[from] framing::Flaw),
}

/// An open connection without a request on it.
#[derive(Debug)]
pub(crate) struct Connection {
    io: Io,
}

impl Connection {
    pub(crate) fn new(io: Io) -> Self {
        Self { io }
    }

    /// Whether the other side has neither closed it nor said anything that nobody asked for.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        let mut cx = Context::from_waker(Waker::noop());
        self.io.poll_read(&mut cx, &mut ReadBuf::uninit(&mut byte)).is_pending()
    }

    /// Sends a request; `host` is for its head. The response may begin before all of the request has left.
    pub(crate) async fn send(
        self,
        request: Request<Pieces>,
        host: &str,
    ) -> Result<Response<Transfer>, Broken> {
        let head = head::write(&request, host);
        let (parts, body) = request.into_parts();
        let method = parts.method.clone();
        let mut exchange = Exchange {
            io: self.io,
            unsent: Unsent { head, body },
            whole: Some(Box::new(parts)),
            failed: None,
            got: BytesMut::new(),
        };
        let answered = std::future::poll_fn(|cx| exchange.poll(cx, &method)).await?;
        let (response, Outlook { framing, is_kept }, first) = answered;
        let Exchange { io, unsent, failed, whole: _, got: _ } = exchange;
        let is_kept = is_kept && failed.is_none();
        let unsent = (!unsent.is_empty() && failed.is_none()).then(|| Box::new(unsent));
        Ok(response.map(|()| Transfer {
            io,
            framing,
            is_kept,
            first,
            is_large: false,
            unsent,
            flaw: None,
        }))
    }
}

/// What of a request has not left yet.
#[derive(Debug)]
struct Unsent {
    head: Bytes,
    body: Pieces,
}

impl Unsent {
    fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    /// Calls `left` whenever some of it has.
    fn poll_write(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
        mut left: impl FnMut(),
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let [head, body @ ..] = &mut pieces;
            *head = IoSlice::new(&self.head);
            let count = 1 + self.body.chunks_vectored(body);
            let wrote = ready!(io.poll_write(cx, pieces.get(..count).unwrap_or_default()))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            left();
            let of_head = wrote.min(self.head.len());
            self.head.advance(of_head);
            self.body.advance(wrote - of_head);
        }
        // Even an empty part of it holds on to its memory.
        *self = Self { head: Bytes::new(), body: Pieces::default() };
        io.poll_flush(cx)
    }
}

/// Until the head of the response is there.
struct Exchange {
    io: Io,
    unsent: Unsent,
    /// Until some of it has left.
    whole: Option<Box<http::request::Parts>>,
    /// The request could not be written to its end: perhaps because the response is there already.
    failed: Option<io::Error>,
    /// The beginning of a head.
    got: BytesMut,
}

type Answered = (Response<()>, Outlook, Bytes);

impl Exchange {
    fn poll(&mut self, cx: &mut Context<'_>, method: &Method) -> Poll<Result<Answered, Broken>> {
        if self.failed.is_none() {
            let left = || self.whole = None;
            if let Poll::Ready(Err(error)) = self.unsent.poll_write(&mut self.io, cx, left) {
                if let Some(parts) = self.whole.take() {
                    let body = std::mem::take(&mut self.unsent.body);
                    let request = Box::new(Request::from_parts(*parts, body));
                    return Poll::Ready(Err(Broken::Unsent(request, error)));
                }
                self.failed = Some(error);
            }
        }
        loop {
            let mut space = [MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            if let Err(error) = ready!(self.io.poll_read(cx, &mut read)) {
                return Poll::Ready(Err(self.failed.take().unwrap_or(error).into()));
            }
            let read = read.filled();
            if read.is_empty() {
                let broken = self.failed.take().map_or(Broken::ClosedBeforeHead, Broken::Io);
                return Poll::Ready(Err(broken));
            }
            // Without the end of a line there is no end of a head.
            let may_end = read.contains(&b'\n');
            self.got.extend_from_slice(read);
            if (may_end || self.got.len() > head::BYTES_MAX)
                && let Some(answered) = self.read_head(method)?
            {
                return Poll::Ready(Ok(answered));
            }
        }
    }

    fn read_head(&mut self, method: &Method) -> Result<Option<Answered>, Flaw> {
        let mut rest = self.got.split().freeze();
        while let Some((length, head)) = head::read(&rest, method)? {
            rest.advance(length);
            if let Head::Last(response, outlook) = head {
                return Ok(Some((response, outlook, rest)));
            }
        }
        self.got = BytesMut::from(rest);
        Ok(None)
    }
}

/// The body of a response that is still on its way.
#[derive(Debug)]
pub(crate) struct Transfer {
    io: Io,
    framing: Framing,
    /// Whether another exchange may follow.
    is_kept: bool,
    /// What came with the head.
    first: Bytes,
    /// The last read was as large as it could be.
    is_large: bool,
    /// Of the request.
    unsent: Option<Box<Unsent>>,
    /// Comes next.
    flaw: Option<framing::Flaw>,
}

impl Transfer {
    /// How much is still to come, if that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.framing.left()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.framing.is_over()
    }

    /// The connection, once the body is over and if another request may go over it.
    pub(crate) fn into_connection(self) -> Option<Connection> {
        let is_free =
            self.is_kept && self.is_over() && self.first.is_empty() && self.unsent.is_none();
        is_free.then_some(Connection { io: self.io })
    }

    /// The next piece; an empty one says nothing. Nothing once the body is over.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Broken>>> {
        if let Some(flaw) = self.flaw.take() {
            return Poll::Ready(Some(Err(flaw.into())));
        }
        if self.is_over() {
            return Poll::Ready(None);
        }
        if let Some(unsent) = &mut self.unsent
            && let Poll::Ready(sent) = unsent.poll_write(&mut self.io, cx, || {})
        {
            // Who answers without reading all of it may have heard enough.
            self.is_kept &= sent.is_ok();
            self.unsent = None;
        }
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            let decoded = self.framing.decode(first);
            return Poll::Ready(Some(self.settle(decoded)));
        }
        let came = if self.is_large { self.read_large(cx) } else { self.read_small(cx) };
        let Some(decoded) = ready!(came)? else {
            self.is_kept = false;
            let ended = self.framing.close();
            return Poll::Ready((!ended).then_some(Err(Broken::ClosedEarly)));
        };
        Poll::Ready(Some(self.settle(Ok(decoded))))
    }

    fn settle(&mut self, decoded: Result<Decoded, framing::Flaw>) -> Result<Bytes, Broken> {
        let Decoded { piece, rest, flaw } = decoded?;
        // More than was announced belongs to nobody.
        self.is_kept &= rest == 0;
        self.flaw = flaw;
        Ok(piece)
    }

    fn read_small(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Decoded>, Broken>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(self.io.poll_read(cx, &mut read))?;
        self.is_large = read.remaining() == 0;
        let read = read.filled();
        if read.is_empty() {
            return Poll::Ready(Ok(None));
        }
        Poll::Ready(Ok(Some(self.framing.decode_copied(read)?)))
    }

    fn read_large(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Decoded>, Broken>> {
        let most = self.framing.left().and_then(|left| usize::try_from(left).ok());
        let most = most.unwrap_or(READ_BYTES_LARGE).clamp(READ_BYTES, READ_BYTES_LARGE);
        let mut space = BytesMut::with_capacity(most);
        let read = ready!(pin!(self.io.read_buf(&mut space)).poll(cx))?;
        self.is_large = read > READ_BYTES;
        if read == 0 {
            return Poll::Ready(Ok(None));
        }
        let decoded = match read < most / 2 {
            // It would hold on to much more than itself.
            true => self.framing.decode_copied(&space)?,
            false => self.framing.decode(space.freeze())?,
        };
        Poll::Ready(Ok(Some(decoded)))
    }
}

#[cfg(test)]
mod tests;
