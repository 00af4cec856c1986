//! Hints on their way to those who listen in this process.

use agentry_core::shared::{Hint, Hints};
use futures_util::stream;
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};

/// Who is further behind has missed something, and is told so.
const BEHIND_MAX: usize = 256;

pub(crate) fn channel() -> Sender<Hint> {
    broadcast::channel(BEHIND_MAX).0
}

pub(crate) fn stream(receiver: Receiver<Hint>) -> Hints {
    Box::pin(stream::unfold(receiver, |mut receiver| async move {
        match receiver.recv().await {
            Ok(hint) => Some((hint, receiver)),
            Err(RecvError::Lagged(_)) => Some((Hint::Missed, receiver)),
            Err(RecvError::Closed) => None,
        }
    }))
}
