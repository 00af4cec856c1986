//! Numbers that states give to people.

use super::number::Number;
use super::{CONTEXT, Candidate, ENOUGH, Wanted};
use crate::context::{self, Context};
use crate::hay::{Hay, is_digit, is_word};
use crate::{Kind, checksum};

const SSN: &[&str] = &["ssn", "ssns", "social", "security", "ss", "socsec"];
const ITIN: &[&str] = &["itin", "taxpayer", "tax", "tin"];
const NHS: &[&str] = &["nhs", "patient", "health"];
const GERMAN: &[&str] =
    &["steuer", "steuerid", "steuernummer", "idnr", "tin", "tax", "identifikationsnummer"];
const AADHAAR: &[&str] = &["aadhaar", "aadhar", "uidai", "uid"];
const PESEL: &[&str] = &["pesel"];
const KIMLIK: &[&str] = &["kimlik", "tckn", "tc"];
const SWEDISH: &[&str] = &["personnummer", "personnr", "swedish"];

/// Those that begin with a digit.
pub(super) fn numbers(number: &Number<'_>, wanted: Wanted, found: &mut Vec<Candidate>) {
    if !number.begins() {
        return;
    }
    let mut rule = |kind: Kind, candidate: fn(&Number<'_>) -> Option<Candidate>| {
        if wanted.has(kind) {
            found.extend(candidate(number));
        }
    };
    rule(Kind::UsSsn, ssn);
    rule(Kind::UsItin, itin);
    rule(Kind::UkNhs, nhs);
    rule(Kind::DeTaxId, german);
    rule(Kind::InAadhaar, aadhaar);
    rule(Kind::PlPesel, pesel);
    rule(Kind::TrKimlik, kimlik);
    rule(Kind::FiHetu, finnish);
    rule(Kind::SePersonnummer, swedish);
    rule(Kind::EsNif, spanish);
}

/// A candidate of the first `count` groups, if the words before make up for what the shape leaves open.
fn weighed(
    number: &Number<'_>,
    kind: Kind,
    count: usize,
    base: f32,
    words: &[&str],
) -> Option<Candidate> {
    let context = context::before(number.hay, number.start, words, &[]);
    let score = base + if context == Context::For { CONTEXT } else { 0.0 };
    let found = score >= ENOUGH && number.ends(count);
    found.then(|| Candidate::new(kind, number.start, number.end(count), score.min(1.0)))
}

/// How many groups a US number of nine digits has here, and how much its shape says.
fn american(number: &Number<'_>) -> Option<(usize, f32)> {
    if number.has_shape(&[3, 2, 4], b"-") {
        Some((3, 0.85))
    } else if number.has_shape(&[3, 2, 4], b" .") {
        Some((3, 0.5))
    } else {
        (number.len(0) == 9).then_some((1, 0.2))
    }
}

/// Area, group and serial of nine digits.
fn parts(digits: &[u8]) -> Option<(u32, u32, u32)> {
    let part = |from: usize, to: usize| digits.get(from..to).and_then(checksum::number);
    Some((part(0, 3)?, part(3, 5)?, part(5, 9)?))
}

fn ssn(number: &Number<'_>) -> Option<Candidate> {
    let (count, base) = american(number)?;
    let digits = number.digits(count);
    let (area, group, serial) = parts(&digits)?;
    let issued = area != 0 && area != 666 && area < 900 && group != 0 && serial != 0;
    // Numbers of advertisements and of films.
    let famous = matches!(&*digits, b"078051120" | b"123456789" | b"219099999" | b"457555462");
    let repeated = digits.iter().all(|digit| digits.first() == Some(digit));
    let sound = issued && !famous && !repeated;
    sound.then(|| weighed(number, Kind::UsSsn, count, base + 0.1, SSN)).flatten()
}

