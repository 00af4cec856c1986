//! Bank accounts: IBAN, and the routing numbers of US banks.

use super::number::Number;
use super::{CONTEXT, Candidate, ENOUGH};
use crate::context::{self, Context};
use crate::hay::{Hay, is_digit, is_word};
use crate::{Kind, checksum};

/// The registry: which countries have IBANs, and how long they are.
const LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// How long the IBANs of a country are.
pub(super) fn length(country: &[u8]) -> Option<usize> {
    let known = LENGTHS.iter().find(|(code, _)| code.eq_ignore_ascii_case(country));
    known.map(|(_, length)| *length)
}

/// An IBAN whose check digits are at `digits`.
pub(super) fn iban(hay: Hay<'_>, digits: usize) -> Option<Candidate> {
    let start = digits.checked_sub(2)?;
    if is_word(hay.before(start)) || !is_digit(hay.at(digits + 1)) {
        return None;
    }
    let length = length(hay.slice(start..digits))?;
    let mut compact = [0_u8; 34];
    let mut end = start;
    for slot in compact.get_mut(..length)? {
        if matches!(hay.at(end), b' ' | b'-') && end > digits + 1 {
            end += 1;
        }
        let byte = hay.at(end);
        if !byte.is_ascii_alphanumeric() {
            return None;
        }
        *slot = byte;
        end += 1;
    }
    let valid = !is_word(hay.at(end)) && checksum::iban(compact.get(..length)?);
    valid.then(|| Candidate::new(Kind::Iban, start, end, 1.0))
}

const ROUTING: &[&str] = &["routing", "aba", "rtn", "transit", "bank", "wire", "ach"];

pub(super) fn routing(number: &Number<'_>) -> Option<Candidate> {
    if number.len(0) != 9 || !number.begins() || !number.ends(1) {
        return None;
    }
    let digits = number.digits(1);
    let district = digits.get(..2).and_then(checksum::number)?;
    let known = matches!(district, 0..=12 | 21..=32 | 61..=72 | 80);
    let context = context::before(number.hay, number.start, ROUTING, &[]);
    let score = 0.3 + if context == Context::For { CONTEXT } else { 0.0 };
    let found = known && checksum::aba(&digits) && score >= ENOUGH;
    found.then(|| Candidate::new(Kind::UsRouting, number.start, number.end(1), score))
}
