//! JSON read into the same values as TOML, each with its place.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::problem::{Place, Problem};
use crate::tree::{Entry, Node, Table, Value};

/// Deeper than anybody writes by hand.
const DEPTH_MAX: usize = 64;

/// The object that `text` holds, or the first thing that is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Table, Problem> {
    let mut parser = Parser { text, at: 0 };
    let node = parser.value(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.wrong("nothing may follow the object"));
    }
    match node {
        Some(Node { value: Value::Table(table), .. }) => Ok(table),
        Some(_) | None => Err(Problem::new(Place::File(0..1), "the file must hold one object")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn wrong(&self, message: &str) -> Problem {
        let width = self.rest().chars().next().map_or(0, char::len_utf8);
        Problem::new(Place::File(self.at..self.at + width), message)
    }

    fn take(&mut self, token: char) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, token: char, after: &str) -> Result<(), Problem> {
        match self.take(token) {
            true => Ok(()),
            false => Err(self.wrong(&format!("expected `{token}` {after}"))),
        }
    }

    /// `null` is nothing: a key that has it is as good as absent.
    fn value(&mut self, depth: usize) -> Result<Option<Node>, Problem> {
        self.space();
        if depth > DEPTH_MAX {
            return Err(self.wrong("this is nested too deeply"));
        }
        let start = self.at;
        let value = match self.rest().chars().next() {
            Some('{') => Value::Table(self.object(depth)?),
            Some('[') => Value::List(self.list(depth)?),
            Some('"') => Value::Text(self.string()?.0),
            Some(_) => match self.word() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => return Ok(None),
                word => number(word).ok_or_else(|| {
                    let width = word.len().max(1);
                    Problem::new(Place::File(start..start + width), "this is no JSON value")
                })?,
            },
            None => return Err(self.wrong("the file ends where a value is expected")),
        };
        Ok(Some(Node { place: Place::File(start..self.at), value }))
    }

    fn object(&mut self, depth: usize) -> Result<Table, Problem> {
        self.at += 1;
        let mut entries = BTreeMap::new();
        while !self.take('}') {
            if !entries.is_empty() {
                self.expect(',', "between two entries")?;
                self.space();
            }
            if !self.rest().starts_with('"') {
                return Err(self.wrong("expected a key in double quotes"));
            }
            let (key, span) = self.string()?;
            self.expect(':', "after the key")?;
            let value = self.value(depth + 1)?;
            let place = Place::File(span);
            if entries.contains_key(&key) {
                return Err(Problem::new(place, format!("`{key}` is there twice")));
            }
            entries.insert(key, value.map(|node| Entry { key: place, node }));
        }
        let entries = entries.into_iter().filter_map(|(key, entry)| Some((key, entry?)));
        Ok(Table { entries: entries.collect() })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        self.at += 1;
        let mut items = Vec::new();
        while !self.take(']') {
            if !items.is_empty() {
                self.expect(',', "between two items")?;
            }
            let start = self.at;
            let null = || Node { place: Place::File(start..start + 1), value: Value::Other };
            items.push(self.value(depth + 1)?.unwrap_or_else(null));
        }
        Ok(items)
    }

    fn string(&mut self) -> Result<(String, Range<usize>), Problem> {
        let rest = self.rest();
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, letter)| {
            let ends = *letter == '"' && !escaped;
            escaped = *letter == '\\' && !escaped;
            ends
        });
        let Some((end, _)) = end else { return Err(self.wrong("this string has no end")) };
        let span = self.at..self.at + end + 1;
        let text = serde_json::from_str(rest.get(..=end).unwrap_or_default());
        let text = text.map_err(|_| {
            Problem::new(Place::File(span.clone()), "this string has an escape that JSON lacks")
        })?;
        self.at = span.end;
        Ok((text, span))
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let ends = |letter: char| !letter.is_ascii_alphanumeric() && !"+-.".contains(letter);
        let word = rest.get(..rest.find(ends).unwrap_or(rest.len())).unwrap_or_default();
        self.at += word.len();
        word
    }
}

fn number(word: &str) -> Option<Value> {
    let number: serde_json::Number = serde_json::from_str(word).ok()?;
    number.as_i64().map(Value::Integer).or_else(|| number.as_f64().map(Value::Float))
}

#[cfg(test)]
mod tests;
