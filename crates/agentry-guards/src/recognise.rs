//! Personal data by rule: shape, check digits, validity and the words before.
//!
//! Every recogniser decides by what stands at most [`LEFT`] bytes before a place and [`LONGEST`] bytes after it, so that a
//! stream that has kept that much decides as a whole text does.

use crate::Kind;
use crate::hay::{Hay, is_digit};

mod bank;
mod card;
mod coin;
mod email;
mod internet;
pub(crate) mod live;
mod national;
mod number;
mod phone;

/// How far back a recogniser looks from the start of what it finds.
pub(crate) const LEFT: usize = 64;

/// No match of a recogniser is longer, but for addresses and e-mail, whose ends show themselves.
pub(crate) const LONGEST: usize = 96;

/// A finding that has not yet been weighed against its neighbours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) kind: Kind,
    /// Which rule of that kind.
    pub(crate) rule: u16,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) score: f32,
}

impl Candidate {
    pub(crate) fn new(kind: Kind, start: usize, end: usize, score: f32) -> Self {
        Self { kind, rule: 0, start, end, score }
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted(u32);

impl Wanted {
    pub(crate) fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind.slot())
    }

    pub(crate) fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind.slot()) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What confirms itself counts; what needs context to reach this and has none does not.
const ENOUGH: f32 = 0.5;
const CONTEXT: f32 = 0.35;

/// Finds candidates of the wanted kinds that have their first digit or sign at or after `from`, unresolved and in no order.
pub(crate) fn find(hay: Hay<'_>, from: usize, wanted: Wanted, found: &mut Vec<Candidate>) {
    if wanted.is_empty() {
        return;
    }
    let mut at = from;
    while let Some(next) = next_anchor(hay, at, wanted.has(Kind::Url)) {
        at = match hay.at(next) {
            b'@' => {
                if wanted.has(Kind::Email) {
                    found.extend(email::at_sign(hay, next));
                }
                next + 1
            }
            b':' => {
                if wanted.has(Kind::Ip) {
                    found.extend(internet::colon(hay, next));
                }
                if wanted.has(Kind::Url) {
                    found.extend(internet::scheme(hay, next));
                }
                next + 1
            }
            b'.' => {
                found.extend(internet::dot(hay, next));
                next + 1
            }
            _ => digits(hay, next, wanted, found),
        };
    }
}

/// The first digit, `@` or `:` from `at` on, and `.` where that matters; blocks without any are skipped whole.
fn next_anchor(hay: Hay<'_>, at: usize, dots: bool) -> Option<usize> {
    // '0'..='9' and ':' are neighbours.
    let is_anchor = |byte: u8| byte.wrapping_sub(b'0') < 11 || byte == b'@';
    let rest = hay.slice(at..hay.len());
    if dots {
        return rest.iter().position(|byte| is_anchor(*byte) || *byte == b'.').map(|i| at + i);
    }
    let mut skipped = 0;
    for block in rest.chunks(32) {
        if block.iter().fold(false, |any, byte| any | is_anchor(*byte)) {
            let place = block.iter().position(|byte| is_anchor(*byte));
            return place.map(|place| at + skipped + place);
        }
        skipped += block.len();
    }
    None
}

/// Everything that begins with the digits at `start`, or has its first digits there. Returns where they end.
fn digits(hay: Hay<'_>, start: usize, wanted: Wanted, found: &mut Vec<Candidate>) -> usize {
    let number = number::Number::read(hay, start);
    let end = number.first_end();
    if number.before.is_ascii_alphabetic() {
        // The card's recogniser may not see what is an account number.
        if wanted.has(Kind::Iban) || wanted.has(Kind::CreditCard) {
            found.extend(bank::iban(hay, start));
        }
        national::after_letters(hay, start, wanted, found);
        if wanted.has(Kind::Btc) {
            found.extend(coin::bech32(hay, start));
        }
        return end;
    }
    if wanted.has(Kind::CreditCard) {
        found.extend(card::find(&number));
    }
    if wanted.has(Kind::Ip) && hay.at(end) == b'.' && end - start <= 3 {
        found.extend(internet::dotted(hay, start));
    }
    if wanted.has(Kind::Phone) {
        found.extend(phone::find(hay, start));
    }
    if wanted.has(Kind::UsRouting) {
        found.extend(bank::routing(&number));
    }
    national::numbers(&number, wanted, found);
    // "12 QQ…": a letter-first number whose letters and digits are apart is read from its digits.
    if number.before == b' ' {
        national::after_space(hay, start, wanted, found);
    }
    if wanted.has(Kind::Btc) && matches!(hay.at(start), b'1' | b'3') && !is_digit(number.before) {
        found.extend(coin::base58(hay, start));
    }
    end
}

#[cfg(test)]
mod tests;
