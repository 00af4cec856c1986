//! Randomness that can be repeated, and hashes that every instance agrees on.

use std::sync::atomic::{AtomicU64, Ordering};

/// Two to the 64th by the golden ratio: steps of it visit every number before one comes again.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A source of random numbers that threads share without a lock. The same seed gives the same numbers.
#[derive(Debug)]
pub struct Dice(AtomicU64);

impl Dice {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub fn roll(&self) -> u64 {
        mix(self.0.fetch_add(STEP, Ordering::Relaxed))
    }
}

/// The finisher of SplitMix64: each bit of the result depends on all bits of `value`.
pub(crate) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(STEP);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// From 0 to below `bound`, as evenly as `random` is.
pub(crate) const fn below(random: u64, bound: u64) -> u64 {
    ((random as u128 * bound as u128) >> 64) as u64
}

/// From 0 to below 1.
pub(crate) const fn fraction(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// What stays together: a session's name or the beginning of a prompt, as a number. It is the same on every instance and
/// in every version; it is no protection against somebody who wants two keys to meet.
#[must_use]
pub fn affinity(key: &[u8]) -> u64 {
    let (words, rest) = key.as_chunks::<8>();
    let mut hash = mix(key.len() as u64);
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(STEP).rotate_left(29);
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(STEP).rotate_left(29);
    }
    mix(hash)
}

#[cfg(test)]
mod tests;
