//! Names that come out the same whenever the same thing is named.

use std::sync::Arc;

use agentry_core::{CheckpointId, ThreadId, Timestamp};
use xxhash_rust::xxh3::Xxh3;

/// What names a task: the same again after a crash, another one on another branch. Its text is made when it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskId {
    pub base: CheckpointId,
    pub ns: Arc<str>,
    pub step: i64,
    pub node: Arc<str>,
    pub slot: u32,
}

impl TaskId {
    fn hash(&self) -> Xxh3 {
        let mut hash = Xxh3::new();
        hash.update(self.base.as_bytes());
        for part in [&self.ns, &self.node] {
            hash.update(&part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(&self.step.to_le_bytes());
        hash.update(&self.slot.to_le_bytes());
        hash
    }

    /// In the form of a UUID.
    pub(crate) fn text(&self) -> String {
        uuid::Uuid::from_u128(self.hash().digest128()).to_string()
    }

    /// The number of the entry that made the checkpoint which the task was planned at, but for its high bits.
    pub(crate) fn planned_in(&self) -> u64 {
        let bytes = self.base.as_bytes();
        let at = |place: usize, mask: u8| u64::from(bytes.get(place).copied().unwrap_or(0) & mask);
        (at(6, 0x0f) << 22) | (at(7, 0xff) << 14) | (at(8, 0x3f) << 8) | at(9, 0xff)
    }

    /// The id of a message that has none.
    pub(crate) fn message(&self, put: usize, number: usize) -> String {
        let mut hash = self.hash();
        hash.update(b"message");
        hash.update(&put.to_le_bytes());
        hash.update(&number.to_le_bytes());
        uuid::Uuid::from_u128(hash.digest128()).to_string()
    }

    /// A number that looks random.
    pub(crate) fn spread(&self, number: u32) -> u64 {
        let mut hash = self.hash();
        hash.update(b"spread");
        hash.update(&number.to_le_bytes());
        hash.digest()
    }

    /// The id of the `number`-th question that the task asks: 32 hexadecimal digits.
    pub(crate) fn question(&self, number: u32) -> String {
        let mut hash = self.hash();
        hash.update(&number.to_le_bytes());
        format!("{:032x}", hash.digest128())
    }
}

/// Whether an entry of which only [`TaskId::planned_in`] is known comes after `base`.
pub(crate) fn is_after(planned_in: u64, base: u64) -> bool {
    const KNOWN: u64 = 1 << 26;
    let ahead = planned_in.wrapping_sub(base) % KNOWN;
    ahead > 0 && ahead < KNOWN / 2
}

/// Ids of checkpoints: by time, then by the entry that made them, then by their place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt([u8; 5]);

impl Salt {
    pub(crate) fn of(thread: ThreadId) -> Self {
        let mut salt = [0; 5];
        let digest = xxhash_rust::xxh3::xxh3_64(thread.as_bytes()).to_le_bytes();
        for (to, from) in salt.iter_mut().zip(digest) {
            *to = from;
        }
        Self(salt)
    }

    /// Version 7 keeps four bits of the first byte and six of the third for itself.
    pub(crate) fn checkpoint(self, now: Timestamp, seq: u64, index: usize) -> CheckpointId {
        let Self([a, b, c, d, e]) = self;
        let low = |shift: u32, mask: u64| ((seq >> shift) & mask) as u8;
        let place = u8::try_from(index).unwrap_or(u8::MAX);
        let random =
            [low(22, 0x0f), low(14, 0xff), low(8, 0x3f), low(0, 0xff), place, a, b, c, d, e];
        CheckpointId::new(now, random)
    }
}

/// The checkpoint of a graph that keeps none.
pub(crate) fn unkept_checkpoint(name: &str, ns: &str, step: i64) -> CheckpointId {
    let mut hash = Xxh3::new();
    for part in [name, ns] {
        hash.update(&part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(&step.to_le_bytes());
    CheckpointId::from_bytes(hash.digest128().to_le_bytes())
}

#[cfg(test)]
mod tests;
