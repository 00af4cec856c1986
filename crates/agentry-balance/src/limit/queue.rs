//! Who waits, in which order, and who gives way. Pure.

use std::collections::{HashMap, VecDeque};

use crate::limit::Priority;

/// Higher priorities first; within one, the callers take turns, and each caller's own calls come in their order.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    high: Level<T>,
    normal: Level<T>,
    low: Level<T>,
    len: usize,
    number: u64,
}

/// Where somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    priority: Priority,
    caller: u64,
    number: u64,
}

#[derive(Debug)]
struct Level<T> {
    /// Each caller that waits, once.
    turns: VecDeque<u64>,
    waiting: HashMap<u64, VecDeque<(u64, T)>>,
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Self { turns: VecDeque::new(), waiting: HashMap::new() }
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let (high, normal, low) = Default::default();
        Self { high, normal, low, len: 0, number: 0 }
    }
}

impl<T> Queue<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, priority: Priority, caller: u64, item: T) -> Place {
        self.number += 1;
        self.len += 1;
        let number = self.number;
        let level = self.level(priority);
        let line = level.waiting.entry(caller).or_default();
        if line.is_empty() {
            level.turns.push_back(caller);
        }
        line.push_back((number, item));
        Place { priority, caller, number }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let item = Priority::ALL.into_iter().find_map(|priority| self.level(priority).pop())?;
        self.len -= 1;
        Some(item)
    }

    pub(crate) fn remove(&mut self, place: Place) -> Option<T> {
        let Place { priority, caller, number } = place;
        let item = self
            .level(priority)
            .take(caller, |line| line.iter().position(|(waiting, _)| *waiting == number))?;
        self.len -= 1;
        Some(item)
    }

    /// Takes out whoever should give way to a newcomer: the latest of the lowest priority below the newcomer's; else, in
    /// the newcomer's own, the latest of the caller that has the most waiting, if that is more than the newcomer has.
    pub(crate) fn make_way(&mut self, priority: Priority, caller: u64) -> Option<T> {
        let lower = Priority::ALL.into_iter().rev().take_while(|lower| *lower < priority);
        let mut victims: Vec<(Priority, u64)> = Vec::new();
        for lower in lower {
            victims.extend(self.level(lower).longest().map(|(caller, _)| (lower, caller)));
        }
        let level = self.level(priority);
        let own = level.waiting.get(&caller).map_or(0, VecDeque::len);
        if let Some((longest, waiting)) = level.longest()
            && waiting > own + 1
        {
            victims.push((priority, longest));
        }
        let (priority, caller) = victims.into_iter().next()?;
        let item = self.level(priority).take(caller, |line| line.len().checked_sub(1))?;
        self.len -= 1;
        Some(item)
    }

    fn level(&mut self, priority: Priority) -> &mut Level<T> {
        match priority {
            Priority::High => &mut self.high,
            Priority::Normal => &mut self.normal,
            Priority::Low => &mut self.low,
        }
    }
}

impl<T> Level<T> {
    fn pop(&mut self) -> Option<T> {
        let caller = *self.turns.front()?;
        let item = self.take(caller, |_| Some(0))?;
        // `take` has struck a caller that has no more; another goes to the end.
        if self.turns.front() == Some(&caller) {
            self.turns.rotate_left(1);
        }
        Some(item)
    }

    fn take(
        &mut self,
        caller: u64,
        which: impl FnOnce(&VecDeque<(u64, T)>) -> Option<usize>,
    ) -> Option<T> {
        let line = self.waiting.get_mut(&caller)?;
        let (_, item) = line.remove(which(line)?)?;
        if line.is_empty() {
            self.waiting.remove(&caller);
            self.turns.retain(|turn| *turn != caller);
        }
        Some(item)
    }

    /// The caller with the most waiting, and how many.
    fn longest(&self) -> Option<(u64, usize)> {
        let lengths = self
            .turns
            .iter()
            .filter_map(|caller| self.waiting.get(caller).map(|line| (*caller, line.len())));
        lengths.max_by_key(|(_, waiting)| *waiting)
    }
}

#[cfg(test)]
mod tests;
