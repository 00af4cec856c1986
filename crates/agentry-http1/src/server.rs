//! One connection, as the side that answers sees it: one request after the other.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agentry_alarm::{Alarm, within};
use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::{Method, Request, Response, Version};
use http_body::Body;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::Instant;

use crate::framing::Framing;
use crate::incoming::{Incoming, Line, PIECE_MAX, Return, SPARE};
use crate::request::{self, Flaw, Head, Search};
use crate::response::{Asked, Out, Telling, write_head};

mod sending;

use sending::Sending;

/// How much a connection may send, and how long it is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pub head_bytes_max: usize,
    /// From the first byte of a head to its end.
    pub head: Duration,
    /// For the next request.
    pub idle: Duration,
    /// For the other side to take some of an answer.
    pub write_stall: Duration,
    /// For what is still under way when the connection is to end.
    pub linger: Duration,
}

/// Why a connection did not end between two requests.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the other side went away")]
    Gone,
    #[error("the other side took nothing of the answer for too long")]
    Stalled,
    #[error("the request head took too long")]
    SlowHead,
    #[error("the answer broke off")]
    Broken,
    #[error(transparent)]
    Refused(#[from] Flaw),
}

/// Answers the requests of a connection until either side wants no more. `opening` is what was read of it before; once `stop`
/// is ready, a request that has begun is the last.
///
/// What is no request, or means different things to different programs, is handed over as a flaw; its answer is the last.
/// Dropping the future drops what works on an answer, and so does the other side by going away.
pub async fn serve<S, F, B>(
    (stream, opening): (TcpStream, Bytes),
    patience: &Patience,
    mut service: S,
    stop: impl Future<Output = ()>,
) -> Result<(), Ended>
where
    S: FnMut(Result<Request<Incoming>, Flaw>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes>,
{
    let (read, write) = stream.into_split();
    let line = Line { read, got: BytesMut::from(opening), framing: Framing::Over, expected: 0 };
    let mut connection = Connection { line: Some(line), back: None, write, patience };
    let mut stop = Stop { stop: pin!(stop), is_over: false };
    loop {
        let head = match connection.head(&mut stop).await {
            Ok(Some(head)) => Ok(head),
            Ok(None) => return Ok(()),
            Err(Ended::Refused(flaw)) => Err(flaw),
            Err(ended) => return Err(ended),
        };
        let refused = head.as_ref().err().copied();
        let (mut asked, request) = connection.begin(head);
        let response = connection.while_there(pin!(service(request))).await?;
        asked.is_kept &= !poll_fn(|cx| Poll::Ready(stop.poll(cx))).await;
        let version = asked.version;
        let is_kept = match connection.answer(response, asked).await {
            Err(Ended::Broken) if version == Version::HTTP_10 => {
                connection.abort();
                return Err(Ended::Broken);
            }
            answered => answered?,
        };
        if !(is_kept && connection.is_free().await) {
            connection.close().await;
            return refused.map_or(Ok(()), |flaw| Err(flaw.into()));
        }
    }
}

/// A wish to stop that may be asked for again and again.
struct Stop<'a, S> {
    stop: Pin<&'a mut S>,
    is_over: bool,
}

impl<S: Future<Output = ()>> Stop<'_, S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_over = self.is_over || self.stop.as_mut().poll(cx).is_ready();
        self.is_over
    }
}

/// So much is read at a time, outside of bodies.
const READ_BYTES: usize = 8 << 10;

/// What is read of requests that nobody will answer, so that the last answer is not lost with the connection.
const LINGER_BYTES_MAX: usize = 256 << 10;

struct Connection<'a> {
    /// Unless a body has it, or it is broken.
    line: Option<Line>,
    /// Where the line comes back from its body.
    back: Option<Arc<Return>>,
    write: OwnedWriteHalf,
    patience: &'a Patience,
}

