//! Bytes that a recogniser looks at from a place in them: beyond either end stands a zero.

use std::ops::Range;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Hay<'a>(pub(crate) &'a [u8]);

impl<'a> Hay<'a> {
    pub(crate) fn len(self) -> usize {
        self.0.len()
    }

    pub(crate) fn at(self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or_default()
    }

    /// The byte before `at`.
    pub(crate) fn before(self, at: usize) -> u8 {
        at.checked_sub(1).map_or(0, |at| self.at(at))
    }

    pub(crate) fn slice(self, range: Range<usize>) -> &'a [u8] {
        self.0.get(range).unwrap_or_default()
    }

    pub(crate) fn str(self, range: Range<usize>) -> &'a str {
        std::str::from_utf8(self.slice(range)).unwrap_or_default()
    }

    /// Where the bytes of this class that begin at `from` end.
    pub(crate) fn run(self, from: usize, class: impl Fn(u8) -> bool) -> usize {
        let rest = self.slice(from..self.len());
        from + rest.iter().take_while(|byte| class(**byte)).count()
    }

    /// The same, looking at `most` bytes: where a text could make many runs to one far end.
    pub(crate) fn run_within(self, from: usize, most: usize, class: impl Fn(u8) -> bool) -> usize {
        let rest = self.slice(from..self.len().min(from + most));
        from + rest.iter().take_while(|byte| class(**byte)).count()
    }

    /// Where the bytes of this class that end at `to` begin; looks at `most` bytes.
    pub(crate) fn run_back(self, to: usize, most: usize, class: impl Fn(u8) -> bool) -> usize {
        let rest = self.slice(to.saturating_sub(most)..to);
        to - rest.iter().rev().take_while(|byte| class(**byte)).count()
    }

    /// The first place at or after `at` where a character begins.
    pub(crate) fn boundary(self, at: usize) -> usize {
        self.run(at, |byte| byte & 0xC0 == 0x80)
    }
}

pub(crate) fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A letter that may stand in a name before the `@`: ASCII, or Latin with accents (as bytes of UTF-8).
pub(crate) fn is_latin(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, 0x80..=0xBF | 0xC3..=0xC9)
}
