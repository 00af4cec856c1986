//! Telephone numbers: international and national shapes, and the words around those that could be anything.

use super::{CONTEXT, Candidate, ENOUGH};
use crate::Kind;
use crate::context::{self, Context};
use crate::hay::{Hay, is_digit, is_word};

const WORDS: &[&str] = &[
    "phone",
    "phones",
    "telephone",
    "tel",
    "mobile",
    "cell",
    "cellphone",
    "call",
    "calls",
    "called",
    "calling",
    "fax",
    "dial",
    "dialed",
    "sms",
    "whatsapp",
    "contact",
    "reach",
    "ring",
    "hotline",
    "helpline",
    "landline",
    "text",
    "texted",
    "voicemail",
    "rang",
    "message",
    "messages",
    "telefon",
    "telefono",
    "handy",
    "movil",
    "celular",
    "mobil",
    "telefonnummer",
    "appelez",
    "portable",
    "line",
    "office",
    "home",
];
const OTHERS: &[&str] = &[
    "order",
    "orders",
    "invoice",
    "ticket",
    "account",
    "ref",
    "reference",
    "tracking",
    "isbn",
    "issn",
    "serial",
    "id",
    "case",
    "part",
    "passport",
    "license",
    "licence",
    "policy",
    "version",
    "routing",
    "confirmation",
    "sku",
    "timestamp",
    "epoch",
    "port",
    "pid",
    "amount",
    "total",
    "population",
    "bytes",
    "ssn",
    "card",
    "customer",
    "member",
    "build",
    "commit",
    "item",
    "model",
    "batch",
    "lot",
    "claim",
    "vat",
    "tax",
    "nhs",
    "pesel",
    "aadhaar",
    "zip",
    "page",
    "pages",
];

/// Digits and what stands between them.
#[derive(Debug, Default)]
struct Shape {
    lens: [usize; 8],
    count: usize,
    digits: usize,
    /// The separators that occur.
    dash: bool,
    dot: bool,
    space: bool,
    slash: bool,
    paren: bool,
    end: usize,
}

/// A number whose first digit is at `first`.
pub(super) fn find(hay: Hay<'_>, first: usize) -> Option<Candidate> {
    let (start, international, chained) = begin(hay, first)?;
    let shape = read(hay, first, start);
    if !(7..=15).contains(&shape.digits) || shape.is_something_else(hay, first) && !international {
        return None;
    }
    let shape = if international { shape } else { shape.american(hay, first) };
    let score = shape.score(hay, first, international);
    if chained && score < 0.6 || !ends(hay, shape.end) {
        return None;
    }
    let context = match context::before(hay, start, WORDS, OTHERS) {
        Context::For => CONTEXT,
        Context::Against => -0.3,
        Context::Nothing => 0.0,
    };
    let score = (score + context).min(1.0);
    let end = extension(hay, shape.end);
    (score >= ENOUGH).then(|| Candidate::new(Kind::Phone, start, end, score))
}

/// Where the number begins, whether with a plus, and whether other digits stand before it.
fn begin(hay: Hay<'_>, first: usize) -> Option<(usize, bool, bool)> {
    let mut start = first;
    if hay.before(start) == b'(' {
        start -= 1;
    }
    let international = hay.before(start) == b'+';
    if international {
        start -= 1;
        start -= usize::from(hay.before(start) == b'(');
    }
    let before = hay.before(start);
    let earlier = start.checked_sub(1).map_or(0, |at| hay.before(at));
    let joined = is_word(before)
        || matches!(
            before,
            b'.' | b',' | b'-' | b'/' | b'#' | b'$' | b'@' | b'%' | b'\\' | b'+' | b')'
        )
        || matches!(before, b':') && is_digit(earlier);
    (!joined).then_some((start, international, before == b' ' && is_digit(earlier)))
}

/// Reads groups of digits as far as a telephone number may go.
fn read(hay: Hay<'_>, first: usize, start: usize) -> Shape {
    let mut shape =
        Shape { end: first, paren: first > start && hay.at(first - 1) == b'(', ..Shape::default() };
    let mut from = first;
    for slot in 0..8 {
        let end = hay.run(from, is_digit).min(from + 16);
        if end == from || shape.digits + (end - from) > 15 {
            break;
        }
        if let Some(len) = shape.lens.get_mut(slot) {
            *len = end - from;
        }
        shape.count += 1;
        shape.digits += end - from;
        shape.end = end;
        let mut next = end;
        while matches!(hay.at(next), b' ' | b'-' | b'.' | b'/' | b'(' | b')') && next < end + 3 {
            next += 1;
        }
        // Two signs stand only around an area code.
        let parens = hay.slice(end..next).iter().any(|byte| matches!(byte, b'(' | b')'));
        if next == end || !is_digit(hay.at(next)) || next - end > 1 && !parens {
            break;
        }
        for byte in hay.slice(end..next) {
            match byte {
                b'-' => shape.dash = true,
                b'.' => shape.dot = true,
                b'/' => shape.slash = true,
                b' ' => shape.space = true,
                _ => shape.paren = true,
            }
        }
        from = next;
    }
    shape
}

impl Shape {
    fn lens(&self) -> &[usize] {
        self.lens.get(..self.count).unwrap_or_default()
    }

