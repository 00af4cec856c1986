//! What happened, as a number: the same for the same way through the code, as far as its results show that.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::mem::discriminant;

use agentry_wire::Step;

/// Only so much of a long way tells it from others.
const STEPS_MAX: usize = 24;

#[derive(Debug, Default)]
pub struct Shape(DefaultHasher);

impl Shape {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, value: impl Hash) -> Self {
        value.hash(&mut self.0);
        self
    }

    /// Which events came, and what went wrong in words without the numbers in them.
    #[must_use]
    pub fn steps(mut self, steps: &[Step]) -> Self {
        let mut before = None;
        let mut told = 0;
        for step in steps {
            let kind = match step {
                Ok(event) => Ok(discriminant(event)),
                Err(error) => Err(discriminant(error)),
            };
            // Many of one kind are as good as one.
            if before.replace(kind) != Some(kind) && told < STEPS_MAX {
                kind.hash(&mut self.0);
                told += 1;
            }
            if let Err(error) = step {
                self = self.words(&error.to_string());
            }
        }
        self
    }

    /// A sentence without what differs each time.
    #[must_use]
    pub fn words(mut self, text: &str) -> Self {
        let mut quoted = false;
        for word in text.split(' ').take(12) {
            quoted ^= word.starts_with(['`', '"']);
            if !quoted && !word.contains(|letter: char| letter.is_ascii_digit()) {
                word.hash(&mut self.0);
            }
            quoted &= !word.ends_with(['`', '"', ',', ':', '.']);
        }
        self
    }

    #[must_use]
    pub fn done(self) -> u64 {
        self.0.finish()
    }
}
