//! Puts an answer aside as it passes, and keeps it if it turns out to be one that may be kept.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::MicroUsd;
use agentry_core::chat::{Assembly, Event, FinishReason, Usage};
use bytes::Bytes;

use crate::cache::{
    Answered, End, Folded, Form, Fresh, Guarded, Kept, Key, Levels, Tags, Ticket, admit,
};
use crate::money::Price;
use crate::piece::Piece;

pub(crate) struct Keeping {
    pub(crate) levels: Arc<Levels>,
    pub(crate) key: Key,
    pub(crate) tags: Tags,
    pub(crate) ticket: Ticket,
    /// How many choices were asked for.
    pub(crate) choices: u32,
    pub(crate) seen: Seen,
    /// For an answer that stands in for a better one.
    pub(crate) ttl_max: Option<Duration>,
}

/// An answer as far as it has passed.
#[derive(Default)]
pub(crate) enum Seen {
    #[default]
    Nothing,
    Frames {
        folded: Folded,
        finish: Option<FinishReason>,
        usage: Option<Usage>,
        done: bool,
    },
    Events(Box<Assembly>),
    Whole(Form, Option<Usage>, Vec<Option<FinishReason>>),
    /// It is longer than anything that is kept.
    TooLong,
}

impl Keeping {
    pub(crate) fn see(&mut self, piece: &Piece) {
        let bytes_max = self.levels.cache().entry_bytes_max();
        match piece {
            Piece::Begun(_) => {}
            Piece::Event(event) => self.event(event),
            Piece::Frame(frame) => {
                if matches!(self.seen, Seen::Nothing) {
                    self.seen = Seen::Frames {
                        folded: Folded::default(),
                        finish: None,
                        usage: None,
                        done: false,
                    };
                }
                let Seen::Frames { folded, finish, usage, done } = &mut self.seen else {
                    return;
                };
                folded.push(&frame.bytes);
                *finish = agentry_wire::tap::worse(finish.take(), frame.marks.finish.clone());
                *usage = frame.marks.usage.as_deref().cloned().or_else(|| usage.take());
                *done |= frame.marks.done;
                if folded.text_len() > bytes_max {
                    self.seen = Seen::TooLong;
                }
            }
            Piece::Whole(response) => {
                let finishes = response.choices.iter().map(|choice| choice.finish_reason.clone());
                let form = Form::Response(Arc::clone(response));
                self.seen = Seen::Whole(form, response.usage.clone(), finishes.collect());
            }
            Piece::WholeBytes(whole) => {
                // A copy of its own: the bytes may be a part of something larger.
                let body = Bytes::copy_from_slice(&whole.body);
                let finishes = vec![whole.finish.clone()];
                self.seen = Seen::Whole(Form::Whole(body), whole.usage.clone(), finishes);
            }
        }
    }

    fn event(&mut self, event: &Event) {
        if matches!(self.seen, Seen::Nothing) {
            self.seen = Seen::Events(Box::default());
        }
        if let Seen::Events(assembly) = &mut self.seen {
            assembly.push(event.clone());
        }
    }

    /// The answer has passed to its end.
    pub(crate) fn end(self, target: &Arc<str>, price: Option<Price>) {
        let Self { levels, key, tags, ticket, choices, seen, ttl_max } = self;
        let (form, usage, finishes) = match seen {
            Seen::Nothing | Seen::TooLong => return,
            Seen::Frames { done: false, .. } => return,
            Seen::Frames { folded, finish, usage, done: true } => {
                (Form::Frames(folded.closed()), usage, vec![finish])
            }
            Seen::Events(assembly) if !assembly.is_done() => return,
            Seen::Events(assembly) => {
                let response = assembly.into_response();
                let finishes = response.choices.iter().map(|choice| choice.finish_reason.clone());
                let (finishes, usage) = (finishes.collect(), response.usage.clone());
                (Form::Response(Arc::new(response)), usage, finishes)
            }
            Seen::Whole(form, usage, finishes) => (form, usage, finishes),
        };
        let answered = Answered {
            end: End::Reached,
            guarded: Guarded::Passed,
            choices_asked: choices,
            finishes: &finishes,
        };
        if admit(&answered).is_ok() {
            let cost: Option<MicroUsd> =
                price.zip(usage.as_ref()).map(|(price, usage)| price.of(usage));
            let kept = Arc::new(Kept::new(form, Arc::clone(target), usage, cost));
            levels.keep(Fresh { key, kept, tags, ticket, ttl_max });
        }
    }
}
