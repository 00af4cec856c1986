//! One agent: a model, tools, and a bounded loop.
//!
//! It serves nothing over HTTP and stores nothing: whoever runs an agent keeps what came of it.

pub mod adaptive;
pub mod calculator;
pub mod definition;
pub mod react;
pub mod tasks;
