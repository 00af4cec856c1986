//! Large values of writes and snapshots: cut out of the text, and kept once for each thread.
//!
//! A text with holes is JSON of which pieces are missing; each hole says where its piece goes and names it by its digest. A
//! piece is found in the same way wherever it stands, so that a snapshot names what an entry has brought.

use agentry_core::run::{Delta, Values};
use agentry_core::store::Error;
use agentry_core::thread::{States, Write};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Text from here on is a piece of its own: four pages of the file, less than a tenth of which is lost to rounding.
const LARGE: usize = 16 << 10;
const HOLE_BYTES: usize = 4 + DIGEST_BYTES;
const DIGEST_BYTES: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct Text {
    pub text: String,
    pub holes: Vec<Hole>,
}

#[derive(Debug)]
pub(crate) struct Hole {
    at: usize,
    pub digest: [u8; DIGEST_BYTES],
    pub value: String,
}

impl Text {
    pub(crate) fn writes(writes: &[Write]) -> Result<Self, Error> {
        let weight: usize = writes.iter().map(|write| delta_weight(&write.delta)).sum();
        if weight < LARGE {
            return Ok(Self { text: json(&writes)?, holes: Vec::new() });
        }
        let mut cutter = Cutter::default();
        cutter.list(writes, Cutter::write).map_err(refused)?;
        cutter.text()
    }

    pub(crate) fn states(states: &States) -> Result<Self, Error> {
        let weight: usize = states.values().flat_map(Values::values).map(weight).sum();
        if weight < LARGE {
            return Ok(Self { text: json(states)?, holes: Vec::new() });
        }
        let mut cutter = Cutter::default();
        cutter
            .members(states, |cutter, values| {
                cutter.members(values, |it, value| it.value(value, 0))
            })
            .map_err(refused)?;
        cutter.text()
    }

    /// Where the pieces go, as it is stored; `None` when the text is whole.
    pub(crate) fn holes(&self) -> Option<Vec<u8>> {
        if self.holes.is_empty() {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.holes.len() * HOLE_BYTES);
        for hole in &self.holes {
            // A text of 4 GiB does not fit into a row.
            bytes.extend(u32::try_from(hole.at).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend(hole.digest);
        }
        Some(bytes)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.holes.iter().map(|hole| hole.value.len()).sum::<usize>()
    }
}

/// The digests in stored holes.
pub(crate) fn digests(holes: &[u8]) -> impl Iterator<Item = &[u8]> {
    holes.chunks_exact(HOLE_BYTES).filter_map(|hole| hole.get(4..))
}

/// What is stored is not what was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Torn {
    #[error("a hole lies outside of its text")]
    Outside,
    #[error("a large value is missing")]
    Missing,
}

/// The whole text again.
pub(crate) fn fill<'a>(
    text: &str,
    holes: &[u8],
    piece: impl Fn(&[u8]) -> Option<&'a str>,
) -> Result<String, Torn> {
    let mut whole = String::with_capacity(text.len() + holes.len() / HOLE_BYTES * LARGE);
    let mut done = 0;
    for hole in holes.chunks_exact(HOLE_BYTES) {
        let (at, digest) = hole.split_at_checked(4).unwrap_or_default();
        let at = at.try_into().map_or(usize::MAX, |at| u32::from_le_bytes(at) as usize);
        whole.push_str(text.get(done..at).ok_or(Torn::Outside)?);
        whole.push_str(piece(digest).ok_or(Torn::Missing)?);
        done = at;
    }
    whole.push_str(text.get(done..).ok_or(Torn::Outside)?);
    Ok(whole)
}

fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(refused)
}

fn refused(problem: serde_json::Error) -> Error {
    Error::Refused(problem.to_string())
}

/// About as many bytes as it has as text.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(members) => members.iter().map(|(name, it)| name.len() + weight(it)).sum(),
    }
}

fn delta_weight(delta: &Delta) -> usize {
    match delta {
        Delta::Set(value) => weight(value),
        Delta::Append(items) => items.iter().map(weight).sum(),
        Delta::Merge(members) => members.values().map(weight).sum(),
    }
}

#[derive(Default)]
struct Cutter {
    out: Vec<u8>,
    holes: Vec<Hole>,
}

type Cut = serde_json::Result<()>;

impl Cutter {
    fn text(self) -> Result<Text, Error> {
        let text = String::from_utf8(self.out).map_err(|it| Error::Refused(it.to_string()))?;
        Ok(Text { text, holes: self.holes })
    }

    fn plain(&mut self, value: &(impl Serialize + ?Sized)) -> Cut {
        serde_json::to_writer(&mut self.out, value)
    }

    fn list<T>(&mut self, items: &[T], each: impl Fn(&mut Self, &T) -> Cut) -> Cut {
        self.out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            each(self, item)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn members<'a, T: 'a>(
        &mut self,
        members: impl IntoIterator<Item = (&'a String, &'a T)>,
        each: impl Fn(&mut Self, &T) -> Cut,
    ) -> Cut {
        self.out.push(b'{');
        for (index, (name, value)) in members.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.plain(name)?;
            self.out.push(b':');
            each(self, value)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn write(&mut self, write: &Write) -> Cut {
        let Write { ns, channel, delta } = write;
        self.out.extend(br#"{"ns":"#);
        self.plain(ns)?;
        self.out.extend(br#","channel":"#);
        self.plain(channel)?;
        self.out.extend(br#","delta":"#);
        match delta {
            Delta::Set(value) => {
                self.out.extend(br#"{"set":"#);
                self.value(value, 0)?;
            }
            Delta::Append(items) => {
                self.out.extend(br#"{"append":"#);
                self.list(items, |cutter, item| cutter.value(item, 1))?;
            }
            Delta::Merge(members) => {
                self.out.extend(br#"{"merge":"#);
                self.members(members, |cutter, value| cutter.value(value, 1))?;
            }
        }
        self.out.extend(b"}}");
        Ok(())
    }

    /// A list or an object that is a channel's whole value is never a piece: the next state has another one.
    fn value(&mut self, value: &Value, depth: usize) -> Cut {
        let (start, holes) = (self.out.len(), self.holes.len());
        match value {
            Value::Array(items) => {
                self.list(items, |cutter, item| cutter.value(item, depth + 1))?;
            }
            Value::Object(members) => {
                self.members(members, |cutter, value| cutter.value(value, depth + 1))?;
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.plain(value)?;
            }
        }
        let large = self.out.len() - start >= LARGE && self.holes.len() == holes;
        if large && (depth > 0 || value.is_string()) {
            let piece = self.out.split_off(start);
            let digest = Sha256::digest(&piece).into();
            // What serde_json writes is UTF-8.
            let value = String::from_utf8(piece).map_err(serde::ser::Error::custom)?;
            self.holes.push(Hole { at: start, digest, value });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