fn itin(number: &Number<'_>) -> Option<Candidate> {
    let (count, base) = american(number)?;
    let digits = number.digits(count);
    let (area, group, _) = parts(&digits)?;
    let issued = area >= 900 && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99);
    issued.then(|| weighed(number, Kind::UsItin, count, base, ITIN)).flatten()
}

fn nhs(number: &Number<'_>) -> Option<Candidate> {
    let grouped = number.has_shape(&[3, 3, 4], b" -");
    let (count, base) = if grouped { (3, 0.5) } else { (1, 0.3) };
    let digits = number.digits(count);
    let sound = digits.len() == 10 && checksum::nhs(&digits);
    sound.then(|| weighed(number, Kind::UkNhs, count, base, NHS)).flatten()
}

fn german(number: &Number<'_>) -> Option<Candidate> {
    let grouped = number.has_shape(&[2, 3, 3, 3], b" ");
    let (count, base) = if grouped { (4, 0.6) } else { (1, 0.4) };
    let digits = number.digits(count);
    let sound = digits.len() == 11 && checksum::german_tax(&digits);
    sound.then(|| weighed(number, Kind::DeTaxId, count, base, GERMAN)).flatten()
}

fn aadhaar(number: &Number<'_>) -> Option<Candidate> {
    let grouped = number.has_shape(&[4, 4, 4], b" -");
    let (count, base) = if grouped { (3, 0.6) } else { (1, 0.3) };
    let digits = number.digits(count);
    let first = matches!(digits.first(), Some(b'2'..=b'9'));
    let palindrome = digits.iter().eq(digits.iter().rev());
    let sound = digits.len() == 12 && first && !palindrome && checksum::verhoeff(&digits);
    sound.then(|| weighed(number, Kind::InAadhaar, count, base, AADHAAR)).flatten()
}

fn is_day(month: u32, day: u32) -> bool {
    (1..=12).contains(&month) && (1..=31).contains(&day)
}

fn two(digits: &[u8], from: usize) -> Option<u32> {
    digits.get(from..from + 2).and_then(checksum::number)
}

fn pesel(number: &Number<'_>) -> Option<Candidate> {
    let digits = number.digits(1);
    // The century is in the month.
    let dated = is_day(two(&digits, 2)? % 20, two(&digits, 4)?);
    let sound = dated && checksum::pesel(&digits);
    sound.then(|| weighed(number, Kind::PlPesel, 1, 0.5, PESEL)).flatten()
}

fn kimlik(number: &Number<'_>) -> Option<Candidate> {
    let sound = checksum::kimlik(&number.digits(1));
    sound.then(|| weighed(number, Kind::TrKimlik, 1, 0.5, KIMLIK)).flatten()
}

/// `131052-308T`: a date, the century's sign, a number, a check character.
fn finnish(number: &Number<'_>) -> Option<Candidate> {
    let (hay, start) = (number.hay, number.start);
    let end = start + 11;
    let sign = hay.at(start + 6);
    if number.len(0) != 6
        || is_word(hay.at(end))
        || !matches!(sign, b'-' | b'+' | b'A'..=b'F' | b'U'..=b'Y')
    {
        return None;
    }
    let (date, serial) = (hay.slice(start..start + 6), hay.slice(start + 7..start + 10));
    let value = checksum::number(date)? * 1000 + checksum::number(serial)?;
    let sound = serial.iter().all(u8::is_ascii_digit)
        && is_day(two(date, 2)?, two(date, 0)?)
        && checksum::finnish_letter(value) == Some(hay.at(end - 1).to_ascii_uppercase());
    sound.then(|| Candidate::new(Kind::FiHetu, start, end, 0.9))
}

fn swedish(number: &Number<'_>) -> Option<Candidate> {
    let hay = number.hay;
    let date = number.len(0);
    let sign = hay.at(number.first_end());
    let (count, base) = match (date, number.len(1), sign) {
        (6 | 8, 4, b'-') => (2, 0.6),
        (10 | 12, _, _) => (1, 0.3),
        _ => return None,
    };
    let digits = number.digits(count);
    let short = digits.get(digits.len().checked_sub(10)?..)?;
    let sound = is_day(two(short, 2)?, two(short, 4)?) && checksum::luhn(short);
    sound.then(|| weighed(number, Kind::SePersonnummer, count, base, SWEDISH)).flatten()
}

