//! The machine beside recorded behaviour, and beside itself after a crash.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod attempts;
#[path = "../../examples/scenario/build.rs"]
mod build;
mod crash;
mod graphs;
mod ours;
#[path = "../../examples/scenario/play.rs"]
mod play;
mod recorded;
#[path = "../../examples/scenario/shape.rs"]
mod shape;
mod stored;
