//! Some callers' inputs on their way together, and how the answer is shared out.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use agentry_core::chat::Usage;
use agentry_core::embed::{BatchMax, EmbeddingInput, EmbeddingRequest, EmbeddingResponse};
use agentry_core::model::{CallContext, ModelError};
use futures_util::future::join_all;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::Room;

/// Everything but the inputs, and whose they are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    tenant: Arc<str>,
    model: String,
    dimensions: Option<u32>,
    encoding_format: Option<String>,
    user: Option<String>,
    extra: Map<String, Value>,
}

/// Values from JSON are never NaN.
impl Eq for Group {}

impl Hash for Group {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // What is left out is compared, and rarely differs.
        let Self { tenant, model, dimensions, encoding_format, user, extra: _ } = self;
        (tenant, model, dimensions, encoding_format, user).hash(state);
    }
}

/// One caller's inputs.
pub(super) struct Part {
    cx: CallContext,
    inputs: Vec<EmbeddingInput>,
    /// Of each input.
    tokens: Vec<u64>,
    answer: oneshot::Sender<Result<EmbeddingResponse, ModelError>>,
    _room: Room,
}

pub(super) struct Lot(Vec<Part>);

impl Group {
    pub(super) fn of(cx: &CallContext, request: EmbeddingRequest) -> (Self, Vec<EmbeddingInput>) {
        let EmbeddingRequest { model, input, dimensions, encoding_format, user, extra } = request;
        let tenant = Arc::clone(&cx.caller.tenant);
        (Self { tenant, model, dimensions, encoding_format, user, extra }, input)
    }

    pub(super) fn request(&self, input: Vec<EmbeddingInput>) -> EmbeddingRequest {
        let Self { tenant: _, model, dimensions, encoding_format, user, extra } = self.clone();
        EmbeddingRequest { model, input, dimensions, encoding_format, user, extra }
    }
}

impl Part {
    pub(super) fn new(
        cx: CallContext,
        inputs: Vec<EmbeddingInput>,
        answer: oneshot::Sender<Result<EmbeddingResponse, ModelError>>,
        room: Room,
    ) -> Self {
        let tokens = inputs.iter().map(EmbeddingInput::tokens_estimate).collect();
        Self { cx, inputs, tokens, answer, _room: room }
    }

    fn tokens(&self) -> u64 {
        self.tokens.iter().copied().fold(0, u64::saturating_add)
    }

    /// Who is gone hears nothing, and that is all.
    fn end(self, answer: Result<EmbeddingResponse, ModelError>) {
        drop(self.answer.send(answer));
    }
}

impl Lot {
    pub(super) fn new(part: Part) -> Self {
        Self(vec![part])
    }

    pub(super) fn has_room(&self, part: &Part, max: BatchMax) -> bool {
        let inputs = self.inputs_count() + part.inputs.len();
        let tokens = self.tokens().saturating_add(part.tokens());
        inputs <= max.inputs && tokens <= max.tokens
    }

    pub(super) fn join(&mut self, part: Part) {
        self.0.push(part);
    }

    /// Nothing more can join.
    pub(super) fn is_full(&self, max: BatchMax) -> bool {
        self.inputs_count() >= max.inputs || self.tokens() >= max.tokens
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_shared(&self) -> bool {
        self.0.len() > 1
    }

    pub(super) fn inputs(&self) -> Vec<EmbeddingInput> {
        self.0.iter().flat_map(|part| &part.inputs).cloned().collect()
    }

    fn inputs_count(&self) -> usize {
        self.0.iter().map(|part| part.inputs.len()).sum()
    }

    fn tokens(&self) -> u64 {
        self.0.iter().map(Part::tokens).fold(0, u64::saturating_add)
    }

    /// The first caller's, with as much time as the most patient one has.
    pub(super) fn context(&self) -> CallContext {
        let Some((first, rest)) = self.0.split_first() else {
            return CallContext::new("none", "embeddings");
        };
        let mut cx = first.cx.clone();
        for part in rest {
            cx.deadline = cx.deadline.zip(part.cx.deadline).map(|(one, other)| one.max(other));
        }
        cx
    }

    pub(super) fn forget_gone(&mut self) {
        self.0.retain(|part| !part.answer.is_closed());
    }

    /// When the last caller has gone.
    pub(super) async fn abandoned(&mut self) {
        join_all(self.0.iter_mut().map(|part| part.answer.closed())).await;
    }

    /// To each its own vectors, and its part of the usage by its tokens. There are as many vectors as inputs.
    pub(super) fn answer(self, answer: EmbeddingResponse) {
        let EmbeddingResponse { model, vectors, usage, extra } = answer;
        let tokens: Vec<u64> = self.0.iter().map(Part::tokens).collect();
        let usages = usage.map(|usage| split_usage(&usage, &tokens));
        let mut usages = usages.into_iter().flatten();
        let mut vectors = vectors.into_iter();
        for part in self.0 {
            let own = EmbeddingResponse {
                model: model.clone(),
                vectors: vectors.by_ref().take(part.inputs.len()).collect(),
                usage: usages.next(),
                extra: extra.clone(),
            };
            part.end(Ok(own));
        }
    }

    pub(super) fn fail(self, error: &ModelError) {
        for part in self.0 {
            part.end(Err(error.clone()));
        }
    }

    pub(super) fn halve(mut self) -> (Self, Self) {
        let second = self.0.split_off(self.0.len() / 2);
        (self, Self(second))
    }
}

/// Of one caller it is all, as it was reported; of several each number is shared out.
fn split_usage(usage: &Usage, tokens: &[u64]) -> Vec<Usage> {
    if tokens.len() == 1 {
        return vec![usage.clone()];
    }
    let Usage { input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, reported: _ } =
        usage;
    let input = split(*input_tokens, tokens);
    let cached = split(*cached_input_tokens, tokens);
    let output = split(*output_tokens, tokens);
    let reasoning = split(*reasoning_tokens, tokens);
    let all = input.into_iter().zip(cached).zip(output).zip(reasoning);
    all.map(|(((input_tokens, cached_input_tokens), output_tokens), reasoning_tokens)| Usage {
        input_tokens,
        cached_input_tokens,
        output_tokens,
        reasoning_tokens,
        reported: Map::new(),
    })
    .collect()
}

/// Parts of `total` by weight that sum to it exactly: each ends where the weights so far say, rounded down.
pub(super) fn split(total: u64, weights: &[u64]) -> Vec<u64> {
    // No input has so many tokens, and so no product is too long.
    let bounded = |weight: &u64| u128::from((*weight).min(u32::MAX.into()));
    let sum: u128 = weights.iter().map(bounded).sum();
    let (mut so_far, mut given) = (0_u128, 0_u64);
    let mut parts = Vec::with_capacity(weights.len());
    for weight in weights {
        so_far += bounded(weight);
        // Without any weight the last one gets it all; below there is always some, for an input is one token at least.
        let end = (u128::from(total) * so_far).checked_div(sum).unwrap_or(0);
        let end = u64::try_from(end).unwrap_or(total);
        parts.push(end - given);
        given = end;
    }
    if sum == 0
        && let Some(last) = parts.last_mut()
    {
        *last = total;
    }
    parts
}
