//! What is wrong with a file, shown so that it can be mended without searching.

use std::fmt::Write as _;
use std::ops::Range;

use serde::Serialize;

/// Bytes of a long line that are shown before and behind a place.
const AROUND: usize = 100;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Bytes of the file.
    File(Range<usize>),
    /// A variable's name.
    Environment(String),
    Nowhere,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    pub message: String,
    pub help: Option<String>,
    /// The place holds a secret, which is not shown.
    secret: bool,
}

impl Problem {
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), help: None, secret: false }
    }

    /// What to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn hide(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// All problems of one file, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// What has them, as in `3 problems in ...`.
    subject: String,
    /// As the user named it.
    pub file: String,
    text: String,
    list: Vec<Problem>,
}

/// One problem as data.
#[derive(Debug, Serialize)]
pub struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<String>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl Problems {
    #[must_use]
    pub fn new(subject: &str, file: &str, text: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| crate::tree::position(&problem.place));
        let (subject, file, text) = (subject.to_owned(), file.to_owned(), text.to_owned());
        Self { subject, file, text, list }
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    pub fn shown(&self) -> Vec<Shown> {
        let shown = self.list.iter().map(|problem| {
            let Problem { place, message, help, secret: _ } = problem;
            let mut shown = Shown {
                file: None,
                line: None,
                column: None,
                variable: None,
                message: message.clone(),
                help: help.clone(),
            };
            match place {
                Place::File(span) => {
                    let spot = Spot::find(&self.text, span);
                    shown.file = Some(self.file.clone());
                    shown.line = Some(spot.line);
                    shown.column = Some(spot.column);
                }
                Place::Environment(name) => shown.variable = Some(name.clone()),
                Place::Nowhere => {}
            }
            shown
        });
        shown.collect()
    }

    /// A line without the secrets in it, whichever problem they belong to, and without what may be one.
    fn masked(&self, line_start: usize, source: &str, span: &Range<usize>) -> Masked {
        let meant = meant_as_secret(&self.text, line_start);
        let secret = |at: usize| {
            let known = self.list.iter().find_map(|problem| match &problem.place {
                Place::File(hidden) if problem.secret && hidden.contains(&at) => Some(hidden.end),
                _ => None,
            });
            known.or_else(|| {
                meant.as_ref().filter(|meant| meant.contains(&at)).map(|meant| meant.end)
            })
        };
        let mut masked = Masked::default();
        let mut hidden_until = 0;
        for (at, letter) in source.char_indices().map(|(at, letter)| (line_start + at, letter)) {
            let (is_before, is_inside) = (at < span.start, span.contains(&at));
            let piece = match secret(at) {
                Some(end) if at >= hidden_until => {
                    hidden_until = end;
                    "\"...\"".to_owned()
                }
                Some(_) => continue,
                None => letter.to_string(),
            };
            masked.line.push_str(&piece);
            if is_before {
                // A tab stays a tab above the caret, so that both lines move alike.
                let blank = |letter| if letter == '\t' { '\t' } else { ' ' };
                masked.indent.extend(piece.chars().map(blank));
            } else if is_inside {
                masked.width += piece.chars().count();
            }
        }
        masked
    }

    fn write(&self, f: &mut std::fmt::Formatter<'_>, problem: &Problem) -> std::fmt::Result {
        let Problem { place, message, help, secret: _ } = problem;
        match place {
            Place::File(span) => {
                let Spot { line, column, source } = Spot::find(&self.text, span);
                writeln!(f, "{}:{line}:{column}: {message}", self.file)?;
                let start = floor(&self.text, span.start);
                let line_start = self.text.get(..start).and_then(|text| text.rfind('\n'));
                let (from, source) = window(line_start.map_or(0, |at| at + 1), source, start);
                let shown = self.masked(from, source, span);
                let gutter = " ".repeat(line.to_string().len());
                writeln!(f, "  {line} | {}", shown.line)?;
                writeln!(f, "  {gutter} | {}{}", shown.indent, "^".repeat(shown.width.max(1)))?;
            }
            Place::Environment(name) => {
                writeln!(f, "environment variable {name}: {message}")?;
            }
            Place::Nowhere => writeln!(f, "{}: {message}", self.file)?,
        }
        match help {
            Some(help) => writeln!(f, "  = {help}"),
            None => Ok(()),
        }
    }
}

