//! The words and the ports that every Agentry crate speaks.
//!
//! Two crates that must understand each other do it with a type from here. Nothing in this crate performs I/O, reads a
//! clock, knows a vendor's name or depends on an async runtime.

pub mod assistants;
pub mod audit;
pub mod batches;
pub mod caller;
pub mod chat;
pub mod crons;
pub mod embed;
pub mod failure;
pub mod id;
pub mod idempotency;
pub mod items;
pub mod keys;
pub mod ledger;
pub mod listing;
pub mod meter;
pub mod model;
pub mod money;
pub mod outbound;
mod pieces;
pub mod relay;
pub mod run;
pub mod schema;
pub mod shared;
pub mod store;
pub mod telemetry;
pub mod thread;
pub mod threads;
pub mod time;
pub mod tool;
pub mod trace;

pub use caller::Caller;
pub use failure::{Code, Failure, Fault, Retry};
pub use id::{CheckpointId, RunId, ThreadId};
pub use money::MicroUsd;
pub use pieces::Pieces;
pub use time::{Clock, Timestamp};
pub use trace::Trace;
