//! The words before a number, which often say what it is.

use crate::hay::{Hay, is_word};

/// How far back context reaches, in bytes.
pub(crate) const REACH: usize = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    For,
    Against,
    Nothing,
}

/// What the nearest telling word before `at` says.
pub(crate) fn before(hay: Hay<'_>, at: usize, words_for: &[&str], against: &[&str]) -> Context {
    let floor = at.saturating_sub(REACH);
    let mut end = at;
    while end > floor {
        end = hay.run_back(end, end - floor, |byte| !is_letter(byte));
        let start = hay.run_back(end, end - floor, is_letter);
        // A word that the reach cuts in two is no word.
        if start == end || start == floor && floor > 0 && is_word(hay.before(start)) {
            break;
        }
        let word = hay.slice(start..end);
        let is_in =
            |list: &[&str]| list.iter().any(|one| one.as_bytes().eq_ignore_ascii_case(word));
        if is_in(words_for) {
            return Context::For;
        }
        if is_in(against) {
            return Context::Against;
        }
        end = start;
    }
    Context::Nothing
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte >= 0x80
}
