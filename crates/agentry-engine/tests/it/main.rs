//! What a graph must do, over every store that runs in this process.

mod asking;
mod crashing;
mod failing;
mod flowing;
mod stopping;
mod world;
