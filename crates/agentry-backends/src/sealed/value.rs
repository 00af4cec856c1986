//! JSON that is sealed. Lists and objects that are the whole value of a state's key are sealed by their parts, because
//! stores add to them without reading them.

use agentry_core::run::{Delta, Values};
use agentry_core::store::Error;
use agentry_core::thread::{States, Write};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::keyring::{Safe, is_sealed};
use super::unreadable;

/// Parts from here on are sealed alone and alike: sealed, they are what stores keep once.
const LARGE: usize = 12 << 10;
/// The member that holds an object's small ones together.
const TOGETHER: &str = "~";

/// The only member of an object that is sealed as a whole, and the place of an item's.
pub(super) const VALUE: &str = "~value";

/// A member of an object, and since which entry it has that value.
type Member = (String, u64, Value);

impl Safe<'_> {
    pub(super) fn value(&self, place: &str, value: &Value) -> Result<Value, Error> {
        self.seal(place, text(value)).map(Value::String)
    }

    pub(super) fn value_of(&self, place: &str, value: Value) -> Result<Value, Error> {
        let Value::String(text) = &value else { return Ok(value) };
        match self.open(place, text)? {
            Some(plain) => parse(&plain),
            None => Ok(value),
        }
    }

    /// Puts one sealed member in the place of all of them; answers with that as JSON.
    pub(super) fn whole(
        &self,
        place: &str,
        members: &mut Map<String, Value>,
    ) -> Result<String, Error> {
        let sealed = self.value(place, &Value::Object(std::mem::take(members)))?;
        members.insert(VALUE.to_owned(), sealed);
        serde_json::to_string(members).map_err(unreadable)
    }

    /// What was stored as it is stays as it is.
    pub(super) fn whole_of(
        &self,
        place: &str,
        members: &mut Map<String, Value>,
    ) -> Result<(), Error> {
        let sealed = match members.get(VALUE) {
            Some(Value::String(sealed)) if members.len() == 1 && is_sealed(sealed) => sealed,
            _ => return Ok(()),
        };
        match self.value_of(place, Value::from(sealed.as_str()))? {
            Value::Object(value) => {
                *members = value;
                Ok(())
            }
            _ => Err(unreadable("it is no object")),
        }
    }

    pub(super) fn string(&self, place: &str, text: &str) -> Result<String, Error> {
        self.seal(place, text.as_bytes().to_vec())
    }

    pub(super) fn string_of(&self, place: &str, text: String) -> Result<String, Error> {
        match self.open(place, &text)? {
            Some(plain) => String::from_utf8(plain).map_err(unreadable),
            None => Ok(text),
        }
    }

    pub(super) fn writes(&self, seq: u64, writes: &mut [Write]) -> Result<(), Error> {
        for Write { ns, channel, delta } in writes {
            let place = place(ns, channel);
            *delta = match &*delta {
                Delta::Set(value) => Delta::Set(self.state(&place, seq, value)?),
                Delta::Append(items) => Delta::Append(self.list(&place, items)?),
                Delta::Merge(members) => Delta::Merge(self.merge(&place, seq, members)?),
            };
        }
        Ok(())
    }

    pub(super) fn writes_of(&self, writes: &mut [Write]) -> Result<(), Error> {
        for Write { ns, channel, delta } in writes {
            let place = place(ns, channel);
            *delta = match std::mem::replace(delta, Delta::Append(Vec::new())) {
                Delta::Set(value) => Delta::Set(self.state_of(&place, value)?),
                Delta::Append(items) => Delta::Append(self.list_of(&place, items)?),
                Delta::Merge(members) => Delta::Merge(self.members_of(&place, members)?),
            };
        }
        Ok(())
    }

    pub(super) fn states(&self, seq: u64, states: &mut States) -> Result<(), Error> {
        each(states, |place, value| self.state(place, seq, &value))
    }

    pub(super) fn states_of(&self, states: &mut States) -> Result<(), Error> {
        each(states, |place, value| self.state_of(place, value))
    }

    fn state(&self, place: &str, seq: u64, value: &Value) -> Result<Value, Error> {
        match value {
            Value::Array(items) => self.list(place, items).map(Value::Array),
            Value::Object(members) => self.object(place, seq, members).map(Value::Object),
            Value::String(large) if large.len() >= LARGE => {
                self.seal_alike(place, text(value)).map(Value::String)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.value(place, value)
            }
        }
    }

    fn state_of(&self, place: &str, value: Value) -> Result<Value, Error> {
        match value {
            Value::Array(items) => self.list_of(place, items).map(Value::Array),
            Value::Object(members) => self.members_of(place, members).map(Value::Object),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.value_of(place, value)
            }
        }
    }

    /// Each part is a list of one or more items.
    fn list(&self, place: &str, items: &[Value]) -> Result<Vec<Value>, Error> {
        let mut parts = Vec::new();
        let mut small = Vec::new();
        for item in items {
            let text = text(item);
            if text.len() < LARGE {
                small.push(text);
                continue;
            }
            self.together(place, &mut small, &mut parts)?;
            parts.push(Value::String(self.seal_alike(place, listed(&[text]))?));
        }
        self.together(place, &mut small, &mut parts)?;
        Ok(parts)
    }

    fn together(
        &self,
        place: &str,
        small: &mut Vec<Vec<u8>>,
        parts: &mut Vec<Value>,
    ) -> Result<(), Error> {
        if !small.is_empty() {
            parts.push(Value::String(self.seal(place, listed(small))?));
            small.clear();
        }
        Ok(())
    }

    fn list_of(&self, place: &str, parts: Vec<Value>) -> Result<Vec<Value>, Error> {
        let mut items = Vec::with_capacity(parts.len());
        for part in parts {
            match &part {
                Value::String(sealed) if is_sealed(sealed) => {
                    items.extend(parse::<Vec<Value>>(&self.plain(place, sealed)?)?);
                }
                _ => items.push(part),
            }
        }
        Ok(items)
    }

    /// Of a large member, those that are together say only where it comes.
    fn object(
        &self,
        place: &str,
        seq: u64,
        members: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Error> {
        if members.is_empty() {
            return Ok(Map::new());
        }
        let mut large = Map::new();
        let mut together: Vec<Value> = Vec::with_capacity(members.len());
        for (name, value) in members {
            if text(value).len() < LARGE {
                together.push(member(name, seq, value));
            } else {
                together.push(member(name, seq, &Value::Null));
                let (name, value) = self.alone(place, name, value, seq)?;
                large.insert(name, value);
            }
        }
        let mut object = Map::new();
        object.insert(TOGETHER.to_owned(), self.value(place, &Value::Array(together))?);
        object.extend(large);
        Ok(object)
    }

    fn merge(
        &self,
        place: &str,
        seq: u64,
        members: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Error> {
        members.iter().map(|(name, value)| self.alone(place, name, value, seq)).collect()
    }

    /// Of a large one the value is a text of its own, which is the same wherever the value is.
    fn alone(
        &self,
        place: &str,
        name: &str,
        value: &Value,
        seq: u64,
    ) -> Result<(String, Value), Error> {
        let plain = text(value);
        let sealed = if plain.len() < LARGE {
            self.value(place, &Value::Array(vec![member(name, seq, value)]))?
        } else {
            let named = self.value(place, &member(name, seq, &Value::Null))?;
            Value::Array(vec![named, Value::String(self.seal_alike(place, plain)?)])
        };
        Ok((self.pseudonym(place, name), sealed))
    }

    /// Whatever was written last counts, wherever it stands.
    fn members_of(
        &self,
        place: &str,
        members: Map<String, Value>,
    ) -> Result<Map<String, Value>, Error> {
        let mut all: Vec<Member> = Vec::with_capacity(members.len());
        for (name, value) in members {
            match value {
                Value::String(sealed) if is_sealed(&sealed) => {
                    all.extend(parse::<Vec<Member>>(&self.plain(place, &sealed)?)?);
                }
                Value::Array(parts) => match parts.as_slice() {
                    [Value::String(named), Value::String(large)]
                        if is_sealed(named) && is_sealed(large) =>
                    {
                        let (name, seq, _): Member = parse(&self.plain(place, named)?)?;
                        all.push((name, seq, parse(&self.plain(place, large)?)?));
                    }
                    _ => all.push((name, 0, Value::Array(parts))),
                },
                plain => all.push((name, 0, plain)),
            }
        }
        all.sort_by_key(|(_, seq, _)| *seq);
        Ok(all.into_iter().map(|(name, _, value)| (name, value)).collect())
    }
}

impl Safe<'_> {
    fn plain(&self, place: &str, sealed: &str) -> Result<Vec<u8>, Error> {
        self.open(place, sealed)?.ok_or_else(|| unreadable("it is not sealed"))
    }
}

fn each(
    states: &mut States,
    mut change: impl FnMut(&str, Value) -> Result<Value, Error>,
) -> Result<(), Error> {
    for (ns, values) in states {
        let values: &mut Values = values;
        for (channel, value) in values {
            *value = change(&place(ns, channel), value.take())?;
        }
    }
    Ok(())
}

fn place(ns: &str, channel: &str) -> String {
    format!("state\0{ns}\0{channel}")
}

fn member(name: &str, seq: u64, value: &Value) -> Value {
    Value::Array(vec![name.into(), seq.into(), value.clone()])
}

fn listed(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![b'['];
    out.extend(items.join(&b','));
    out.push(b']');
    out
}

pub(super) fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

pub(super) fn parse<T: DeserializeOwned>(plain: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(plain).map_err(unreadable)
}
