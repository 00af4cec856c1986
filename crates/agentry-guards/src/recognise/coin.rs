//! Bitcoin addresses.

use sha2::{Digest as _, Sha256};

use super::Candidate;
use crate::Kind;
use crate::hay::{Hay, is_word};

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// An address of the first kinds that begins at `start`: base 58 with four bytes of check.
pub(super) fn base58(hay: Hay<'_>, start: usize) -> Option<Candidate> {
    let end = hay.run_within(start, 36, |byte| byte.is_ascii_alphanumeric());
    if is_word(hay.before(start)) || is_word(hay.at(end)) || !(26..=35).contains(&(end - start)) {
        return None;
    }
    let mut number = [0_u8; 25];
    for byte in hay.slice(start..end) {
        let mut carry = BASE58.iter().position(|letter| letter == byte)?;
        for place in number.iter_mut().rev() {
            carry += usize::from(*place) * 58;
            *place = u8::try_from(carry & 0xFF).unwrap_or_default();
            carry >>= 8;
        }
        if carry > 0 {
            return None;
        }
    }
    let (body, check) = number.split_at(21);
    let twice = Sha256::digest(Sha256::digest(body));
    let kind = matches!(body.first(), Some(0x00 | 0x05));
    let valid = kind && twice.as_slice().starts_with(check);
    valid.then(|| Candidate::new(Kind::Btc, start, end, 1.0))
}

/// A bech32 address whose `1` is at `one`.
pub(super) fn bech32(hay: Hay<'_>, one: usize) -> Option<Candidate> {
    let start = one.checked_sub(2)?;
    let end = hay.run_within(one, 90, |byte| byte.is_ascii_alphanumeric());
    let fits = hay.at(one) == b'1'
        && hay.slice(start..one).eq_ignore_ascii_case(b"bc")
        && !is_word(hay.before(start))
        && !is_word(hay.at(end))
        && (14..=90).contains(&(end - start));
    if !fits {
        return None;
    }
    // The prefix "bc" counts as the high and then the low bits of its letters.
    let mut check = [3, 3, 0, 2, 3].into_iter().fold(1, polymod);
    for byte in hay.slice(one + 1..end) {
        let letter = byte.to_ascii_lowercase();
        let value = BECH32.iter().position(|known| *known == letter)?;
        check = polymod(check, u32::try_from(value).ok()?);
    }
    // One constant for the first version, another for those since.
    matches!(check, 1 | 0x2BC8_30A3).then(|| Candidate::new(Kind::Btc, start, end, 1.0))
}

fn polymod(check: u32, value: u32) -> u32 {
    let top = check >> 25;
    let generators = [0x3B6A_57B2, 0x2650_8E6D, 0x1EA1_19FA, 0x3D42_33DD, 0x2A14_62B3];
    let next = (check & 0x01FF_FFFF) << 5 ^ value;
    (0..).zip(generators).fold(
        next,
        |next, (bit, generator)| {
            if top >> bit & 1 == 1 { next ^ generator } else { next }
        },
    )
}