impl Connection<'_> {
    /// The next head. Nothing when there will be none.
    async fn head(
        &mut self,
        stop: &mut Stop<'_, impl Future<Output = ()>>,
    ) -> Result<Option<Head>, Ended> {
        let Patience { head_bytes_max, head, idle, linger, .. } = *self.patience;
        let Some(line) = &mut self.line else { return Ok(None) };
        let mut alarm = Alarm::new(Instant::now() + idle);
        let (mut search, mut has_begun, mut is_hurried) = (Search::default(), false, false);
        let found = poll_fn(|cx| {
            loop {
                // Even by an empty line.
                if !has_begun && !line.got.is_empty() {
                    has_begun = true;
                    alarm.set(Instant::now() + head);
                }
                if let Some(end) = request::find_end(&mut line.got, &mut search, head_bytes_max)? {
                    return Poll::Ready(Ok(Some(end)));
                }
                match line.poll_more(cx)? {
                    Poll::Ready(0) => return Poll::Ready(Ok(None)),
                    Poll::Ready(_) => continue,
                    Poll::Pending => {}
                }
                if stop.poll(cx) {
                    if !has_begun {
                        return Poll::Ready(Ok(None));
                    }
                    if !std::mem::replace(&mut is_hurried, true) {
                        alarm.set(alarm.until().min(Instant::now() + linger));
                    }
                }
                ready!(alarm.poll(cx));
                return Poll::Ready(if has_begun { Err(Ended::SlowHead) } else { Ok(None) });
            }
        });
        let Some(end) = found.await? else { return Ok(None) };
        let bytes = line.got.split_to(end).freeze();
        let head = request::read(&bytes).map_err(Ended::Refused)?;
        line.expect(end, &head.framing);
        Ok(Some(head))
    }

    /// How a request is to be answered, and the request with its body.
    fn begin(&mut self, head: Result<Head, Flaw>) -> (Asked, Result<Request<Incoming>, Flaw>) {
        let Head { mut parts, framing, is_kept, asks_first } = match head {
            Ok(head) => head,
            Err(flaw) => {
                let asked = Asked { is_head: false, version: Version::HTTP_11, is_kept: false };
                return (asked, Err(flaw));
            }
        };
        let asked =
            Asked { is_head: parts.method == Method::HEAD, version: parts.version, is_kept };
        let here = self.line.as_mut().and_then(|line| line.take(&framing));
        let body = match (here, self.line.take()) {
            (None, Some(mut line)) => {
                line.framing = framing;
                let (body, back, arrived) = Incoming::live(line, asks_first);
                self.back = Some(back);
                parts.extensions.insert(arrived);
                body
            }
            (here, line) => {
                self.line = line;
                Incoming::whole(here.unwrap_or_default())
            }
        };
        (asked, Ok(Request::from_parts(parts, body)))
    }

    /// What `answer` comes to, unless the other side goes away before.
    async fn while_there<F: Future>(
        &mut self,
        mut answer: Pin<&mut F>,
    ) -> Result<F::Output, Ended> {
        poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Ok(response)),
            Poll::Pending => self.poll_gone(cx).map(|()| Err(Ended::Gone)),
        })
        .await
    }

    /// Ready when the other side goes away, as far as that can be seen: not while there is something to read.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(back) = &self.back {
            self.line = ready!(back.poll(cx));
            self.back = None;
        }
        let Some(line) = &mut self.line else { return Poll::Pending };
        while line.framing.is_over() && line.got.len() < self.patience.head_bytes_max {
            // Whoever has sent a large request may not have another one held in memory before its turn.
            match ready!(line.poll_some(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Writes an answer. Says whether another one may follow.
    async fn answer<B: Body<Data = Bytes>>(
        &mut self,
        response: Response<B>,
        mut asked: Asked,
    ) -> Result<bool, Ended> {
        if let Some(back) = &self.back {
            back.answer();
            if let Poll::Ready(line) = poll_fn(|cx| Poll::Ready(back.poll(cx))).await {
                self.line = line;
                self.back = None;
            }
        }
        // What nobody wants to read is the last thing on its connection.
        asked.is_kept &= self.back.is_some() || self.is_read();
        let (parts, body) = response.into_parts();
        let telling = Telling::of(&asked, parts.status, body.size_hint().exact());
        asked.is_kept &= telling != Telling::Close;
        asked.is_kept &= !request::says(&parts.headers, &CONNECTION, "close");
        let mut out = Out::default();
        write_head(&mut out, (parts.status, &parts.headers), (&asked, telling));
        drop(parts);
        let mut sending = Sending::new(out, telling, self.patience.write_stall);
        let mut body = pin!(body);
        poll_fn(|cx| {
            loop {
                sending.fill(cx, body.as_mut());
                if let Some(ended) = sending.ended() {
                    return Poll::Ready(ended);
                }
                if sending.is_waiting() {
                    return self.poll_gone(cx).map(|()| Err(Ended::Gone));
                }
                ready!(sending.poll_write(cx, &mut self.write))?;
            }
        })
        .await?;
        Ok(asked.is_kept)
    }

    /// Whether the last request was read to its end.
    async fn is_free(&mut self) -> bool {
        self.regain(self.patience.idle).await;
        self.is_read()
    }

    fn is_read(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.framing.is_over())
    }

    /// Waits until nobody reads the body any more.
    async fn regain(&mut self, at_most: Duration) {
        if let Some(back) = self.back.take() {
            let line = within(Instant::now() + at_most, poll_fn(|cx| back.poll(cx))).await;
            self.line = line.unwrap_or(None);
        }
    }

    /// Ends the connection so that nobody takes what was sent for all of it: an orderly end is the end of an answer for some.
    fn abort(self) {
        // If it cannot be set, there is nothing else to be done.
        let _ = self.write.as_ref().set_zero_linger();
        self.write.forget();
    }

    /// Ends the connection so that the last answer arrives: closing with bytes unread would take it back.
    async fn close(&mut self) {
        let Patience { head, linger, .. } = *self.patience;
        if self.write.shutdown().await.is_err() {
            return;
        }
        self.regain(head).await;
        let Some(line) = &mut self.line else { return };
        let mut left = LINGER_BYTES_MAX;
        let rest = poll_fn(|cx| {
            loop {
                line.got.clear();
                match ready!(line.poll_some(cx)) {
                    Ok(0) | Err(_) => return Poll::Ready(()),
                    Ok(read) if read > left => return Poll::Ready(()),
                    Ok(read) => left -= read,
                }
            }
        });
        // Whether it has said its last by then or not.
        let _ = within(Instant::now() + linger, rest).await;
    }
}

impl Line {
    /// Remembers how long a request is, if it says so.
    fn expect(&mut self, head_bytes: usize, framing: &Framing) {
        let length = framing.left().and_then(|left| usize::try_from(left).ok());
        self.expected = length.map_or(0, |length| length.saturating_add(head_bytes).min(PIECE_MAX));
    }

    /// Reads what is there: as much as a request that is like the last one.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.expected > READ_BYTES && self.got.is_empty() {
            // Until something comes, nothing is held for it.
            ready!(self.read.as_ref().poll_read_ready(cx))?;
            let mut got = BytesMut::with_capacity(self.expected + SPARE);
            let read = ready!(pin!(self.read.read_buf(&mut got)).poll(cx))?;
            self.got = got;
            return Poll::Ready(Ok(read));
        }
        self.poll_some(cx)
    }

    /// Reads a little of what is there.
    fn poll_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.read).poll_read(cx, &mut read))?;
        self.got.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// All of a body, if it is here.
    fn take(&mut self, framing: &Framing) -> Option<Bytes> {
        let length = framing.left().and_then(|left| usize::try_from(left).ok())?;
        let body = (length <= self.got.len()).then(|| self.got.split_to(length).freeze());
        if self.got.is_empty() {
            // Even an empty rest holds on to its memory.
            self.got = BytesMut::new();
        }
        body
    }
}

#[cfg(test)]
mod tests;
