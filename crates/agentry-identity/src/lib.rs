//! Who is calling, and what that one may do.
//!
//! A request presents a secret or a token; [`Authenticator`] says who that is, as a [`Caller`], or why not, as a [`Denied`].
//! [`KeyRing`] holds all keys in memory and follows the store; [`admin`] makes, replaces and withdraws keys.
//! This crate serves no HTTP and knows no database: it is handed headers, and stores behind ports.

pub mod admin;
pub mod token;

mod attempts;
mod authenticator;
mod caller;
mod denied;
mod keyring;
mod network;
mod pseudonym;
mod scope;
mod secret;
mod wish;

pub use admin::{Actor, Error, Issued};
pub use agentry_core::caller::Limits;
pub use authenticator::{Authenticator, Settings};
pub use caller::{Caller, Kind};
pub use denied::Denied;
pub use keyring::{CONFIGURED, KeyRing, POLL};
pub use network::Network;
pub use pseudonym::Pseudonyms;
pub use scope::{Scope, Scopes, UnknownScope};
pub use secret::Secret;
pub use wish::{BadWish, Wish, WishedBudget};
