//! Logs go to stderr: short and colored for a person, plain for everybody else.

use std::io;

use tracing::Level;
use tracing_subscriber::fmt;

pub(crate) fn start(verbose: u8, quiet: bool, color: bool) {
    let level = match (quiet, verbose) {
        (true, _) => Level::ERROR,
        (false, 0) => Level::WARN,
        (false, 1) => Level::INFO,
        (false, 2) => Level::DEBUG,
        (false, _) => Level::TRACE,
    };
    let logs = fmt().with_writer(io::stderr).with_max_level(level).with_ansi(color);
    // It is only started once; a second time would keep the first.
    let _ = if color { logs.compact().try_init() } else { logs.try_init() };
}
