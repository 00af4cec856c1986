//! How well a text in plain words fits an item.

use serde_json::{Map, Value};

use super::{Index, Item};

const WORDS_MAX: usize = 32;
/// What a word counts for that is there, and one that only begins like one that is there.
const WHOLE: u32 = 2;
const BEGINNING: u32 = 1;
/// So short a beginning means nothing.
const BEGINNING_CHARS_MIN: usize = 3;

/// The words of a query, each once and in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(Vec<String>);

/// How well an item fits; more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Points(u32);

impl Words {
    /// Nothing when there are no words in the text.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let mut words: Vec<String> = Vec::new();
        for word in split(&text.to_lowercase()) {
            if !words.iter().any(|known| known == word) && words.len() < WORDS_MAX {
                words.push(word.to_owned());
            }
        }
        (!words.is_empty()).then_some(Self(words))
    }

    /// Nothing when the item has none of the words.
    pub(super) fn points(&self, item: &Item) -> Option<Points> {
        let mut best = vec![0; self.0.len()];
        match &item.index {
            Index::All => self.object(&item.value, &mut best),
            Index::Nothing => {}
            Index::Fields(fields) => {
                for field in fields {
                    self.field(&item.value, field, &mut best);
                }
            }
        }
        let sum = best.iter().sum();
        (sum > 0).then_some(Points(sum))
    }

    /// From 0 to 1.
    pub(super) fn share(&self, points: Points) -> f64 {
        f64::from(points.0) / (f64::from(WHOLE) * self.0.len() as f64)
    }

    fn field(&self, value: &Map<String, Value>, path: &str, best: &mut [u32]) {
        let (name, rest) =
            path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let name = name.strip_suffix("[*]").unwrap_or(name);
        if name == "$" {
            return self.object(value, best);
        }
        let Some(found) = value.get(name) else { return };
        let Some(rest) = rest else { return self.value(found, best) };
        match found {
            Value::Object(inner) => self.field(inner, rest, best),
            Value::Array(elements) => {
                for inner in elements.iter().filter_map(Value::as_object) {
                    self.field(inner, rest, best);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn object(&self, object: &Map<String, Value>, best: &mut [u32]) {
        for value in object.values() {
            self.value(value, best);
        }
    }

    fn value(&self, value: &Value, best: &mut [u32]) {
        match value {
            Value::String(text) => self.text(&text.to_lowercase(), best),
            Value::Number(number) => self.text(&number.to_string(), best),
            Value::Array(elements) => elements.iter().for_each(|element| self.value(element, best)),
            Value::Object(object) => self.object(object, best),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn text(&self, text: &str, best: &mut [u32]) {
        for there in split(text) {
            for (word, best) in self.0.iter().zip(best.iter_mut()) {
                *best = (*best).max(fit(word, there));
            }
        }
    }
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn fit(word: &str, there: &str) -> u32 {
    if word == there {
        return WHOLE;
    }
    // Scripts that put no spaces between words are looked through.
    let begins = if word.is_ascii() {
        word.len() >= BEGINNING_CHARS_MIN && there.starts_with(word)
    } else {
        there.contains(word)
    };
    if begins { BEGINNING } else { 0 }
}
