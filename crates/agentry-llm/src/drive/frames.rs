//! A streamed answer that passes as it is.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use agentry_alarm::Alarm;
use agentry_core::model::ModelError;
use agentry_core::relay::{Frame, FrameStream};
use agentry_http::BodyStream;
use agentry_wire::tap::{Read, Tap};
use futures_util::Stream;
use tokio::time::Instant;

use super::{LAST_WORD, from_http_midway};

/// Passes on what arrives, event by event, until `reader` has seen the last.
pub(crate) fn frames(body: BodyStream, reader: impl Read + Unpin + 'static) -> FrameStream {
    let tap = Tap::new(reader);
    Box::pin(Frames {
        body: Some(body),
        tap,
        ready: Vec::new(),
        taken: 0,
        error: None,
        last_word: None,
    })
}

struct Frames<R> {
    /// Until the last word was heard.
    body: Option<BodyStream>,
    tap: Tap<R>,
    /// Whole events; the first `taken` of them were handed out.
    ready: Vec<Frame>,
    taken: usize,
    /// Comes after what is ready.
    error: Option<ModelError>,
    /// Runs once nothing but the last word is missing.
    last_word: Option<Alarm>,
}

impl<R: Read + Unpin> Stream for Frames<R> {
    type Item = Result<Frame, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(frame) = this.ready.get_mut(this.taken) {
                this.taken += 1;
                return Poll::Ready(Some(Ok(std::mem::take(frame))));
            }
            if let Some(error) = this.error.take() {
                return Poll::Ready(Some(Err(error)));
            }
            if this.tap.is_over() {
                return Poll::Ready(None);
            }
            this.ready.clear();
            this.taken = 0;
            let Some(body) = &mut this.body else { return Poll::Ready(None) };
            let next = match Pin::new(body).poll_next(cx) {
                Poll::Pending if this.tap.is_complete() => {
                    let alarm = this
                        .last_word
                        .get_or_insert_with(|| Alarm::new(Instant::now() + LAST_WORD));
                    ready!(alarm.poll(cx));
                    None
                }
                next => ready!(next),
            };
            let ended = match next {
                Some(Ok(bytes)) => this.tap.push(bytes, &mut this.ready),
                Some(Err(error)) => {
                    this.tap.end(Some(from_http_midway(&error))).map(|frame| this.ready.push(frame))
                }
                None => this.tap.end(None).map(|frame| this.ready.push(frame)),
            };
            this.error = ended.err();
            if this.tap.is_over()
                && this.error.is_none()
                && let Some(body) = this.body.take()
            {
                body.let_end();
            }
        }
    }
}
