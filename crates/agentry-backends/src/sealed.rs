//! Encryption at rest: a store in front of another one, which sees nothing of what people have put in.
//!
//! What is sealed and what stays readable is in `docs/security.md`. Each owner, a thread, an item, a batch, has keys of its own,
//! made from the installation's, so that no value can be put in place of another owner's; which value of its owner it is
//! goes into the seal as well. A value that was stored before there was a key is read as it is.
//!
//! A copy of a thread holds what the original has sealed, so it says, sealed itself, whose copy it is.

use std::sync::Arc;

use agentry_core::store::Error;

pub use keyring::{KeyError, Keyring};
pub use note::arrange;

mod assistants;
mod batches;
mod bytes;
mod commit;
mod crons;
mod idempotency;
mod items;
mod keyring;
mod note;
mod threads;
mod value;

/// A store whose values only those with the key can read.
pub struct Sealed<S: ?Sized> {
    inner: Arc<S>,
    keys: Arc<Keyring>,
}

impl<S: ?Sized> Sealed<S> {
    pub fn new(inner: Arc<S>, keys: Arc<Keyring>) -> Self {
        Self { inner, keys }
    }
}

fn unreadable(problem: impl std::fmt::Display) -> Error {
    Error::Incompatible(format!("encrypted value: {problem}"))
}
