//! What people wrote in TOML or JSON, where it stands, and what is wrong with it.
//!
//! [`tree`] turns text into values that know their place, [`Reader`] takes them out one by one and notes every mistake
//! instead of stopping at the first, and [`Problems`] shows them all with line and caret. What a value means is for
//! whoever reads it: this crate knows no table and no key by name.

mod json;

pub mod problem;
pub mod reader;
pub mod tree;
pub mod value;

pub use problem::{Place, Problem, Problems};
pub use reader::{At, Notes, Reader};
pub use value::Unreadable;
