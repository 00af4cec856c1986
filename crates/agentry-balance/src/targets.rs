//! A few of a pool's targets.

use std::fmt;

/// A set of target numbers from 0 to 63, as big as a number.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Targets(u64);

impl Targets {
    pub const NONE: Self = Self(0);
    /// How many targets a pool can have.
    pub const MAX: usize = 64;

    /// A number beyond 63 is in no set.
    #[must_use]
    pub const fn one(target: usize) -> Self {
        if target < Self::MAX { Self(1 << target) } else { Self::NONE }
    }

    /// The first `count`.
    #[must_use]
    pub const fn first(count: usize) -> Self {
        if count < Self::MAX { Self((1 << count) - 1) } else { Self(u64::MAX) }
    }

    pub const fn insert(&mut self, target: usize) {
        self.0 |= Self::one(target).0;
    }

    #[must_use]
    pub const fn contains(self, target: usize) -> bool {
        self.0 & Self::one(target).0 != 0
    }

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }
}

/// From the lowest number up.
impl Iterator for Targets {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let target = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (target < Self::MAX).then_some(target)
    }
}

impl FromIterator<usize> for Targets {
    fn from_iter<I: IntoIterator<Item = usize>>(targets: I) -> Self {
        targets.into_iter().fold(Self::NONE, |set, target| set.or(Self::one(target)))
    }
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(*self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        for members in [vec![], vec![0], vec![63], vec![1, 2, 40], (0..64).collect()] {
            let set: Targets = members.iter().copied().collect();
            assert_eq!(set.collect::<Vec<_>>(), members);
            assert_eq!(set.len(), members.len());
            assert_eq!(set.is_empty(), members.is_empty());
            assert!((0..70).all(|target| set.contains(target) == members.contains(&target)));
        }
        assert_eq!(Targets::first(64).len(), 64);
        assert_eq!(Targets::first(3).without(Targets::one(1)), [0, 2].into_iter().collect());
    }
}