    /// Dates, cards, social security numbers, addresses of machines, decimals, moments in seconds.
    fn is_something_else(&self, hay: Hay<'_>, first: usize) -> bool {
        let uniform = usize::from(self.dash)
            + usize::from(self.dot)
            + usize::from(self.space)
            + usize::from(self.slash)
            <= 1;
        match self.lens() {
            [4, 1 | 2, 1 | 2, ..] => matches!(hay.slice(first..first + 2), b"19" | b"20"),
            [1 | 2, 1 | 2, 4, ..] => self.digits <= 10 && !self.paren,
            [8, 4 | 6] | [4, 2 | 4] => hay.slice(first..first + 2) == b"20" || self.digits < 8,
            [4, 4, 4, ..] => uniform,
            [3, 2, 4] => uniform && !self.paren && !self.slash,
            [_, _] if self.dot => true,
            [_, _, _, _] if self.dot && !self.dash && !self.paren => {
                self.lens().iter().all(|len| *len <= 3)
            }
            [len] => *len > 12 || self.dot,
            _ => false,
        }
    }

    /// A number of the North American plan ends after its seven digits, whatever follows.
    fn american(self, hay: Hay<'_>, first: usize) -> Self {
        let country = usize::from(matches!(self.lens(), [1, 3, 3, 4, ..]) && hay.at(first) == b'1');
        let plan = [3, 3, 4];
        let fits = self.lens().get(country..country + 3) == Some(&plan);
        if !fits || self.count == country + 3 {
            return self;
        }
        let again = read(Hay(hay.slice(0..cut(hay, first, country + 3))), first, first);
        Self { paren: self.paren, ..again }
    }

    /// How sure the shape alone is.
    fn score(&self, hay: Hay<'_>, first: usize, international: bool) -> f32 {
        if international {
            return if self.is_dialled(hay, first) { 0.85 } else { 0.3 };
        }
        let lens = self.lens();
        let zero = hay.at(first) == b'0';
        if let [3, 3, 4] | [1, 3, 3, 4] = lens {
            let numbers = hay.slice(first..self.end);
            let area = numbers.iter().filter(|byte| is_digit(**byte)).skip(self.count - 3);
            let sound = [0, 3]
                .into_iter()
                .all(|at| area.clone().nth(at).is_some_and(|digit| matches!(digit, b'2'..=b'9')));
            let country = self.count == 3 || hay.at(first) == b'1';
            return match (self.paren || self.dash || self.dot, sound && country) {
                (true, true) => 0.7,
                (false, true) => 0.45,
                (_, false) => 0.3,
            };
        }
        if zero && hay.at(first + 1) == b'0' && self.count >= 3 && self.digits >= 10 {
            return 0.55;
        }
        let national = zero && (9..=12).contains(&self.digits) && !self.dot;
        match (national, self.count) {
            (true, 2..=5) if lens.iter().all(|len| *len >= 2) => 0.55,
            (true, _) => 0.4,
            (false, _) => 0.25,
        }
    }

    /// Whether a country answers to it.
    fn is_dialled(&self, hay: Hay<'_>, first: usize) -> bool {
        let mut digits = hay
            .slice(first..self.end)
            .iter()
            .filter(|byte| is_digit(**byte))
            .map(|byte| byte - b'0');
        let (one, two) = (digits.next().unwrap_or_default(), digits.next().unwrap_or_default());
        match (one, two) {
            (1, _) => self.digits == 11,
            (7, _) => self.digits == 11,
            (0, _) => false,
            (2, 8) | (8, 3 | 9) => false,
            (2, 1..=6 | 9)
            | (3, 5 | 7 | 8)
            | (4, 2)
            | (5, 0 | 9)
            | (6, 7..=9)
            | (8, 0 | 5 | 7 | 8)
            | (9, 6 | 7 | 9) => self.digits >= 9,
            _ => self.digits >= 9,
        }
    }
}

/// Where the first `count` groups of digits end.
fn cut(hay: Hay<'_>, first: usize, count: usize) -> usize {
    (0..count).fold(first, |at, _| hay.run(hay.run(at, |byte| !is_digit(byte)), is_digit))
}

fn ends(hay: Hay<'_>, end: usize) -> bool {
    let (next, after) = (hay.at(end), hay.at(end + 1));
    let extension = matches!(next, b'x' | b'X' | b'e' | b'E') && extension(hay, end) > end;
    let in_word = is_word(next) && !extension;
    let goes_on = matches!(next, b'-' | b'.' | b'/' | b',' | b':') && is_word(after);
    !(in_word || goes_on || matches!(next, b'%' | b'@' | b'$'))
}

/// Where an extension that follows ends: "x12", " ext. 345".
fn extension(hay: Hay<'_>, end: usize) -> usize {
    let mut at = end + usize::from(hay.at(end) == b' ');
    let word = hay.run_within(at, 10, |byte| byte.is_ascii_alphabetic());
    if !["x", "ext", "extension"]
        .iter()
        .any(|known| known.as_bytes().eq_ignore_ascii_case(hay.slice(at..word)))
    {
        return end;
    }
    at = word + usize::from(hay.at(word) == b'.');
    at += usize::from(hay.at(at) == b' ');
    let stop = hay.run(at, is_digit);
    if (1..=6).contains(&(stop - at)) && !is_word(hay.at(stop)) { stop } else { end }
}
