//! The world, as far as effects can change it: it remembers everything that was done to it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default)]
pub struct Effects {
    done: Mutex<Vec<(String, String)>>,
}

impl Effects {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Something named `name` is done under an idempotency key; answers how often that key was seen before.
    pub fn perform(&self, name: &str, key: &str) -> usize {
        let mut done = self.done();
        let before = done.iter().filter(|(_, known)| known == key).count();
        done.push((name.to_owned(), key.to_owned()));
        before
    }

    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.done().iter().filter(|(known, _)| known == name).count()
    }

    /// Under how many different keys it was done: more than one cannot be recognised as repetitions.
    #[must_use]
    pub fn keys(&self, name: &str) -> usize {
        let done = self.done();
        let keys = done.iter().filter(|(known, _)| known == name).map(|(_, key)| key);
        keys.collect::<std::collections::BTreeSet<_>>().len()
    }

    /// How often each name was performed.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (name, _) in self.done().iter() {
            *counts.entry(name.clone()).or_default() += 1;
        }
        counts
    }

    /// The names in the order in which they were performed.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.done().iter().map(|(name, _)| name.clone()).collect()
    }

    fn done(&self) -> MutexGuard<'_, Vec<(String, String)>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
