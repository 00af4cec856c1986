//! Models, asked on behalf of whoever began the run that asks.

use std::sync::Arc;

use agentry_core::RunId;
use agentry_core::chat::{ChatRequest, ChatResponse};
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use agentry_core::threads::Threads;
use agentry_server::Callers;
use agentry_server::engine::Wanting;
use async_trait::async_trait;

/// Puts the run's own caller in the place of the one that a graph names.
pub(crate) struct OnBehalf {
    pub(crate) model: Arc<dyn ChatModel>,
    /// Where runs say on whose behalf they are.
    pub(crate) archive: Arc<dyn Threads>,
    pub(crate) callers: Arc<Callers>,
}

#[async_trait]
impl ChatModel for OnBehalf {
    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    async fn stream(
        &self,
        cx: &CallContext,
        request: ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        let cx = self.on_behalf(cx, &request).await?;
        self.model.stream(&cx, request).await
    }

    async fn complete(
        &self,
        cx: &CallContext,
        request: ChatRequest,
    ) -> Result<ChatResponse, ModelError> {
        let cx = self.on_behalf(cx, &request).await?;
        self.model.complete(&cx, request).await
    }
}

impl OnBehalf {
    async fn on_behalf(
        &self,
        cx: &CallContext,
        request: &ChatRequest,
    ) -> Result<CallContext, ModelError> {
        let run = cx.run.as_deref().and_then(|run| run.parse::<RunId>().ok());
        let Some(run) = run else { return Ok(cx.clone()) };
        let known = self.archive.run(run).await;
        let known =
            known.map_err(|problem| ModelError::Internal { reason: problem.to_string() })?;
        let Some(wanting) = known.as_ref().and_then(Wanting::of) else { return Ok(cx.clone()) };
        let caller = self.callers.caller(&wanting.owner, &request.model);
        let caller = caller.map_err(|refusal| ModelError::Invalid {
            message: refusal.message().to_owned(),
            param: Some("model".to_owned()),
            upstream_code: None,
        })?;
        Ok(CallContext { caller, ..cx.clone() })
    }
}
