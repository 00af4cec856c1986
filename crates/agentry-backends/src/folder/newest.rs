//! The newest items of many, without keeping all of them.

use agentry_core::Timestamp;
use agentry_core::telemetry::Page;

pub(super) struct Newest<T> {
    items: Vec<T>,
    items_max: usize,
    at: fn(&T) -> Timestamp,
    dropped: bool,
}

impl<T> Newest<T> {
    pub(super) fn new(items_max: usize, at: fn(&T) -> Timestamp) -> Self {
        Self { items: Vec::new(), items_max, at, dropped: false }
    }

    pub(super) fn push(&mut self, item: T) {
        self.items.push(item);
        // Sorting once per doubling keeps the cost of an item constant, but for a logarithm.
        if self.items.len() > self.items_max.saturating_mul(2).saturating_add(1024) {
            self.compact();
        }
    }

    fn compact(&mut self) {
        self.items.sort_by_key(self.at);
        let surplus = self.items.len().saturating_sub(self.items_max);
        self.dropped |= surplus > 0;
        self.items.drain(..surplus);
    }

    /// Oldest first.
    pub(super) fn page(mut self, truncated: bool) -> Page<T> {
        self.compact();
        Page { items: self.items, truncated: truncated || self.dropped }
    }
}