/// `12345678Z`, also with a dash.
fn spanish(number: &Number<'_>) -> Option<Candidate> {
    let (hay, digits_end) = (number.hay, number.first_end());
    let letter = digits_end + usize::from(hay.at(digits_end) == b'-');
    let value = checksum::number(&number.digits(1))?;
    let sound = number.len(0) == 8
        && !is_word(hay.at(letter + 1))
        && checksum::spanish_letter(value) == Some(hay.at(letter).to_ascii_uppercase());
    sound.then(|| Candidate::new(Kind::EsNif, number.start, letter + 1, 0.9))
}

/// Those that begin with letters directly before the digits at `digits`.
pub(super) fn after_letters(
    hay: Hay<'_>,
    digits: usize,
    wanted: Wanted,
    found: &mut Vec<Candidate>,
) {
    if wanted.has(Kind::UkNino) {
        found.extend(digits.checked_sub(2).and_then(|start| nino(hay, start, digits)));
    }
    if wanted.has(Kind::EsNif) {
        found.extend(digits.checked_sub(1).and_then(|start| foreigner(hay, start, digits)));
    }
}

/// Those that have a space between their letters and the digits at `digits`.
pub(super) fn after_space(hay: Hay<'_>, digits: usize, wanted: Wanted, found: &mut Vec<Candidate>) {
    if wanted.has(Kind::UkNino) {
        found.extend(digits.checked_sub(3).and_then(|start| nino(hay, start, digits)));
    }
}

/// `QQ 12 34 56 C`, which no one has, but with other letters.
fn nino(hay: Hay<'_>, start: usize, digits: usize) -> Option<Candidate> {
    if is_word(hay.before(start)) || !is_nino_prefix(hay.at(start), hay.at(start + 1)) {
        return None;
    }
    let mut at = digits;
    for place in 0..6 {
        if place > 0 && place % 2 == 0 && hay.at(at) == b' ' {
            at += 1;
        }
        if !is_digit(hay.at(at)) {
            return None;
        }
        at += 1;
    }
    at += usize::from(hay.at(at) == b' ');
    let ends = matches!(hay.at(at).to_ascii_uppercase(), b'A'..=b'D') && !is_word(hay.at(at + 1));
    ends.then(|| Candidate::new(Kind::UkNino, start, at + 1, 0.9))
}

pub(super) fn is_nino_prefix(first: u8, second: u8) -> bool {
    let pair = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
    let [first, second] = pair;
    let usable = |byte: u8| {
        byte.is_ascii_uppercase() && !matches!(byte, b'D' | b'F' | b'I' | b'Q' | b'U' | b'V')
    };
    usable(first)
        && usable(second)
        && second != b'O'
        && !matches!(&pair, b"BG" | b"GB" | b"NK" | b"KN" | b"TN" | b"NT" | b"ZZ")
}

/// `X1234567L`: the Spanish number of a foreigner.
fn foreigner(hay: Hay<'_>, start: usize, digits: usize) -> Option<Candidate> {
    let lead = match hay.at(start).to_ascii_uppercase() {
        b'X' => 0,
        b'Y' => 10_000_000,
        b'Z' => 20_000_000,
        _ => return None,
    };
    let end = hay.run_within(digits, 8, is_digit);
    let letter = end + usize::from(hay.at(end) == b'-');
    let value = lead + checksum::number(hay.slice(digits..end))?;
    let sound = end - digits == 7
        && !is_word(hay.before(start))
        && !is_word(hay.at(letter + 1))
        && checksum::spanish_letter(value) == Some(hay.at(letter).to_ascii_uppercase());
    sound.then(|| Candidate::new(Kind::EsNif, start, letter + 1, 0.9))
}
