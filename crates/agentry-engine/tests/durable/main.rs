//! What a thread must do, over every store that runs in this process.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod asking;
mod crashing;
mod escalating;
mod failing;
mod flowing;
mod inspecting;
mod multitasking;
mod stopping;
mod watching;
mod world;
