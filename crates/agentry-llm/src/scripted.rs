//! Answers from a file of rules, for demonstrations and tests.
//!
//! It never pretends to be a model: the `system_fingerprint` of every answer is `scripted`, and a request that no rule
//! matches is refused.
//!
//! ```toml
//! [[rules]]
//! when = { user_contains = "weather", tool_results = false }
//! answer = { tool_calls = [{ name = "get_weather", arguments = { city = "Paris" } }] }
//!
//! [[rules]]
//! when = { tool_results = true }
//! answer = { text = "It rains.", usage = { input = 40, output = 4 } }
//! pace = { first_ms = 20, chunk_ms = 5, chunk_chars = 3 }
//!
//! [[rules]]
//! when = { user_contains = "overload" }
//! error = { status = 429, message = "slow down", retry_after_ms = 100 }
//! ```

use std::time::Duration;

use agentry_core::chat::ChatRequest;
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};

mod play;
mod script;

pub use script::{Problems, Script};

/// A provider that answers from a [`Script`].
#[derive(Debug)]
pub struct Scripted {
    script: Script,
}

impl Scripted {
    #[must_use]
    pub fn new(script: Script) -> Self {
        Self { script }
    }
}

#[async_trait]
impl ChatModel for Scripted {
    fn capabilities(&self) -> Capabilities {
        Capabilities { tools: true, images: true, json_schema: false }
    }

    async fn stream(
        &self,
        cx: &CallContext,
        request: ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        let performance = play::perform(&self.script, &cx.call_id, &request);
        pause(performance.before).await;
        let steps = stream::iter(performance.outcome?);
        let paced = steps.then(|(wait, step)| async move {
            pause(wait).await;
            step
        });
        Ok(paced.boxed())
    }
}

async fn pause(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests;
