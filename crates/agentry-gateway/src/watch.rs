//! A streamed answer on its way through: within its bounds, and settled when it is over.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agentry_core::chat::Event;
use agentry_core::model::{ChatStream, ModelError, Waiting};
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::after;
use crate::observe::Settlement;

/// An answer of which something was said, but nothing handed out.
pub(crate) struct Opening {
    said: VecDeque<Event>,
    rest: ChatStream,
}

/// Waits for the first event that carries anything. Until then a failure may be mended by asking again.
pub(crate) async fn open(mut stream: ChatStream) -> Result<Opening, ModelError> {
    let mut said = VecDeque::new();
    loop {
        let event = stream.next().await.ok_or(ModelError::Truncated)??;
        let is_head = matches!(event, Event::Started(_));
        said.push_back(event);
        if !is_head || said.len() > 1 {
            return Ok(Opening { said, rest: stream });
        }
    }
}

pub(crate) fn watch(
    opening: Opening,
    settlement: Settlement,
    idle: Duration,
    end: Instant,
) -> ChatStream {
    let Opening { said, rest } = opening;
    let alarm = Box::pin(sleep_until(end.min(after(Instant::now(), idle))));
    Box::pin(Watched {
        said,
        rest: Some(rest),
        settlement,
        idle,
        end,
        alarm,
        start: Instant::now(),
    })
}

struct Watched {
    said: VecDeque<Event>,
    /// Gone once the answer has ended, well or badly: the upstream's connection is let go at once.
    rest: Option<ChatStream>,
    settlement: Settlement,
    start: Instant,
    idle: Duration,
    end: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl Watched {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Usage(usage) => self.settlement.uses(usage),
            Event::Done => {
                self.settlement.finish(None);
                self.rest = None;
            }
            Event::Started(_)
            | Event::Text { .. }
            | Event::Reasoning { .. }
            | Event::Refusal { .. }
            | Event::ToolCall { .. }
            | Event::ToolArguments { .. }
            | Event::Logprobs { .. }
            | Event::Extra { .. }
            | Event::Finished { .. } => {}
        }
    }

    fn fail(&mut self, error: ModelError) -> Poll<Option<Result<Event, ModelError>>> {
        self.rest = None;
        self.settlement.fail(&error);
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Watched {
    type Item = Result<Event, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(event) = this.said.pop_front() {
            this.see(&event);
            return Poll::Ready(Some(Ok(event)));
        }
        let Some(rest) = &mut this.rest else {
            return Poll::Ready(None);
        };
        match rest.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(event))) => {
                let now = Instant::now();
                if now >= this.end {
                    let after = this.start.elapsed();
                    return this.fail(ModelError::TimedOut { waiting: Waiting::End, after });
                }
                this.alarm.as_mut().reset(this.end.min(after(now, this.idle)));
                this.see(&event);
                Poll::Ready(Some(Ok(event)))
            }
            Poll::Ready(Some(Err(error))) => this.fail(error),
            Poll::Ready(None) => this.fail(ModelError::Truncated),
            Poll::Pending => {
                ready!(this.alarm.as_mut().poll(cx));
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
