//! Payment cards: twelve to nineteen digits of a known issuer, with the right check digit.

use super::Candidate;
use super::number::Number;
use crate::hay::{is_digit, is_word};
use crate::{Kind, checksum};

/// The commonest lengths first.
const LENGTHS: [usize; 8] = [16, 15, 14, 19, 18, 17, 13, 12];

pub(super) fn find(number: &Number<'_>) -> Option<Candidate> {
    let grouped = number.len(0) == 4 && number.len(1) > 0;
    if !(grouped || (12..=19).contains(&number.len(0))) || !begins(number, grouped) {
        return None;
    }
    let count = if grouped { shape(number)? } else { 1 };
    // A grouped card may be followed by other digits, "… 1111 12/27": take the length that checks.
    let counts = (1..=count).filter(|count| !grouped || *count >= 3);
    let fits = |count: &usize, len: usize| {
        let digits = number.digits(*count);
        digits.len() == len
            && is_issued(&digits)
            && checksum::luhn(&digits)
            && ends(number, *count, grouped)
    };
    let count = LENGTHS.iter().find_map(|len| counts.clone().find(|count| fits(count, *len)))?;
    Some(Candidate::new(Kind::CreditCard, number.start, number.end(count), 1.0))
}

/// How many groups could be those of a card.
fn shape(number: &Number<'_>) -> Option<usize> {
    let separator = number.separator(1);
    if !matches!(separator, b' ' | b'-') {
        return None;
    }
    if matches!((number.len(1), number.len(2)), (6, 4 | 5)) {
        return number.has_shape(&[4, 6, number.len(2)], b" -").then_some(3);
    }
    let fours = (0..4)
        .take_while(|at| number.len(*at) == 4 && (*at == 0 || number.separator(*at) == separator));
    let fours = fours.count();
    let rest = number.len(fours);
    let more = fours >= 3 && (1..=3).contains(&rest) && number.separator(fours) == separator;
    (fours >= 3).then_some(fours + usize::from(more))
}

fn begins(number: &Number<'_>, grouped: bool) -> bool {
    let before = number.before;
    let digit_before =
        number.start.checked_sub(1).is_some_and(|at| is_digit(number.hay.before(at)));
    !is_word(before)
        && before != b'+'
        && !(digit_before && (matches!(before, b'.' | b',' | b'-') || grouped && before == b' '))
}

fn ends(number: &Number<'_>, count: usize, grouped: bool) -> bool {
    let end = number.end(count);
    let (next, after) = (number.hay.at(end), number.hay.at(end + 1));
    // Four more digits in the same rhythm would make it part of something longer.
    let goes_on =
        grouped && number.len(count) == 4 && number.separator(count) == number.separator(1);
    let is_decimal = matches!(next, b'.' | b',') && is_digit(after);
    !(is_word(next) || is_decimal || goes_on)
}

/// Whether the number lies in a range that a card network has given out.
fn is_issued(digits: &[u8]) -> bool {
    let prefix = |len: usize| digits.get(..len).and_then(checksum::number).unwrap_or_default();
    let len = digits.len();
    let (two, four) = (prefix(2), prefix(4));
    match two {
        40..=49 => matches!(len, 13 | 16 | 18 | 19),
        34 | 37 => len == 15,
        30 | 36 | 38 | 39 => (14..=19).contains(&len),
        35 => (16..=19).contains(&len),
        51..=55 => len == 16,
        50 | 56..=69 => true,
        20..=27 => {
            (2221..=2720).contains(&four) && len == 16
                || (2200..=2205).contains(&four) && len >= 16
                || four == 2131 && len == 15
        }
        18 => four == 1800 && len == 15,
        _ => false,
    }
}
