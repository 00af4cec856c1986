//! The operator's own patterns.

use regex::Regex;

use crate::Kind;
use crate::automaton::Automaton;
use crate::recognise::Candidate;

#[derive(Debug, Default)]
pub(crate) struct Deny {
    patterns: Vec<Regex>,
    /// All of them at once, to tell where one may have begun; too many or too big ones have none.
    begun: Option<Automaton>,
}

impl Deny {
    /// The patterns, or what is wrong with each that is wrong: where it stands in the list, and why.
    pub(crate) fn new(patterns: &[String]) -> Result<Self, Vec<(usize, String)>> {
        let mut compiled = Vec::with_capacity(patterns.len());
        let mut wrong = Vec::new();
        for (at, pattern) in patterns.iter().enumerate() {
            match Regex::new(pattern) {
                Ok(regex) if regex.is_match("") => {
                    let reason =
                        "it matches the empty text, and so every text; make it match something";
                    wrong.push((at, format!("`{pattern}`: {reason}")));
                }
                Ok(regex) => compiled.push(regex),
                Err(error) => wrong.push((at, explain(pattern, &error))),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let texts: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let begun = if texts.is_empty() { None } else { Automaton::text(&texts) };
        Ok(Self { patterns: compiled, begun })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Adds what matches from `from` on.
    pub(crate) fn find(&self, text: &str, from: usize, found: &mut Vec<Candidate>) {
        for (pattern, rule) in self.patterns.iter().zip(0..) {
            let mut at = from;
            while let Some(hit) = pattern.find_at(text, at) {
                let (start, end) = (hit.start(), hit.end());
                if start < end {
                    found.push(Candidate { kind: Kind::Deny, rule, start, end, score: 1.0 });
                }
                // An empty match, as of `\b`, is skipped with the character after it.
                let width = text.get(end..).and_then(|rest| rest.chars().next());
                at = if start < end { end } else { end + width.map_or(1, char::len_utf8) };
                if at > text.len() {
                    break;
                }
            }
        }
    }

    /// The earliest place from `from` on where a match may have begun that the end of the text cuts off.
    pub(crate) fn live(&self, text: &str, from: usize, window: usize) -> usize {
        let floor = from.max(text.len().saturating_sub(window));
        match (&self.begun, self.is_empty()) {
            (_, true) => text.len(),
            (None, false) => floor,
            (Some(begun), false) => {
                let mut starts = (floor..text.len()).filter(|at| text.is_char_boundary(*at));
                starts.find(|at| begun.run(text.as_bytes(), *at).is_live).unwrap_or(text.len())
            }
        }
    }
}

/// The name of a pattern in reports: where it stands in the settings.
pub(crate) fn name(rule: u16) -> String {
    format!("deny[{rule}]")
}

/// The pattern, the place in it and the reason; for a syntax error that is what its own text shows.
fn explain(pattern: &str, error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("`{pattern}` is too big: it needs more than {limit} bytes; make it simpler")
        }
        other => match place(pattern) {
            Some((line, column, reason)) => {
                format!("`{pattern}`, line {line}, column {column}: {reason}")
            }
            None => format!("`{pattern}`: {other}"),
        },
    }
}

fn place(pattern: &str) -> Option<(usize, usize, String)> {
    let error = regex_syntax::Parser::new().parse(pattern).err()?;
    let (span, reason) = match &error {
        regex_syntax::Error::Parse(error) => (error.span(), error.kind().to_string()),
        regex_syntax::Error::Translate(error) => (error.span(), error.kind().to_string()),
        _ => return None,
    };
    Some((span.start.line, span.start.column, reason))
}

#[cfg(test)]
mod tests;
