//! Masks what varies by its form: numbers, ids, addresses, times, paths. A hand-written scanner, because this runs on
//! every line.

/// Appends `message` to `into` with its variable parts replaced.
pub fn mask(message: &str, into: &mut String) {
    let mut rest = message;
    while !rest.is_empty() {
        let end = rest.bytes().position(is_separator).unwrap_or(rest.len());
        let (word, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        mask_word(word, into);
        let mut separators = tail.bytes().take_while(|byte| is_separator(*byte)).count();
        // Separators are ASCII, so this is always a boundary.
        if !tail.is_char_boundary(separators) {
            separators = tail.len();
        }
        let (between, next) = tail.split_at_checked(separators).unwrap_or((tail, ""));
        into.push_str(between);
        rest = next;
    }
}

/// Shorter hexadecimal runs may well be words with a number.
const ID_MIN: usize = 6;

fn is_separator(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t'
            | b'\n'
            | b'\r'
            | b'='
            | b','
            | b';'
            | b'('
            | b')'
            | b'['
            | b']'
            | b'{'
            | b'}'
            | b'<'
            | b'>'
            | b'"'
            | b'\''
            | b'|'
    )
}

fn mask_word(word: &str, into: &mut String) {
    let core = word.trim_end_matches([':', '.', '!', '?']);
    let ending = word.get(core.len()..).unwrap_or_default();
    if let Some(mask) = whole(core) {
        into.push_str(mask);
    } else if core.bytes().any(|byte| byte.is_ascii_digit()) {
        mask_digits(core, into);
    } else {
        into.push_str(core);
    }
    into.push_str(ending);
}

/// The mask of a word that is one value.
fn whole(word: &str) -> Option<&'static str> {
    let bytes = word.as_bytes();
    let first = *bytes.first()?;
    if word.contains("://") {
        return Some("<url>");
    }
    if first == b'/' && bytes.len() > 1 {
        return Some("<path>");
    }
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let hex = bytes.iter().filter(|byte| byte.is_ascii_hexdigit()).count();
    let dashes = bytes.iter().filter(|byte| **byte == b'-').count();
    if bytes.len() == 36 && dashes == 4 && hex == 32 {
        return Some("<id>");
    }
    if bytes.len() >= 8 && hex == bytes.len() && digits < hex {
        return Some("<hex>");
    }
    if word.strip_prefix("0x").is_some_and(|tail| tail.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Some("<hex>");
    }
    let dots = bytes.iter().filter(|byte| **byte == b'.').count();
    let numeric = bytes.iter().all(|byte| {
        byte.is_ascii_digit() || matches!(byte, b'.' | b':' | b'-' | b'+' | b'/' | b'%')
    });
    if numeric && dots == 3 && !word.contains('-') {
        return Some("<ip>");
    }
    if numeric && (word.contains(':') || dashes >= 2) && digits >= 4 {
        return Some("<time>");
    }
    let is_stamp = bytes.len() >= 19 && bytes.get(10) == Some(&b'T') && digits >= 14;
    if is_stamp {
        return Some("<time>");
    }
    (numeric || is_quantity(word)).then_some("<num>")
}

/// A number with a unit: `12ms`, `-3.5KB`.
fn is_quantity(word: &str) -> bool {
    let number = word.trim_start_matches(['-', '+']);
    let unit = number.trim_start_matches(|letter: char| {
        letter.is_ascii_digit() || letter == '.' || letter == '_'
    });
    unit.len() < number.len()
        && unit.len() <= 4
        && unit.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'%')
}

/// Masks the parts of a compound word: an id as a whole, else each run of digits.
fn mask_digits(word: &str, into: &mut String) {
    let mut rest = word;
    while !rest.is_empty() {
        let end = rest
            .bytes()
            .position(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        let (part, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        mask_part(part, into);
        let mut letters = tail.chars();
        into.extend(letters.next());
        rest = letters.as_str();
    }
}

fn mask_part(part: &str, into: &mut String) {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let is_id = part.len() >= ID_MIN
        && digits > 0
        && digits < part.len()
        && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id {
        into.push_str("<hex>");
        return;
    }
    let mut in_digits = false;
    for letter in part.chars() {
        let digit = letter.is_ascii_digit();
        if digit && !in_digits {
            into.push_str("<num>");
        } else if !digit {
            into.push(letter);
        }
        in_digits = digit;
    }
}
