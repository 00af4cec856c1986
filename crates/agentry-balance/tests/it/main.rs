//! The balancer as a whole.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;
mod world;
