//! A text as it looks: what cannot be seen is left out, and what looks like ASCII is ASCII.
//!
//! Recognisers read the folded text; a map leads from there back to the original.

use std::borrow::Cow;
use std::ops::Range;

use unicode_normalization::UnicodeNormalization as _;

/// How much alike two characters must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Widths, styles, spaces and dashes: the same character in other clothes.
    Form,
    /// Also letters of other scripts that look the same, in lower case, without accents.
    Looks,
}

pub(crate) struct Folded<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Where folded and original offsets part: (folded, original) at the start of each stretch; in between they run in step.
    steps: Vec<(usize, usize)>,
    len: usize,
}

impl<'a> Folded<'a> {
    pub(crate) fn new(text: &'a str, depth: Depth) -> Self {
        if depth == Depth::Form && !has_foreign_forms(text.as_bytes()) {
            return Self { text: Cow::Borrowed(text), steps: Vec::new(), len: text.len() };
        }
        let mut folded = String::with_capacity(text.len());
        let mut steps = Vec::new();
        let mut in_step = true;
        for (at, c) in text.char_indices() {
            let from = folded.len();
            let kept = match (c.is_ascii(), depth) {
                (true, Depth::Form) => {
                    folded.push(c);
                    true
                }
                (true, Depth::Looks) => {
                    folded.push(c.to_ascii_lowercase());
                    true
                }
                (false, _) => {
                    fold(c, depth, &mut folded);
                    folded.len() - from == c.len_utf8()
                }
            };
            if !in_step {
                steps.push((from, at));
            }
            in_step = kept;
            if !kept {
                steps.push((from, at));
            }
        }
        Self { text: Cow::Owned(folded), steps, len: text.len() }
    }

    /// The original of a folded place.
    pub(crate) fn original(&self, at: usize) -> usize {
        if at >= self.text.len() {
            return self.len;
        }
        let step = self.steps.partition_point(|(folded, _)| *folded <= at);
        match step.checked_sub(1).and_then(|step| self.steps.get(step)) {
            None => at,
            Some((folded, original)) => original + (at - folded),
        }
    }

    /// The original of a folded stretch. Hidden characters around it stay outside.
    pub(crate) fn original_range(&self, range: Range<usize>, text: &str) -> Range<usize> {
        let start = floor(text, self.original(range.start));
        let Some(last) = range.end.checked_sub(1).filter(|last| *last >= range.start) else {
            return start..start;
        };
        let last = floor(text, self.original(last).min(text.len()));
        let width = text.get(last..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        start..last + width
    }
}

/// The beginning of the character at or before `at`.
pub(crate) fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

/// Whether there is a byte that begins a character with another form. Letters with accents are none.
fn has_foreign_forms(bytes: &[u8]) -> bool {
    let begins = |byte: &u8| matches!(byte, 0xC2 | 0xCD | 0xE1 | 0xE2 | 0xE3 | 0xEF | 0xF0);
    !bytes.is_ascii() && bytes.iter().any(begins)
}

fn fold(c: char, depth: Depth, into: &mut String) {
    match c {
        '\u{AD}'
        | '\u{34F}'
        | '\u{61C}'
        | '\u{180E}'
        | '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}'
        | '\u{E0000}'..='\u{E0FFF}' => {}
        '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => {
            into.push(' ');
        }
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{FE58}' | '\u{FE63}' | '\u{FF0D}' => {
            into.push('-');
        }
        '\u{3002}' if depth == Depth::Form => into.push(c),
        _ if depth == Depth::Looks => looks(c, into),
        _ => {
            // Only what becomes one ASCII character: anything else stays as it was written.
            let mut forms = std::iter::once(c).nfkc();
            match (forms.next(), forms.next()) {
                (Some(form), None) if form.is_ascii() => into.push(form),
                _ => into.push(c),
            }
        }
    }
}

fn looks(c: char, into: &mut String) {
    for part in std::iter::once(c).nfkd() {
        if unicode_normalization::char::is_combining_mark(part) {
            continue;
        }
        match twin(part) {
            Some(letter) => into.push(letter),
            None => into.extend(part.to_lowercase()),
        }
    }
}

/// The ASCII letter that a letter of another script looks like.
fn twin(c: char) -> Option<char> {
    Some(match c {
        'а' | 'А' | 'α' | 'Α' | 'ɑ' => 'a',
        'в' | 'В' | 'Β' | 'ь' => 'b',
        'с' | 'С' | 'ϲ' => 'c',
        'ԁ' | 'ɗ' => 'd',
        'е' | 'Е' | 'ε' | 'Ε' | 'є' | 'Є' => 'e',
        'ɡ' | 'ց' => 'g',
        'һ' | 'Н' | 'Η' | 'н' => 'h',
        'і' | 'І' | 'ι' | 'Ι' | 'ı' | 'ӏ' | 'Ӏ' => 'i',
        'ј' | 'Ј' => 'j',
        'к' | 'К' | 'κ' | 'Κ' => 'k',
        'ⅼ' => 'l',
        'м' | 'М' | 'Μ' => 'm',
        'п' | 'η' | 'Ν' => 'n',
        'о' | 'О' | 'ο' | 'Ο' | 'օ' => 'o',
        'р' | 'Р' | 'ρ' | 'Ρ' => 'p',
        'ԛ' => 'q',
        'г' => 'r',
        'ѕ' | 'Ѕ' => 's',
        'т' | 'Т' | 'τ' | 'Τ' => 't',
        'υ' | 'ս' | 'μ' => 'u',
        'ν' | 'ѵ' => 'v',
        'ԝ' | 'ѡ' | 'ω' => 'w',
        'х' | 'Х' | 'χ' | 'Χ' => 'x',
        'у' | 'У' | 'γ' | 'Υ' => 'y',
        'Ζ' => 'z',
        '‘' | '’' | 'ʼ' => '\'',
        '“' | '”' | '«' | '»' => '"',
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
