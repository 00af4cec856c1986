//! The members of a JSON object, each of which is there once.

use std::collections::BTreeMap;
use std::fmt;

use agentry_core::Timestamp;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

/// What a token claims.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims(BTreeMap<String, Value>);

impl Claims {
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A claim, by its name or by a path such as `realm_access.roles`.
    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        if let Some(value) = self.0.get(path) {
            return Some(value);
        }
        let mut steps = path.split('.');
        let first = self.0.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.get(path)?.as_str()
    }

    /// Words in a list, or in one text with spaces between.
    pub(super) fn words(&self, path: &str) -> Vec<&str> {
        match self.get(path) {
            Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// `Err` when it is there and no point in time.
    pub(super) fn moment(&self, name: &str) -> Result<Option<Timestamp>, ()> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => match number.as_f64() {
                Some(seconds) if (0.0..=1e11).contains(&seconds) => {
                    Ok(Some(Timestamp::from_micros((seconds * 1e6) as i64)))
                }
                _ => Err(()),
            },
            Some(_) => Err(()),
        }
    }

    pub(super) fn expires(&self) -> Option<Timestamp> {
        self.moment("exp").ok().flatten()
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    // What comes twice is read differently by different readers.
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                }
                Ok(Claims(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}
