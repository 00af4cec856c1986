//! Pieces of one text that resemble each other, each written down as what is new in it.
//!
//! The events of a streamed answer repeat nearly all of the event before them: what is kept of it, or held for callers who
//! may still join, takes a tenth of the room this way.

use bytes::Bytes;

/// Pieces in their order. Nothing of them is lost but where one ends and the next begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folded {
    /// For each piece three numbers (what it has in common with the one before at the beginning and at the end, and how long
    /// the rest is), and the rest.
    steps: Vec<u8>,
    last: Vec<u8>,
    length: usize,
}

impl Folded {
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let mut folded = Self::default();
        folded.push(text);
        folded
    }

    /// Adds a text, which is cut behind its blank lines: events that come together resemble each other too.
    pub fn push(&mut self, text: &[u8]) {
        let mut from = 0;
        for at in memchr::memmem::find_iter(text, b"\n\n") {
            self.add(text.get(from..at + 2).unwrap_or_default());
            from = at + 2;
        }
        self.add(text.get(from..).unwrap_or_default());
    }

    fn add(&mut self, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        let start = common(&self.last, piece);
        let (_, old) = self.last.split_at(start);
        let (_, new) = piece.split_at(start);
        let end = common_end(old, new);
        let (rest, _) = new.split_at(new.len() - end);
        make_room(&mut self.steps, NUMBERS_MAX + rest.len());
        for number in [start, end, rest.len()] {
            write(&mut self.steps, number);
        }
        self.steps.extend_from_slice(rest);
        self.last.clear();
        self.last.reserve_exact(piece.len());
        self.last.extend_from_slice(piece);
        self.length += piece.len();
    }

    /// How long the text is.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.length
    }

    /// How much memory it takes, but for its own place.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.steps.capacity() + self.last.capacity()
    }

    /// Nothing is added any more.
    #[must_use]
    pub fn closed(mut self) -> Self {
        self.last = Vec::new();
        self.steps.shrink_to_fit();
        self
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> Bytes {
        let mut text = Vec::with_capacity(self.length);
        let (mut steps, mut last) = (self.steps.as_slice(), 0..0);
        while let Some(((start, end), rest)) = step(&mut steps) {
            let begin = text.len();
            text.extend_from_within(last.start..last.start + start);
            text.extend_from_slice(rest);
            text.extend_from_within(last.end - end..last.end);
            last = begin..text.len();
        }
        text.into()
    }
}

/// How long the three numbers of a step get in texts of up to two megabytes; longer ones grow as they may.
const NUMBERS_MAX: usize = 9;

/// Thousands of streams are under way at once, and most are short: doubling would waste more than they say.
fn make_room(steps: &mut Vec<u8>, more: usize) {
    const STEP: usize = 256;
    if steps.capacity() - steps.len() < more {
        steps.reserve_exact(more.max(STEP).max(steps.len() / 4));
    }
}

/// What both begin with.
fn common(one: &[u8], other: &[u8]) -> usize {
    const BLOCK: usize = 16;
    let (ours, _) = one.as_chunks::<BLOCK>();
    let (theirs, _) = other.as_chunks::<BLOCK>();
    let blocks = ours.iter().zip(theirs).take_while(|(one, other)| one == other).count();
    let from = blocks * BLOCK;
    let rest = one.iter().skip(from).zip(other.iter().skip(from));
    from + rest.take_while(|(one, other)| one == other).count()
}

/// What both end with.
fn common_end(one: &[u8], other: &[u8]) -> usize {
    const BLOCK: usize = 16;
    let (_, ours) = one.as_rchunks::<BLOCK>();
    let (_, theirs) = other.as_rchunks::<BLOCK>();
    let blocks = ours.iter().rev().zip(theirs.iter().rev());
    let from = blocks.take_while(|(one, other)| one == other).count() * BLOCK;
    let rest = one.iter().rev().skip(from).zip(other.iter().rev().skip(from));
    from + rest.take_while(|(one, other)| one == other).count()
}

/// Seven bits at a time, the lowest first.
fn write(steps: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        steps.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    steps.push(number as u8);
}

fn read(steps: &mut &[u8]) -> Option<usize> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = steps.split_first()?;
        *steps = rest;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

fn step<'a>(steps: &mut &'a [u8]) -> Option<((usize, usize), &'a [u8])> {
    let (start, end, length) = (read(steps)?, read(steps)?, read(steps)?);
    let (rest, after) = steps.split_at_checked(length)?;
    *steps = after;
    Some(((start, end), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(pieces: &[Vec<u8>]) -> Folded {
        let mut folded = Folded::default();
        pieces.iter().for_each(|piece| folded.push(piece));
        folded
    }

    proptest! {
        #[test]
        fn no_byte_is_lost(
            pieces in prop::collection::vec(prop::collection::vec(0_u8..3, 0..300), 0..8)
        ) {
            let folded = folded(&pieces);
            let text = pieces.concat();
            prop_assert_eq!(folded.text_len(), text.len());
            prop_assert_eq!(&folded.text()[..], &text[..]);
            prop_assert_eq!(&folded.closed().text()[..], &text[..]);
        }

        #[test]
        fn a_text_may_be_cut_anywhere(text in "[ab\n]{0,200}") {
            let folded = Folded::of(text.as_bytes());
            prop_assert_eq!(&folded.text()[..], text.as_bytes());
        }
    }

    #[test]
    fn what_repeats_itself_takes_little() {
        let pieces: Vec<Vec<u8>> = (0..64)
            .map(|number| {
                let (head, tail) = ("x".repeat(150), "y".repeat(60));
                format!(
                    "data: {{\"id\":\"{head}\",\"content\":\"word{number:03}\",\"{tail}\"}}\n\n"
                )
                .into()
            })
            .collect();
        let (text, folded) = (pieces.concat(), folded(&pieces).closed());
        // However they come.
        assert_eq!(self::folded(std::slice::from_ref(&text)).closed(), folded);
        assert!(folded.bytes() * 15 < text.len(), "{} of {}", folded.bytes(), text.len());
        assert_eq!(Folded::of(&text).closed(), folded);
    }
}
