//! Every stateful product outside, and its in-memory model.

pub mod memory;
pub mod postgres;
pub mod sqlite;

pub mod actuator;
pub mod file_sink;
pub mod folder;
pub mod jira;
pub mod prometheus;
pub mod redis;
pub mod sealed;
pub mod signature;
pub mod slack;
pub mod sources;
pub mod webhook;

mod delivery;
mod hints;
mod keyed;
mod large;

#[cfg(test)]
mod scripted;
