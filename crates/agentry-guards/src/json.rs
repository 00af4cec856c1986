//! The JSON text of a tool call's arguments: its strings and numbers are guarded, and it stays JSON.
//!
//! Names of fields pass as they are and count as context for their values. A number that must be replaced becomes a string.
//! Escapes in strings may come out in another spelling. What does not begin as JSON is guarded as plain text.

use std::sync::Arc;

use crate::policy::Policy;
use crate::report::{Blocked, Report};
use crate::stream::StreamGuard;

/// No number that matters is longer; what is longer is looked at in parts.
const BARE: usize = 256;
/// How much of a field's name is context.
const NAME: usize = 40;

/// The guard of one JSON text in pieces.
#[derive(Debug, Clone)]
pub struct JsonGuard {
    inner: StreamGuard,
    place: Place,
    /// Whether each open bracket is that of an object.
    open: Vec<Bracket>,
    /// Whether the next string of the object is a name.
    expects_name: bool,
    /// The last name, as context.
    name: String,
    /// An escape of which more must come.
    escape: String,
    /// A number or word that may go on.
    bare: String,
    /// Characters of a string that the inner guard has not seen.
    decoded: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Object,
    Array,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    /// It is no JSON.
    Plain,
    Between,
    Name,
    NameEscape,
    Value,
    ValueEscape,
}

impl JsonGuard {
    pub(crate) fn new(policy: Arc<Policy>, place: String) -> Self {
        Self {
            inner: StreamGuard::new(policy, place),
            place: Place::Start,
            open: Vec::new(),
            expects_name: false,
            name: String::new(),
            escape: String::new(),
            bare: String::new(),
            decoded: String::new(),
        }
    }

    /// Takes a piece, and adds to `out` what may go on.
    pub fn push(&mut self, piece: &str, out: &mut String) -> Result<(), Blocked> {
        for (at, c) in piece.char_indices() {
            if self.place == Place::Start && !c.is_whitespace() {
                let is_json = matches!(c, '{' | '[' | '"');
                self.place = if is_json { Place::Between } else { Place::Plain };
            }
            match self.place {
                Place::Start => out.push(c),
                Place::Plain => return self.inner.push(piece.get(at..).unwrap_or_default(), out),
                Place::Between => self.between(c, out)?,
                Place::Name | Place::NameEscape => self.name(c, out),
                Place::Value => self.value(c, out)?,
                Place::ValueEscape => self.escaped(c, out)?,
            }
        }
        self.pass(out)
    }

    /// The text is complete, or as complete as it will be.
    pub fn finish(&mut self, out: &mut String) -> Result<(), Blocked> {
        self.flush(out)?;
        self.bare(out)?;
        out.push_str(&std::mem::take(&mut self.escape));
        self.inner.finish(out)
    }

    /// Lets go of what the inner guard holds, though more may come.
    pub(crate) fn flush(&mut self, out: &mut String) -> Result<(), Blocked> {
        self.pass(out)?;
        let mut text = String::new();
        self.inner.flush(&mut text)?;
        self.write(&text, out);
        Ok(())
    }

