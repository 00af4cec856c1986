//! Graphs as data.
pub mod argument;
pub mod definition;
pub mod expression;
pub mod schema;
pub mod template;
pub mod types;
