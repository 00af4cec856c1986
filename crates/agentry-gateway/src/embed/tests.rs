use std::sync::Mutex;

use agentry_core::chat::ChatRequest;
use agentry_core::embed::{BatchMax, Embedder, Vector};
use agentry_core::model::{Capabilities, ChatModel, ChatStream};
use agentry_core::{Clock, Timestamp};
use agentry_guards::{Action, Guards, Settings};
use async_trait::async_trait;

use super::*;
use crate::alias::Alias;
use crate::{Gateway, Observer, Policies, Surroundings};

/// An upstream that remembers what it was asked to read.
#[derive(Default)]
struct Upstream(Mutex<Vec<EmbeddingInput>>);

#[async_trait]
impl Embedder for Upstream {
    fn batch_max(&self) -> BatchMax {
        BatchMax::SINGLE
    }

    async fn embed(
        &self,
        _: &CallContext,
        request: EmbeddingRequest,
    ) -> Result<EmbeddingResponse, ModelError> {
        let vectors = request.input.iter().map(|_| Vector::Floats(vec![1.0])).collect();
        self.0.lock().unwrap().extend(request.input);
        Ok(EmbeddingResponse { vectors, ..EmbeddingResponse::default() })
    }
}

#[async_trait]
impl ChatModel for Upstream {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn stream(&self, _: &CallContext, _: ChatRequest) -> Result<ChatStream, ModelError> {
        Err(ModelError::Truncated)
    }
}

struct Deaf;

impl Observer for Deaf {
    fn started(&self, _: &observe::Call<'_>) {}
    fn settled(&self, _: &observe::Settled<'_>) {}
}

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }
}

fn text(text: &str) -> EmbeddingInput {
    EmbeddingInput::Text(text.to_owned())
}

/// What the upstream reads, or the code of the refusal.
async fn check(settings: Settings, expected: Result<&[EmbeddingInput], &str>) {
    let upstream = Arc::new(Upstream::default());
    let target = Target {
        embedder: Some(Arc::clone(&upstream) as Arc<dyn Embedder>),
        ..Target::new("p", "x", Arc::clone(&upstream) as Arc<dyn ChatModel>)
    };
    let policies = Policies { guards: Guards::new(&settings).ok(), ..Policies::default() };
    let around = Surroundings::new(Arc::new(Deaf), Arc::new(Stopped), 7);
    let gateway =
        Gateway::new(vec![Alias::new("m", vec![target])], Surroundings { policies, ..around });
    let request = EmbeddingRequest {
        model: "m".to_owned(),
        input: vec![text("write to mira@brassfinch.com"), text("or do not")],
        ..EmbeddingRequest::default()
    };
    let embedded = gateway.unwrap().embed(&CallContext::new("call", "test"), request).await;
    let heard = upstream.0.lock().unwrap();
    match embedded {
        Ok(embedded) => {
            assert_eq!(Ok(heard.as_slice()), expected);
            assert_eq!(embedded.response.vectors.len(), 2);
        }
        Err(error) => {
            assert_eq!(Err(error.code().0), expected);
            assert!(heard.is_empty(), "{heard:?}");
        }
    }
}

#[tokio::test]
async fn guards_read_what_is_to_become_vectors() {
    let pii = |pii: Action| Settings { pii, ..Settings::default() };
    let (came, other) = (text("write to mira@brassfinch.com"), text("or do not"));
    check(pii(Action::Off), Ok(&[came.clone(), other.clone()])).await;
    check(pii(Action::Report), Ok(&[came, other.clone()])).await;
    check(pii(Action::Redact), Ok(&[text("write to [EMAIL]"), other])).await;
    check(pii(Action::Block), Err("guard_blocked")).await;
}
