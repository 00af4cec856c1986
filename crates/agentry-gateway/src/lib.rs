//! What happens to one model call: the caller is let in, the request is screened, the answer is found, joined or fetched,
//! watched and kept, and the bill is settled exactly once. [`Gateway::call`] reads from top to bottom.
//!
//! It knows no HTTP, no vendor and no database: targets are [`ChatModel`]s, and so is the [`Gateway`] itself.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use agentry_balance::{Dice, Settings as TargetSettings};
use agentry_core::chat::{ChatRequest, ChatResponse};
use agentry_core::embed::EmbeddingRequest;
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use agentry_core::{Caller, Clock};
use async_trait::async_trait;

mod alias;
mod answer;
mod ask;
pub mod batch;
pub mod batches;
pub mod cache;
mod call;
pub mod checks;
mod dispatch;
mod embed;
mod error;
mod flight;
mod hit;
mod inner;
mod keep;
pub mod limit;
pub mod money;
mod observe;
mod piece;
mod policies;
pub mod pressure;
mod reading;
mod reload;
mod request;
mod route;
mod settle;
pub mod status;
mod watch;
pub mod watchdog;

pub use alias::{Alias, Misconfigured, Target};
pub use answer::{Answer, Found, Outcome};
pub use embed::Embedded;
pub use error::Error;
pub use money::Price;
pub use observe::{Call, Failed, Observer, Settled, Status};
pub use policies::{Books, Caching, Policies, Rule, Whose};
pub use reload::{Prepared, Replacement};
pub use request::{Request, Wire};

use inner::{Ground, Inner};

/// Where every model call goes through.
pub struct Gateway {
    /// What calls that begin now go by. It is never changed, only replaced.
    inner: RwLock<Arc<Inner>>,
    checks: checks::Book,
}

/// What a gateway is made of beside its aliases.
pub struct Surroundings {
    pub policies: Policies,
    pub observer: Arc<dyn Observer>,
    pub clock: Arc<dyn Clock>,
    /// How targets are looked after.
    pub targets: TargetSettings,
    /// Decides among equals, and names records.
    pub seed: u64,
}

impl Surroundings {
    /// Without any policies.
    #[must_use]
    pub fn new(observer: Arc<dyn Observer>, clock: Arc<dyn Clock>, seed: u64) -> Self {
        let (policies, targets) = (Policies::default(), TargetSettings::default());
        Self { policies, observer, clock, targets, seed }
    }
}

impl Gateway {
    /// All that is wrong with `aliases` is reported at once.
    pub fn new(aliases: Vec<Alias>, surroundings: Surroundings) -> Result<Self, Misconfigured> {
        let Surroundings { policies, observer, clock, targets, seed } = surroundings;
        let (dice, refuses_low) = (Arc::new(Dice::new(seed)), Arc::default());
        let ground = Ground { observer, clock, dice, refuses_low };
        let inner = Inner::build(aliases, (policies, &targets), ground, None)?;
        Ok(Self { inner: RwLock::new(Arc::new(inner)), checks: checks::Book::default() })
    }

    /// What callers may name as `model`.
    #[must_use]
    pub fn models(&self) -> Vec<Arc<Alias>> {
        self.inner().aliases.iter().map(|route| Arc::clone(&route.alias)).collect()
    }

    /// How long a call for `model`, an alias or a target, takes at most.
    #[must_use]
    pub fn timeout(&self, model: &str) -> Option<std::time::Duration> {
        self.inner().routes.get(model).map(|route| route.alias.timeout)
    }

    /// Every `provider/model`, and how it is.
    #[must_use]
    pub fn targets(&self) -> Vec<(Arc<str>, agentry_balance::Snapshot)> {
        let inner = self.inner();
        inner.snapshots().map(|(name, is)| (Arc::clone(name), is)).collect()
    }

    fn inner(&self) -> Arc<Inner> {
        Arc::clone(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers one call, streamed if the request says so. Once a piece was handed out, nothing is tried again.
    pub async fn call(
        &self,
        cx: &CallContext,
        request: impl Into<Request>,
    ) -> Result<Outcome, Error> {
        call::call(&self.inner(), cx, request.into()).await
    }
}

impl Gateway {
    /// Does what is said when memory gets scarce, or there is enough again.
    pub fn relieve(&self, action: pressure::Action) {
        let inner = self.inner();
        let Inner { policies, targets, refuses_low, .. } = inner.as_ref();
        match action {
            pressure::Action::Cache { percent } => {
                if let Some(caching) = &policies.cache {
                    caching.levels().cache().shrink(percent);
                }
            }
            pressure::Action::Queues { percent } => {
                let limiters = targets.iter().filter_map(|(_, vitals)| vitals.limiter());
                limiters.for_each(|limiter| limiter.shorten_queue(percent));
            }
            pressure::Action::LowPriority { is_refused } => {
                refuses_low.store(is_refused, Ordering::Relaxed);
            }
        }
    }

    /// Makes vectors.
    pub async fn embed(
        &self,
        cx: &CallContext,
        request: EmbeddingRequest,
    ) -> Result<Embedded, Error> {
        embed::embed(&self.inner(), cx, request).await
    }

    /// Where a caller stands with its limits.
    #[must_use]
    pub fn standings(&self, caller: &Arc<Caller>) -> limit::Standings {
        let inner = self.inner();
        let allowance = inner.allowances.of(&inner.policies, caller);
        let now = tokio::time::Instant::now().into_std();
        allowance.limits.as_ref().map(|limits| limits.standings(now)).unwrap_or_default()
    }
}

#[async_trait]
impl ChatModel for Gateway {
    /// What at least one target can do.
    fn capabilities(&self) -> Capabilities {
        let models = self.models();
        let targets = models.iter().flat_map(|alias| &alias.targets);
        targets.fold(Capabilities::default(), |all, target| {
            let Capabilities { tools, images, json_schema } = target.upstream.capabilities();
            Capabilities {
                tools: all.tools || tools,
                images: all.images || images,
                json_schema: all.json_schema || json_schema,
            }
        })
    }

    async fn stream(
        &self,
        cx: &CallContext,
        mut request: ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        request.stream = true;
        self.call(cx, request).await?.answer.into_stream()
    }

    async fn complete(
        &self,
        cx: &CallContext,
        mut request: ChatRequest,
    ) -> Result<ChatResponse, ModelError> {
        request.stream = false;
        self.call(cx, request).await?.answer.into_whole()
    }
}

#[cfg(test)]
mod tests;
