//! Whether a value was drawn at random, or written to be read.

/// Shannon's entropy, in bits per byte.
pub(super) fn bits(text: &str) -> f64 {
    let mut counts = [0_u32; 128];
    let mut total = 0_u32;
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
            total += 1;
        }
    }
    let total = f64::from(total.max(1));
    let share = |count: &u32| f64::from(*count) / total;
    counts.iter().filter(|count| **count > 0).map(|count| -share(count) * share(count).log2()).sum()
}

/// Words of examples: a key with one of them opens nothing.
const EXAMPLES: &[&str] =
    &["example", "your", "xxxx", "placeholder", "changeme", "redacted", "dummy", "....", "****"];

/// Words of code and of names; a value with one of them was not drawn at random.
const NAMES: &[&str] = &[
    "change_me",
    "sample",
    "insert",
    "replace",
    "1234567890",
    "abcdef",
    "secret",
    "password",
    "undefined",
    "null",
    "none",
    "process.env",
    "os.environ",
    "getenv",
    "config.",
    "settings.",
    "test_key",
    "my_",
    "my-",
    "foobar",
    "lorem",
];

pub(super) fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let body = lower.rsplit(['_', '-']).next().unwrap_or_default();
    EXAMPLES.iter().any(|word| lower.contains(word))
        || lower.starts_with('$')
        || body.len() > 8 && body.bytes().all(|byte| body.as_bytes().first() == Some(&byte))
}

fn is_named(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    is_placeholder(value) || NAMES.iter().any(|word| lower.contains(word))
}

/// Whether a value is a key: long, random, of letters and digits, and no name, path, date or UUID.
pub(super) fn is_key(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    let words = value.split(['_', '-', '.', '/']).filter(|part| part.len() > 3);
    let readable = words.clone().count() > 2
        && words.clone().all(|word| word.bytes().all(|b| b.is_ascii_alphabetic()));
    value.len() >= 16
        && digits >= 2
        && letters >= 3
        && !readable
        && !is_uuid(value)
        && !is_named(value)
        && bits(value) >= 3.2
}

/// Whether a value is a password that somebody took care of.
pub(super) fn is_password(value: &str) -> bool {
    let has = |class: fn(&u8) -> bool| usize::from(value.bytes().any(|byte| class(&byte)));
    let classes = has(u8::is_ascii_digit)
        + has(u8::is_ascii_lowercase)
        + has(u8::is_ascii_uppercase)
        + has(u8::is_ascii_punctuation);
    value.len() >= 8 && classes >= 3 && bits(value) >= 2.7 && !is_named(value) || is_key(value)
}

fn is_uuid(value: &str) -> bool {
    let dashes = value.match_indices('-').map(|(at, _)| at);
    value.len() == 36
        && dashes.eq([8, 13, 18, 23])
        && value.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
