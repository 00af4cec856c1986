//! Fakes and conformance suites for tests. Never a normal dependency: it fails by panicking.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, and this crate is only used by tests"
)]

pub mod assistants;
pub mod batches;
pub mod clock;
pub mod crash;
pub mod crons;
pub mod effects;
pub mod idempotency;
pub mod items;
pub mod keys;
pub mod kind;
pub mod ledger;
pub mod nemesis;
pub mod shared;
pub mod threads;
pub mod vendor;

pub use clock::FakeClock;
pub use crash::{Crash, CrashStore};
pub use effects::Effects;
pub use vendor::Vendor;
