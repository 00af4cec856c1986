//! What a thread must do, over every store that runs in this process.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod asking;
mod copying;
mod crashing;
mod deciding;
mod escalating;
mod failing;
mod flowing;
mod forgetting;
mod inside;
mod inspecting;
mod multitasking;
mod refusing;
mod retaining;
mod stopping;
mod versions;
mod watching;
mod world;
