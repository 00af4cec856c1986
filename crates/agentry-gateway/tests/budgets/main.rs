//! Budgets on real ledgers: what is spent never exceeds a cap, and nothing is lost.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod admission;
mod outage;
mod race;
mod world;
