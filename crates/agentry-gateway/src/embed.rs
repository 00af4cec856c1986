//! The way of a call for vectors. It is a short one: nothing is streamed or joined.

use std::sync::Arc;

use agentry_balance::affinity;
use agentry_core::Failure as _;
use agentry_core::MicroUsd;
use agentry_core::embed::{EmbeddingInput, EmbeddingRequest, EmbeddingResponse};
use agentry_core::model::{CallContext, ModelError};
use tokio::time::Instant;

use crate::Inner;
use crate::alias::Target;
use crate::call::{Calling, Cost, Input};
use crate::dispatch::{Call, Question};
use crate::error::Error;
use crate::money::Size;
use crate::observe;
use crate::settle::Settlement;

/// Vectors, and who made them.
pub struct Embedded {
    pub response: EmbeddingResponse,
    pub target: Arc<str>,
    pub attempts: u32,
    pub cost: Option<MicroUsd>,
}

pub(crate) async fn embed(
    inner: &Arc<Inner>,
    cx: &CallContext,
    mut request: EmbeddingRequest,
) -> Result<Embedded, Error> {
    let route = match inner.route(&request.model) {
        Ok(route) => Arc::clone(route),
        Err(error) => {
            observe::refused(inner.observer.as_ref(), cx, error.code());
            return Err(error);
        }
    };
    let mut settlement = Settlement::open(inner, cx, &route);
    let calling = Calling::new(inner, cx, route);
    let tokens = request.input.iter().map(EmbeddingInput::tokens_estimate).sum();
    let admitted = calling.admit(tokens, &mut settlement);
    settlement.or_fail(admitted)?;
    let screened = calling.screened(|guards| guards.screen_embedding(&mut request));
    settlement.or_fail(screened)?;
    let cost = || Cost {
        input: Input { size: size(&request), reads_elsewhere: false },
        output_tokens: Some(0),
        choices: 1,
    };
    calling.hold(cost, &mut settlement).await?;
    let call = Call { inner, cx: &calling.cx, question: &request, end: calling.end };
    let landed = call.dispatch(&calling.route, &mut settlement).await;
    let landed = settlement.or_fail(landed)?;
    landed.picked.succeed(Instant::now().into_std());
    settlement.uses_if_known(landed.asked.usage.as_ref());
    let (target, attempts) = (settlement.target(), settlement.attempts());
    Ok(Embedded { response: landed.asked, target, attempts, cost: settlement.finish() })
}

fn size(request: &EmbeddingRequest) -> Size {
    let bytes = request.input.iter().map(|input| match input {
        EmbeddingInput::Text(text) => text.len() as u64,
        EmbeddingInput::Tokens(tokens) => tokens.len() as u64,
    });
    Size { text_bytes: bytes.sum(), messages: request.input.len() as u64, images: 0 }
}

impl Question for EmbeddingRequest {
    type Answer = EmbeddingResponse;

    fn is_streamed(&self) -> bool {
        false
    }

    fn affinity(&self) -> Option<u64> {
        match self.input.first()? {
            EmbeddingInput::Text(text) => {
                Some(affinity(text.as_bytes().get(..64).unwrap_or(text.as_bytes())))
            }
            EmbeddingInput::Tokens(_) => None,
        }
    }

    async fn ask(
        &self,
        target: &Target,
        cx: &CallContext,
    ) -> Result<EmbeddingResponse, ModelError> {
        let Some(embedder) = &target.embedder else {
            return Err(ModelError::Invalid {
                message: format!("`{}` makes no vectors", target.name()),
                param: Some("model".to_owned()),
                upstream_code: None,
            });
        };
        let request = Self { model: target.model.clone(), ..self.clone() };
        let inputs = request.input.len();
        embedder.embed(cx, request).await?.for_inputs(inputs)
    }
}

#[cfg(test)]
mod tests;