/// Where something stands in the line around `at` that is to be a secret, going by its key: what cannot be read, has a wrong type or a
/// misspelled key is not known to be one. The name of a secret is none.
fn meant_as_secret(text: &str, at: usize) -> Option<Range<usize>> {
    let at = floor(text, at);
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?.lines().next()?;
    let is_key = |(equals, _): &(usize, &str)| line.get(..*equals).is_some_and(is_of_secret);
    let (equals, _) = line.match_indices('=').find(is_key)?;
    let value = line.get(equals + 1..)?;
    let shown = value.trim();
    let inner =
        shown.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or_default();
    let is_name = inner.starts_with("env:") || inner.starts_with("file:");
    if shown.is_empty() || (is_name && !inner.contains('"')) {
        return None;
    }
    let from = start + equals + 1 + (value.len() - value.trim_start().len());
    Some(from..from + shown.len())
}

/// Whether what stands before an equals sign ends with the key of a secret, however it is spelled.
fn is_of_secret(before: &str) -> bool {
    let before = before.trim_end().trim_end_matches(['"', '\'']);
    let begin =
        before.rfind(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '-');
    let key = before.get(begin.map_or(0, |at| at + 1)..).unwrap_or_default().to_ascii_lowercase();
    let mut words = key.split(['_', '-']).enumerate();
    words.any(|(place, word)| {
        let is_credential = ["secret", "password", "passwd", "authorization", "apikey"]
            .iter()
            .any(|known| word.starts_with(known));
        // A key alone may be any.
        is_credential || word == "token" || (place > 0 && word.starts_with("key"))
    })
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for problem in &self.list {
            self.write(f, problem)?;
            f.write_char('\n')?;
        }
        match self.list.len() {
            1 => write!(f, "1 problem in {}", self.subject),
            count => write!(f, "{count} problems in {}", self.subject),
        }
    }
}

impl std::error::Error for Problems {}

/// A line as it is shown, and where the caret stands under it.
#[derive(Default)]
struct Masked {
    line: String,
    indent: String,
    width: usize,
}

/// A span as a person finds it.
struct Spot<'a> {
    line: usize,
    column: usize,
    source: &'a str,
}

impl<'a> Spot<'a> {
    fn find(text: &'a str, span: &Range<usize>) -> Self {
        let start = floor(text, span.start);
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let source = text.get(line_start..).unwrap_or_default();
        let source = source.lines().next().unwrap_or_default();
        let column = text.get(line_start..start).unwrap_or_default().chars().count() + 1;
        Self { line, column, source }
    }
}

/// What is shown of a long line: the part around the place, and where it begins.
fn window(line_start: usize, line: &str, place: usize) -> (usize, &str) {
    if line.len() <= 2 * AROUND {
        return (line_start, line);
    }
    let place = place.saturating_sub(line_start);
    let from = floor(line, place.saturating_sub(AROUND));
    let to = floor(line, place.saturating_add(AROUND));
    (line_start + from, line.get(from..to).unwrap_or_default())
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A problem with the last thing that is said.
    fn check(line: &str, expected: &str) {
        let text = format!("[server]\n{line}\nname = 1\n");
        let end = text.len() - "\nname = 1\n".len();
        let problem = Problem::new(Place::File(end - 1..end), "what is this");
        let shown = Problems::new("it", "a.toml", &text, vec![problem]).to_string();
        assert_eq!(shown.lines().nth(1), Some(format!("  2 | {expected}").as_str()), "{shown}");
    }

    #[test]
    fn what_was_to_be_a_secret_is_not_shown_whatever_is_wrong_with_it() {
        let hidden = |line: &str| {
            let (before, _) = line.split_once("sk-1").unwrap();
            let before = before.trim_end_matches(['"', '[', '\'', ' ']);
            check(line, &format!("{before} \"...\""));
        };
        hidden("api_key = sk-1");
        hidden("api_key = \"sk-1");
        hidden("api_key = [\"sk-1\"]");
        hidden("api_keyy = \"sk-1\"");
        hidden("  \"secret\" = 'sk-1' # new");
        hidden("v = { kind = \"openai\", api_key = sk-1 }");
        hidden("openai.api-key = sk-1==");
        hidden("token = \"sk-1 env:x\"");
        for line in [
            "listen = 7",
            "key = value",
            "api_key = \"env:KEY\"",
            "output_tokens_max = many",
            "keys = 1",
            "secret",
            "api_key =",
        ] {
            check(line, line);
        }
    }
}
