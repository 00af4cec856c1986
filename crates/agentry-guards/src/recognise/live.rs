//! Where something may have begun that the end of the text cuts off.

use super::{LONGEST, Wanted, bank, email, internet, national};
use crate::Kind;
use crate::hay::{Hay, is_digit, is_word};

/// A finding whose end is nearer to the end of the text than this may still grow or fall.
pub(crate) const SLACK: usize = 16;

/// The earliest place from which on a later byte may make, change or unmake a candidate.
pub(crate) fn from(hay: Hay<'_>, wanted: Wanted) -> usize {
    let mut live = token(hay);
    live = live.min(cluster(hay));
    if wanted.has(Kind::Iban) || wanted.has(Kind::CreditCard) {
        live = live.min(lettered(hay, 46, |word| {
            let digits = word.get(2..).unwrap_or_default().iter().take(2).all(u8::is_ascii_digit);
            word.len() > 2 && digits && word.get(..2).and_then(bank::length).is_some()
        }));
    }
    if wanted.has(Kind::UkNino) {
        live = live.min(lettered(hay, 14, |word| {
            let next = word.get(2).copied().unwrap_or(b' ');
            let prefix = word.first().zip(word.get(1));
            let prefix = prefix.is_none_or(|(one, two)| national::is_nino_prefix(*one, *two));
            prefix && (next == b' ' || is_digit(next))
        }));
    }
    if wanted.has(Kind::Url) {
        live = live.min(address(hay));
    }
    live
}

/// Whether this is one piece of a word, too short for any of it to be let go.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    bytes.len() <= LONGEST && bytes.iter().all(|byte| is_tight(*byte))
}

fn is_tight(byte: u8) -> bool {
    byte.is_ascii_graphic() || matches!(byte, 0x80..=0xBF | 0xC3..=0xC9)
}

/// The start of what is not yet ended by a space.
fn token(hay: Hay<'_>) -> usize {
    let end = hay.len();
    let reach = hay.run_back(end, 330, is_tight);
    let near = hay.boundary(reach.max(end.saturating_sub(LONGEST)));
    let at = hay.slice(reach..end).iter().rposition(|byte| *byte == b'@').map(|at| reach + at);
    match at.filter(|at| hay.run(at + 1, email::is_domain) == end) {
        Some(at) => near.min(email::local(hay, at)),
        None => near,
    }
}

/// The start of the digits, with what may stand between and before them.
fn cluster(hay: Hay<'_>) -> usize {
    let end = hay.len();
    let is_part =
        |byte: u8| is_digit(byte) || matches!(byte, b' ' | b'+' | b'-' | b'(' | b')' | b'.' | b'/');
    let reach = hay.run_back(end, LONGEST, is_part);
    let numbers = hay.run(reach, |byte| !(is_digit(byte) || matches!(byte, b'+' | b'(')));
    // A group that the reach cuts in two began before it.
    let whole = hay.run_back(numbers, 32, is_digit);
    if is_digit(hay.at(numbers)) { whole } else { numbers }
}

/// The earliest word within `reach` that is followed by nothing but words, spaces and dashes and `begins` as it should.
fn lettered(hay: Hay<'_>, reach: usize, begins: impl Fn(&[u8]) -> bool) -> usize {
    let end = hay.len();
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-');
    let floor = hay.run_back(end, reach, is_part);
    let starts = (floor..end).find(|at| {
        hay.at(*at).is_ascii_alphabetic()
            && !is_word(hay.before(*at))
            && begins(hay.slice(*at..(*at + 4).min(end)))
    });
    starts.unwrap_or(end)
}

/// The start of a web address that goes on.
fn address(hay: Hay<'_>) -> usize {
    let end = hay.len();
    let start = hay.run_back(end, internet::URL + 16, |byte| byte > b' ');
    hay.boundary(start)
}
