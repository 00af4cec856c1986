//! What was invalidated lately, so that answers that were under way then are not taken in.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Key;
use super::tags::Tags;

/// When a lookup missed, in the order of invalidations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// So many invalidations are remembered one by one. An answer that was under way before all of them is not taken in.
const MARKS_MAX: usize = 1_024;

#[derive(Default)]
pub(super) struct Marks {
    /// How many invalidations there were.
    count: AtomicU64,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    /// The number of the last invalidation that is forgotten, or that was of everything.
    forgotten: u64,
    marks: VecDeque<(u64, Mark)>,
}

pub(super) enum Mark {
    Tag(Box<str>),
    Key(Key),
}

impl Marks {
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.count.load(Ordering::Acquire))
    }

    pub(super) fn mark(&self, mark: Mark) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.count.fetch_add(1, Ordering::AcqRel) + 1;
        if recent.marks.len() == MARKS_MAX
            && let Some((oldest, _)) = recent.marks.pop_front()
        {
            recent.forgotten = oldest;
        }
        recent.marks.push_back((number, mark));
    }

    pub(super) fn mark_all(&self) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.forgotten = self.count.fetch_add(1, Ordering::AcqRel) + 1;
        recent.marks.clear();
    }

    /// Does `insert` unless the key or one of the tags was invalidated after the ticket. No invalidation comes in between.
    pub(super) fn unless_invalidated(
        &self,
        key: &Key,
        tags: &Tags,
        ticket: Ticket,
        insert: impl FnOnce(),
    ) -> bool {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut later = recent.marks.iter().rev().take_while(|(number, _)| *number > ticket.0);
        let struck = later.any(|(_, mark)| match mark {
            Mark::Tag(tag) => tags.contains(tag),
            Mark::Key(marked) => marked == key,
        });
        if struck || ticket.0 < recent.forgotten {
            return false;
        }
        insert();
        true
    }
}
