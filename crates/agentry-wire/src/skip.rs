//! Steps over JSON values without building anything: as strict as a parser, but for numbers that no float can hold, and
//! several times as fast on long strings.

use memchr::memchr2;

/// Values inside values, no deeper than parsers go.
const DEPTH_MAX: usize = 127;

/// What is noticed on the way.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Noted {
    /// Where the insides of long strings are.
    pub(crate) long: Vec<(usize, usize)>,
    /// Some string has more than ASCII in it, so that it may not even be UTF-8. Outside of strings there is never more.
    pub(crate) is_beyond_ascii: bool,
}

/// A string that is no longer than this may be a name or a word that means something. Long ones are only text.
pub(crate) const SHORT_MAX: usize = 512;

/// It is not JSON. Where and why, a parser says better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotJson;

/// The place behind the white space at `at`.
pub(crate) fn space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The place behind the value at `at`.
pub(crate) fn value(bytes: &[u8], at: usize, noted: &mut Noted) -> Result<usize, NotJson> {
    nested(bytes, at, (0, noted))
}

fn nested(bytes: &[u8], at: usize, (depth, noted): (usize, &mut Noted)) -> Result<usize, NotJson> {
    match bytes.get(at) {
        Some(b'"') => {
            let end = string(bytes, at, noted)?;
            if end - at > SHORT_MAX {
                noted.long.push((at + 1, end - 1));
            }
            Ok(end)
        }
        Some(b'{' | b'[') if depth >= DEPTH_MAX => Err(NotJson),
        Some(b'{') => object(bytes, at, (depth, noted)),
        Some(b'[') => array(bytes, at, (depth, noted)),
        Some(b't') => word(bytes, at, b"true"),
        Some(b'f') => word(bytes, at, b"false"),
        Some(b'n') => word(bytes, at, b"null"),
        Some(b'-' | b'0'..=b'9') => number(bytes, at),
        _ => Err(NotJson),
    }
}

fn object(bytes: &[u8], at: usize, (depth, noted): (usize, &mut Noted)) -> Result<usize, NotJson> {
    let mut at = space(bytes, at + 1);
    if bytes.get(at) == Some(&b'}') {
        return Ok(at + 1);
    }
    loop {
        at = colon(bytes, string(bytes, at, noted)?)?;
        at = space(bytes, nested(bytes, at, (depth + 1, noted))?);
        match bytes.get(at) {
            Some(b',') => at = space(bytes, at + 1),
            Some(b'}') => return Ok(at + 1),
            _ => return Err(NotJson),
        }
    }
}

/// From behind a name to its value.
pub(crate) fn colon(bytes: &[u8], at: usize) -> Result<usize, NotJson> {
    let at = space(bytes, at);
    if bytes.get(at) == Some(&b':') { Ok(space(bytes, at + 1)) } else { Err(NotJson) }
}

fn array(bytes: &[u8], at: usize, (depth, noted): (usize, &mut Noted)) -> Result<usize, NotJson> {
    let mut at = space(bytes, at + 1);
    if bytes.get(at) == Some(&b']') {
        return Ok(at + 1);
    }
    loop {
        at = space(bytes, nested(bytes, at, (depth + 1, noted))?);
        match bytes.get(at) {
            Some(b',') => at = space(bytes, at + 1),
            Some(b']') => return Ok(at + 1),
            _ => return Err(NotJson),
        }
    }
}

/// The place behind the string that begins at `at`.
pub(crate) fn string(bytes: &[u8], at: usize, noted: &mut Noted) -> Result<usize, NotJson> {
    if bytes.get(at) != Some(&b'"') {
        return Err(NotJson);
    }
    let mut at = at + 1;
    loop {
        let rest = bytes.get(at..).ok_or(NotJson)?;
        let length = memchr2(b'"', b'\\', rest).ok_or(NotJson)?;
        let (plain, rest) = rest.split_at(length);
        if !is_printable(plain) {
            if has_control(plain) {
                return Err(NotJson);
            }
            noted.is_beyond_ascii = true;
        }
        at += length;
        match rest {
            [b'"', ..] => return Ok(at + 1),
            [_, b'u', hex @ ..] => {
                let digits = hex.get(..4).ok_or(NotJson)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(NotJson);
                }
                at += 6;
            }
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => at += 2,
            _ => return Err(NotJson),
        }
    }
}

/// Whether all of it is ASCII, and no control character. As signed numbers, what is beyond ASCII is below those: one
/// comparison finds both.
fn is_printable(bytes: &[u8]) -> bool {
    is_all(bytes, |byte| byte.cast_signed() >= 0x20)
}

fn has_control(bytes: &[u8]) -> bool {
    !is_all(bytes, |byte| byte >= 0x20)
}

/// Without a branch per byte, so that many are looked at at once.
#[inline]
fn is_all(bytes: &[u8], is_one: impl Fn(u8) -> bool) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let is_all = |bytes: &[u8]| bytes.iter().fold(true, |all, byte| all & is_one(*byte));
    blocks.iter().all(|block| is_all(block)) && is_all(rest)
}

fn word(bytes: &[u8], at: usize, word: &[u8]) -> Result<usize, NotJson> {
    let end = at + word.len();
    if bytes.get(at..end) == Some(word) { Ok(end) } else { Err(NotJson) }
}

fn number(bytes: &[u8], at: usize) -> Result<usize, NotJson> {
    let at = if bytes.get(at) == Some(&b'-') { at + 1 } else { at };
    let mut at = match bytes.get(at) {
        Some(b'0') => at + 1,
        Some(b'1'..=b'9') => digits(bytes, at)?,
        _ => return Err(NotJson),
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        at = digits(bytes, at)?;
    }
    Ok(at)
}

fn digits(bytes: &[u8], at: usize) -> Result<usize, NotJson> {
    let count =
        bytes.get(at..).ok_or(NotJson)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 { Err(NotJson) } else { Ok(at + count) }
}

#[cfg(test)]
mod tests;
