//! What a template may be made of. Inside of `{{ }}` everything may be put together; what gets a name (by `for` or `set`) may
//! not be, so that nothing in a template grows from one use of it to the next.

use std::ops::Range;

use super::Bad;

/// Words and signs between `{{` and `}}`.
const TOKENS_MAX: usize = 200;
/// Loops inside of each other.
const LOOPS_MAX: usize = 8;
const SETS_MAX: usize = 16;
const STATEMENTS: [&str; 11] =
    ["for", "endfor", "if", "elif", "else", "endif", "set", "raw", "endraw", "break", "continue"];

/// What is given to them is not in what they come to, or it is all that they come to.
const CHOOSING: [&str; 9] =
    ["range", "default", "d", "select", "selectattr", "reject", "rejectattr", "sort", "unique"];

/// Refuses what could not be rendered within bounds.
pub(super) fn check(text: &str) -> Result<(), Bad> {
    let (mut at, mut loops, mut sets) = (0, 0_usize, 0);
    while let Some(tag) = Tag::next(text, at) {
        at = tag.range.end;
        tag.check().map_err(|message| Bad { message, range: Some(tag.range.clone()) })?;
        let too_many = |message: String| Err(Bad { message, range: Some(tag.range.clone()) });
        match tag.word() {
            Some("raw") => {
                let end = text.get(at..).and_then(|rest| rest.find("endraw"));
                at += end.unwrap_or(0);
            }
            Some("for") => loops += 1,
            Some("endfor") => loops = loops.saturating_sub(1),
            Some("set") => sets += 1,
            _ => {}
        }
        if loops > LOOPS_MAX {
            return too_many(format!("more than {LOOPS_MAX} loops are inside of each other"));
        }
        if sets > SETS_MAX {
            return too_many(format!("there are more than {SETS_MAX} `set`"));
        }
    }
    Ok(())
}

struct Tag<'a> {
    /// Of the text.
    range: Range<usize>,
    is_statement: bool,
    tokens: Vec<&'a str>,
}

impl<'a> Tag<'a> {
    /// The first one from `from` on; comments are passed over.
    fn next(text: &'a str, from: usize) -> Option<Self> {
        let mut from = from;
        loop {
            let rest = text.get(from..)?;
            let start = from
                + rest
                    .find("{{")
                    .into_iter()
                    .chain(rest.find("{%"))
                    .chain(rest.find("{#"))
                    .min()?;
            let inside = start + 2;
            if text.get(start..inside) == Some("{#") {
                from = inside + text.get(inside..)?.find("#}")?;
                continue;
            }
            let is_statement = text.get(start..inside) == Some("{%");
            let (tokens, end) = tokens(text, inside, if is_statement { "%}" } else { "}}" });
            return Some(Self { range: start..end, is_statement, tokens });
        }
    }

    /// Of a statement, which one.
    fn word(&self) -> Option<&'a str> {
        let mut tokens = self.tokens.iter().skip_while(|token| matches!(**token, "-" | "+"));
        tokens.next().copied().filter(|_| self.is_statement)
    }

    fn check(&self) -> Result<(), String> {
        if self.tokens.len() > TOKENS_MAX {
            return Err(format!("more than {TOKENS_MAX} words and signs are between the braces"));
        }
        if self.tokens.contains(&"*") {
            return Err(
                "a template does not multiply: let a node of the kind `set` do it".to_owned()
            );
        }
        match self.word() {
            Some(word) if !STATEMENTS.contains(&word) => {
                let known = ["for", "if", "set", "raw"].join("`, `");
                Err(format!("a template has no `{word}`: there are `{known}`"))
            }
            Some(word @ ("for" | "set")) => self.check_named(word),
            _ => Ok(()),
        }
    }

    /// What gets a name is a part of what is there, or a constant.
    fn check_named(&self, word: &str) -> Result<(), String> {
        let refused = |what: &str| {
            Err(format!("`{word}` gives a name to what is there: {what} belongs where it is used"))
        };
        let begins = self.tokens.iter().position(|token| *token == word).map_or(0, |at| at + 1);
        let ends =
            self.tokens.len() - usize::from(matches!(self.tokens.last(), Some(&("-" | "+"))));
        let tokens = self.tokens.get(begins..ends).unwrap_or_default();
        if word == "set" && !tokens.contains(&"=") {
            return refused("`set` needs a `=`, and a text that is put together");
        }
        let (mut open, mut before) = (Vec::new(), "=");
        for (at, token) in tokens.iter().enumerate() {
            let next = tokens.get(at + 1).copied().unwrap_or_default();
            let is_name = token.starts_with(|letter: char| letter.is_alphabetic() || letter == '_');
            match *token {
                "recursive" => return Err("a loop is not `recursive` here".to_owned()),
                "~" | "+" => return refused("what is put together"),
                "(" | "[" | "{" => {
                    let follows = is_value(before);
                    open.push(match *token {
                        "[" if follows => true,
                        "(" => CHOOSING.contains(&before),
                        _ => false,
                    });
                }
                ")" | "]" | "}" => drop(open.pop()),
                "true" | "false" | "none" | "True" | "False" | "None" => {}
                _ if is_name && next != "=" && open.contains(&false) => {
                    return refused("a list or a filter that others go into");
                }
                _ => {}
            }
            before = token;
        }
        Ok(())
    }
}

/// Whether a bracket behind it asks for a part of it, or calls it.
fn is_value(token: &str) -> bool {
    const WORDS: [&str; 7] = ["in", "if", "else", "and", "or", "not", "is"];
    !WORDS.contains(&token)
        && token.ends_with(|last: char| last.is_alphanumeric() || "_)]}'\"".contains(last))
}

/// The tokens from `from` on, and where what ends them has ended.
fn tokens<'a>(text: &'a str, from: usize, end: &str) -> (Vec<&'a str>, usize) {
    let (mut tokens, mut at) = (Vec::new(), from);
    while let Some(rest) = text.get(at..) {
        let Some(first) = rest.chars().next() else { break };
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let length = if rest.starts_with(end) {
            return (tokens, at + end.len());
        } else if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if first == '\'' || first == '"' {
            quoted(rest, first)
        } else if is_word(first) {
            rest.find(|letter| !is_word(letter)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        tokens.extend(rest.get(..length));
        at += length;
    }
    (tokens, text.len())
}

/// How long the text in quotes is.
fn quoted(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}
