//! Digits in groups: `4111 1111 1111 1111`, `078-05-1120`, `12.345.678`.

use crate::hay::{Hay, is_digit, is_word};

const GROUPS: usize = 7;

/// A run of digits and those that follow it, each after a single separator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'a> {
    pub(super) hay: Hay<'a>,
    pub(super) start: usize,
    /// The byte before the first digit.
    pub(super) before: u8,
    groups: [(usize, usize); GROUPS],
    count: usize,
}

/// The digits of some groups, without what separates them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Digits {
    bytes: [u8; 24],
    len: usize,
}

impl std::ops::Deref for Digits {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

pub(super) fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'.' | b'/')
}

impl<'a> Number<'a> {
    pub(super) fn read(hay: Hay<'a>, start: usize) -> Self {
        let mut number =
            Self { hay, start, before: hay.before(start), groups: [(0, 0); GROUPS], count: 0 };
        let mut from = start;
        for group in &mut number.groups {
            let end = hay.run(from, is_digit);
            *group = (from, end);
            number.count += 1;
            if !(is_separator(hay.at(end)) && is_digit(hay.at(end + 1))) {
                break;
            }
            from = end + 1;
        }
        number
    }

    pub(super) fn first_end(&self) -> usize {
        self.group(0).1
    }

    fn group(&self, at: usize) -> (usize, usize) {
        self.groups.get(at).copied().unwrap_or_default()
    }

    /// How many digits the group has; none beyond the last.
    pub(super) fn len(&self, at: usize) -> usize {
        if at >= self.count {
            return 0;
        }
        let (from, to) = self.group(at);
        to - from
    }

    /// Where the first `count` groups end.
    pub(super) fn end(&self, count: usize) -> usize {
        self.group(count - 1).1
    }

    /// Whether it has groups of these lengths, all separated by the same one of `separators`.
    pub(super) fn has_shape(&self, lens: &[usize], separators: &[u8]) -> bool {
        let separator = self.separator(1);
        lens.iter().enumerate().all(|(at, len)| self.len(at) == *len)
            && (lens.len() == 1
                || separators.contains(&separator)
                    && (1..lens.len()).all(|at| self.separator(at) == separator))
    }

    /// The byte before the group.
    pub(super) fn separator(&self, at: usize) -> u8 {
        if at >= self.count { 0 } else { self.hay.before(self.group(at).0) }
    }

    /// The digits of the first `count` groups, as many as a number may have.
    pub(super) fn digits(&self, count: usize) -> Digits {
        let mut digits = Digits { bytes: [0; 24], len: 0 };
        for (from, to) in self.groups.iter().take(count) {
            for byte in self.hay.slice(*from..*to) {
                if let Some(slot) = digits.bytes.get_mut(digits.len) {
                    *slot = *byte;
                    digits.len += 1;
                }
            }
        }
        digits
    }

    /// Whether it begins here: not inside a word, a decimal, or a longer number with the same separator.
    pub(super) fn begins(&self) -> bool {
        let chained = is_separator(self.before)
            && self.start.checked_sub(1).is_some_and(|at| is_digit(self.hay.before(at)));
        !is_word(self.before)
            && !matches!(self.before, b'+' | b'.' | b',' | b'$' | b'#')
            && !(chained && (self.before != b' ' || self.separator(1) == b' '))
    }

    /// Whether the first `count` groups are a number of their own.
    pub(super) fn ends(&self, count: usize) -> bool {
        ends(self.hay, self.end(count))
            && !(count > 1 && count < self.count && self.separator(count) == self.separator(1))
    }
}

/// Whether a number may end before the byte at `end`.
pub(super) fn ends(hay: Hay<'_>, end: usize) -> bool {
    let (next, after) = (hay.at(end), hay.at(end + 1));
    let goes_on = matches!(next, b'.' | b'-' | b',') && is_digit(after);
    !(is_word(next) || goes_on || next == b'%')
}
