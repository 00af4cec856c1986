//! Money as integers.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use serde::{Deserialize, Serialize};

/// Millionths of a US dollar.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MicroUsd(pub i64);

impl MicroUsd {
    /// The cost of `tokens` at a price in micro-dollars per million tokens, rounded up: a budget may not leak by rounding.
    #[must_use]
    pub fn of_tokens(tokens: u64, per_million: Self) -> Self {
        let exact = i128::from(tokens) * i128::from(per_million.0);
        let rounded = exact.div_euclid(1_000_000) + i128::from(exact.rem_euclid(1_000_000) != 0);
        Self(i64::try_from(rounded).unwrap_or(i64::MAX))
    }
}

impl Add for MicroUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self(0), Add::add)
    }
}

impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let units = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:06}", units / 1_000_000, units % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_rounded_up_to_the_next_micro_dollar() {
        for (tokens, per_million, cost) in [
            (0, 150_000, 0),
            (1, 150_000, 1),
            (1_000_000, 150_000, 150_000),
            (7, 1_000_000, 7),
            (3, 600_000, 2),
        ] {
            assert_eq!(MicroUsd::of_tokens(tokens, MicroUsd(per_million)), MicroUsd(cost));
        }
        assert_eq!(MicroUsd(-1_500_000).to_string(), "-1.500000");
    }
}
