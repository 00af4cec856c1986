//! Where messages for the developer go.

use std::io::Write as _;

/// Writes a line to stderr. A terminal that went away is no reason to stop.
pub(crate) fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    drop(writeln!(stderr, "{text}"));
}
