//! Where a thread's effects are kept.

use std::sync::Arc;

use agentry_core::ThreadId;
use agentry_core::run::{Committed, Effect, Fence};
use agentry_core::threads::ThreadStore;
use async_trait::async_trait;

use super::drive::depth;
use crate::effect::Keeper;
use crate::lifeline::Lifeline;
use crate::observe::Watched;

/// Beside the thread's commits.
pub(super) struct InThread {
    store: Arc<dyn ThreadStore>,
    thread: ThreadId,
    fence: Fence,
    lifeline: Lifeline,
    watched: Option<Arc<Watched>>,
}

impl InThread {
    pub(super) fn new(
        store: Arc<dyn ThreadStore>,
        (thread, fence): (ThreadId, Fence),
        lifeline: Lifeline,
    ) -> Self {
        Self { store, thread, fence, lifeline, watched: None }
    }

    pub(super) fn watched(self, watched: Arc<Watched>) -> Self {
        Self { watched: Some(watched), ..self }
    }
}

#[async_trait]
impl Keeper for InThread {
    async fn keep(&self, entry: &str, effect: &Effect) -> bool {
        // What has happened cannot be remembered. Doing it again would be worse than to stop.
        if let Some(why) = depth::of_effect(effect) {
            self.lifeline.give_up(why);
            return std::future::pending().await;
        }
        let call = || self.store.journal(self.thread, self.fence, entry, effect.clone());
        let Some((committed, doubted)) = self.lifeline.insist(call).await else {
            return std::future::pending().await;
        };
        match committed {
            Committed::Applied { .. } | Committed::Duplicate => {
                if let (Effect::Done { .. }, Some(watched)) = (effect, &self.watched) {
                    watched.performed();
                }
                true
            }
            // After an unconfirmed write, finding the entry there means that the write was ours.
            Committed::Stale => doubted,
            Committed::Fenced => {
                self.lifeline.cut();
                std::future::pending().await
            }
        }
    }
}
