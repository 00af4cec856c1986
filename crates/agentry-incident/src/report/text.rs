//! Makes text from elsewhere harmless.

/// Without control characters, invisible direction marks and line breaks; cut to `max` characters.
pub(super) fn clean(text: &str, max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(max * 4));
    let mut letters = text.chars().map(|letter| if letter.is_whitespace() { ' ' } else { letter });
    let mut left = max;
    for letter in letters.by_ref().filter(|letter| !is_hidden(*letter)) {
        if left == 0 {
            clean.pop();
            clean.push('…');
            break;
        }
        clean.push(letter);
        left -= 1;
    }
    clean
}

fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `2026-09-21 10:14:00 UTC`.
pub(super) fn moment(at: agentry_core::Timestamp) -> String {
    let text = at.to_string();
    match text.get(..19).and_then(|text| text.split_once('T')) {
        Some((day, time)) => format!("{day} {time} UTC"),
        None => text,
    }
}

pub(super) fn clock(at: agentry_core::Timestamp) -> String {
    at.to_string().get(11..19).unwrap_or_default().to_owned()
}
