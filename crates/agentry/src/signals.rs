//! The signals that ask the process to stop.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// What asks us to stop.
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    /// Held so that a write beyond the process's limit of file sizes fails, instead of ending the process without a word.
    _file_too_large: tokio::signal::unix::Signal,
}

/// `SIGXFSZ`, which Linux and the BSDs number alike.
const FILE_TOO_LARGE: i32 = 25;

/// From now on a SIGHUP ends nothing: whoever has changed the configuration does not know whether the start is over.
pub(crate) fn hangups() -> Option<tokio::signal::unix::Signal> {
    signal(SignalKind::hangup()).ok()
}

impl Signals {
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("catch SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("catch SIGINT")?;
        let file_too_large =
            signal(SignalKind::from_raw(FILE_TOO_LARGE)).context("catch SIGXFSZ")?;
        Ok(Self { terminate, interrupt, _file_too_large: file_too_large })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