    /// What was found so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        self.inner.report()
    }

    pub(crate) fn take_report(&mut self) -> Report {
        self.inner.take_report()
    }

    fn between(&mut self, c: char, out: &mut String) -> Result<(), Blocked> {
        if !(c.is_ascii_whitespace() || matches!(c, '{' | '}' | '[' | ']' | ':' | ',' | '"')) {
            self.bare.push(c);
            return if self.bare.len() > BARE { self.bare(out) } else { Ok(()) };
        }
        self.bare(out)?;
        match c {
            '{' => self.open.push(Bracket::Object),
            '[' => self.open.push(Bracket::Array),
            '}' | ']' => {
                self.open.pop();
            }
            _ => {}
        }
        match c {
            '{' | ',' => self.expects_name = self.open.last() == Some(&Bracket::Object),
            ':' | '[' => self.expects_name = false,
            '"' if self.expects_name => {
                self.name.clear();
                self.place = Place::Name;
            }
            '"' => {
                self.begin();
                self.place = Place::Value;
            }
            _ => {}
        }
        out.push(c);
        Ok(())
    }

    /// A new value, which its name explains.
    fn begin(&mut self) {
        let mut context = String::new();
        if !self.name.is_empty() {
            // `phoneNumber` and `phone_number` are two words.
            for c in self.name.chars() {
                if c.is_ascii_uppercase() {
                    context.push(' ');
                }
                context.push(if c == '_' { ' ' } else { c });
            }
            context.push_str(": ");
        }
        self.inner.restart(&context);
    }

    fn name(&mut self, c: char, out: &mut String) {
        out.push(c);
        self.place = match (self.place, c) {
            (Place::Name, '"') => Place::Between,
            (Place::Name, '\\') => Place::NameEscape,
            _ => {
                if self.name.len() < NAME {
                    self.name.push(c);
                }
                Place::Name
            }
        };
    }

    fn value(&mut self, c: char, out: &mut String) -> Result<(), Blocked> {
        match c {
            '"' => {
                self.pass(out)?;
                let mut text = String::new();
                self.inner.finish(&mut text)?;
                self.write(&text, out);
                out.push('"');
                self.place = Place::Between;
            }
            '\\' => {
                self.escape.push(c);
                self.place = Place::ValueEscape;
            }
            c => self.decoded.push(c),
        }
        Ok(())
    }

    fn escaped(&mut self, c: char, out: &mut String) -> Result<(), Blocked> {
        self.escape.push(c);
        match unescape(&self.escape) {
            Escape::Partial => return Ok(()),
            Escape::Character(c) => self.decoded.push(c),
            // Half of a pair, or no escape at all: it passes as it is. What stands behind it is read for its own.
            Escape::Not => {
                self.flush(out)?;
                let own = half(&self.escape);
                let rest = self.escape.split_off(own);
                out.push_str(&self.escape);
                self.escape.clear();
                self.place = Place::Value;
                return rest.chars().try_for_each(|c| match self.place == Place::ValueEscape {
                    true => self.escaped(c, out),
                    false => self.value(c, out),
                });
            }
        }
        self.escape.clear();
        self.place = Place::Value;
        Ok(())
    }

    /// Hands what was decoded to the inner guard.
    fn pass(&mut self, out: &mut String) -> Result<(), Blocked> {
        if self.decoded.is_empty() {
            return Ok(());
        }
        let mut text = String::with_capacity(self.decoded.len());
        self.inner.push(&self.decoded, &mut text)?;
        self.decoded.clear();
        self.write(&text, out);
        Ok(())
    }

    /// Ends a number or a word.
    fn bare(&mut self, out: &mut String) -> Result<(), Blocked> {
        if self.bare.is_empty() {
            return Ok(());
        }
        self.begin();
        let mut text = String::with_capacity(self.bare.len());
        self.inner.push(&self.bare, &mut text)?;
        self.inner.finish(&mut text)?;
        if text == self.bare {
            out.push_str(&text);
        } else {
            out.push('"');
            encode(&text, out);
            out.push('"');
        }
        self.bare.clear();
        Ok(())
    }

    fn write(&self, text: &str, out: &mut String) {
        if self.place == Place::Plain { out.push_str(text) } else { encode(text, out) }
    }
}

enum Escape {
    Partial,
    Character(char),
    Not,
}

fn unescape(escape: &str) -> Escape {
    let Some(body) = escape.get(1..) else { return Escape::Not };
    match body {
        "" | "u" => return Escape::Partial,
        "n" => return Escape::Character('\n'),
        "t" => return Escape::Character('\t'),
        "r" => return Escape::Character('\r'),
        "b" => return Escape::Character('\u{8}'),
        "f" => return Escape::Character('\u{C}'),
        "\"" | "\\" | "/" => {
            return body.chars().next().map_or(Escape::Not, Escape::Character);
        }
        _ => {}
    }
    let unit =
        |from: usize| body.get(from..from + 4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
    let is_hex = |from: usize| body.chars().skip(from).take(4).all(|c| c.is_ascii_hexdigit());
    match (body.starts_with('u') && is_hex(1), body.len()) {
        (true, ..5) => Escape::Partial,
        (true, 5) => match unit(1) {
            Some(0xD800..=0xDBFF) => Escape::Partial,
            Some(code) => char::from_u32(u32::from(code)).map_or(Escape::Not, Escape::Character),
            None => Escape::Not,
        },
        // The second half of a pair: `\uD83D\uDE00`.
        (true, 6..11)
            if r"\u".starts_with(body.get(5..body.len().min(7)).unwrap_or("-")) && is_hex(7) =>
        {
            Escape::Partial
        }
        (true, 11) if body.get(5..7) == Some(r"\u") => {
            let pair = unit(1).zip(unit(7)).map(|(high, low)| [high, low]);
            let decoded = pair.and_then(|pair| String::from_utf16(&pair).ok());
            decoded.and_then(|text| text.chars().next()).map_or(Escape::Not, Escape::Character)
        }
        _ => Escape::Not,
    }
}

/// How much of an escape that is none has to be left alone: the first half of a pair without the second.
fn half(escape: &str) -> usize {
    const HALF: usize = r"\uD83D".len();
    let is_half = escape.as_bytes().get(1) == Some(&b'u') && escape.len() > HALF;
    if is_half && escape.is_char_boundary(HALF) { HALF } else { escape.len() }
}

fn encode(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                out.push_str("\\u00");
                crate::keyed::hex(&[u8::try_from(c).unwrap_or_default()], 1, out);
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests;
