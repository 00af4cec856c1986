//! What an error tells the next crate: its documented code, whose fault it is, and whether to try again.

use std::time::Duration;

/// A stable name for a kind of failure, documented in `docs/errors.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub &'static str);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Who has to change something for the call to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Caller,
    Upstream,
    Ours,
}

/// Whether the same call may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    Never,
    Now,
    After(Duration),
}

/// An error that may cross a crate boundary.
pub trait Failure: std::error::Error {
    fn code(&self) -> Code;
    fn fault(&self) -> Fault;
    fn retry(&self) -> Retry;
}
