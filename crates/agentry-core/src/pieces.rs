//! A body in pieces, so that a small change of a large one copies little.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Bytes that follow each other, none of the pieces empty.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Pieces {
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// All of it in one piece: copied, unless it is one already.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        if self.pieces.len() <= 1 {
            return self.pieces.pop_front().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(self.bytes);
        for piece in &self.pieces {
            whole.extend_from_slice(piece);
        }
        whole.freeze()
    }

    /// Whether one of the pieces has what is looked for. What lies across two of them is not found.
    pub fn any(&self, has: impl Fn(&[u8]) -> bool) -> bool {
        self.pieces.iter().any(|piece| has(piece))
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map(Bytes::as_ref).unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pairs = slices.iter_mut().zip(&self.pieces);
        pairs.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    /// Goes no further than to the end.
    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.pieces.front_mut() {
            let now = count.min(first.len());
            first.advance(now);
            self.bytes -= now;
            count -= now;
            if !first.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
    }
}

impl<B: Into<Bytes>> From<B> for Pieces {
    fn from(whole: B) -> Self {
        let mut pieces = Self::default();
        pieces.push(whole.into());
        pieces
    }
}

impl FromIterator<Bytes> for Pieces {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut all = Self::default();
        pieces.into_iter().for_each(|piece| all.push(piece));
        all
    }
}

/// The bytes count, not how they are cut.
impl PartialEq for Pieces {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.iter().flatten().eq(other.iter().flatten())
    }
}

impl Eq for Pieces {}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(parts: &[&'static str]) -> Pieces {
        parts.iter().map(|part| Bytes::from_static(part.as_bytes())).collect()
    }

    #[test]
    fn what_was_taken_is_gone_whatever_the_pieces_are() {
        let check = |parts: &[&'static str], count: usize, left: &'static str| {
            let mut pieces = pieces(parts);
            pieces.advance(count);
            assert_eq!(pieces.len(), left.len(), "{parts:?} without {count}");
            let mut slices = [IoSlice::new(&[]); 8];
            let count = pieces.chunks_vectored(&mut slices);
            let seen: Vec<u8> =
                slices.iter().take(count).flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(seen, left.as_bytes());
            assert_eq!(pieces.into_bytes(), left);
        };
        check(&["abc", "", "de", "f"], 0, "abcdef");
        check(&["abc", "", "de", "f"], 2, "cdef");
        check(&["abc", "", "de", "f"], 3, "def");
        check(&["abc", "", "de", "f"], 4, "ef");
        check(&["abc", "", "de", "f"], 6, "");
        check(&["abc"], 9, "");
        check(&[], 1, "");
    }

    #[test]
    fn two_are_the_same_when_their_bytes_are() {
        assert_eq!(pieces(&["ab", "c"]), pieces(&["a", "bc"]));
        assert_ne!(pieces(&["ab", "c"]), pieces(&["ab", "d"]));
        assert_ne!(pieces(&["ab"]), pieces(&["ab", "c"]));
    }
}
