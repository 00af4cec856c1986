//! HTTP/1.1 over one connection.
//!
//! Where the bodies of both directions end, and the side that answers requests: [`serve`] holds nothing for a connection but
//! its socket and what of a message is there, reads a body of a known length into one piece, and refuses what different
//! programs would understand differently.

pub mod framing;
mod incoming;
mod request;
mod response;
mod server;

pub use incoming::{Arrived, Incoming};
pub use request::Flaw;
pub use server::{Ended, Patience, serve};
