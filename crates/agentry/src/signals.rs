//! The signals that ask the process to stop.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// What asks us to stop.
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("catch SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("catch SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
