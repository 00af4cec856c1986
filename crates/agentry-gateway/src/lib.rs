//! What happens to one model call: the caller is let in, the request is screened, the answer is found, joined or fetched,
//! watched and kept, and the bill is settled exactly once. [`Gateway::call`] reads from top to bottom.
//!
//! It knows no HTTP, no vendor and no database: targets are [`ChatModel`]s, and so is the [`Gateway`] itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
mod dispatch;
mod embed;
mod error;
mod flight;
mod hit;
mod keep;
pub mod limit;
pub mod money;
mod observe;
mod piece;
mod policies;
pub mod pressure;
mod reading;
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
pub use request::{Request, Wire};

use policies::Allowances;
use route::{Route, Targets};

/// Where every model call goes through. It is never changed: a new configuration is a new gateway.
pub struct Gateway {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// As configured, for listings.
    aliases: Vec<Arc<Route>>,
    /// By alias, and by `provider/model` for each target.
    routes: HashMap<Arc<str>, Arc<Route>>,
    targets: Targets,
    policies: Policies,
    allowances: Allowances,
    observer: Arc<dyn Observer>,
    clock: Arc<dyn Clock>,
    dice: Dice,
    /// Memory is scarce: who can wait has to.
    refuses_low: AtomicBool,
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
        alias::check(&aliases)?;
        let Surroundings { policies, observer, clock, targets: settings, seed } = surroundings;
        let now = tokio::time::Instant::now().into_std();
        let mut targets = Targets::default();
        let (mut routes, mut named, mut problems) = (HashMap::new(), Vec::new(), Vec::new());
        for alias in &aliases {
            for target in &alias.targets {
                let only = Alias {
                    name: target.name(),
                    targets: vec![target.clone()],
                    fallbacks: Vec::new(),
                    ..alias.clone()
                };
                if let Ok(route) = targets.route(only, &settings, now) {
                    routes.entry(Arc::clone(&route.name)).or_insert_with(|| Arc::new(route));
                }
            }
        }
        for alias in aliases {
            let name = alias.name.clone();
            match targets.route(alias, &settings, now) {
                Ok(route) => named.push(Arc::new(route)),
                Err(unusable) => problems.push(format!("the model `{name}`: {unusable}")),
            }
        }
        if !problems.is_empty() {
            return Err(Misconfigured { problems });
        }
        routes.extend(named.iter().map(|route| (Arc::clone(&route.name), Arc::clone(route))));
        Ok(Self {
            inner: Arc::new(Inner {
                aliases: named,
                routes,
                targets,
                policies,
                allowances: Allowances::default(),
                observer,
                clock,
                dice: Dice::new(seed),
                refuses_low: AtomicBool::new(false),
            }),
        })
    }

    /// What callers may name as `model`.
    pub fn models(&self) -> impl Iterator<Item = &Alias> {
        self.inner.aliases.iter().map(|route| &route.alias)
    }

    /// How long a call for `model`, an alias or a target, takes at most.
    #[must_use]
    pub fn timeout(&self, model: &str) -> Option<std::time::Duration> {
        self.inner.routes.get(model).map(|route| route.alias.timeout)
    }

    #[must_use]
    pub fn policies(&self) -> &Policies {
        &self.inner.policies
    }

    /// Every `provider/model`, and how it is.
    pub fn targets(&self) -> impl Iterator<Item = (&str, agentry_balance::Snapshot)> {
        let now = tokio::time::Instant::now().into_std();
        self.inner.targets.iter().map(move |(name, vitals)| (&**name, vitals.snapshot(now)))
    }

    /// Answers one call, streamed if the request says so. Once a piece was handed out, nothing is tried again.
    pub async fn call(
        &self,
        cx: &CallContext,
        request: impl Into<Request>,
    ) -> Result<Outcome, Error> {
        call::call(&self.inner, cx, request.into()).await
    }
}

impl Gateway {
    /// Does what is said when memory gets scarce, or there is enough again.
    pub fn relieve(&self, action: pressure::Action) {
        let Inner { policies, targets, refuses_low, .. } = self.inner.as_ref();
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
        embed::embed(&self.inner, cx, request).await
    }

    /// Where a caller stands with its limits.
    #[must_use]
    pub fn standings(&self, caller: &Arc<Caller>) -> limit::Standings {
        let allowance = self.inner.allowances.of(&self.inner.policies, caller);
        let now = tokio::time::Instant::now().into_std();
        allowance.limits.as_ref().map(|limits| limits.standings(now)).unwrap_or_default()
    }
}

impl Inner {
    fn route(&self, model: &str) -> Result<&Arc<Route>, Error> {
        self.routes.get(model).ok_or_else(|| Error::UnknownModel {
            model: model.to_owned(),
            known: self.aliases.iter().map(|route| route.name.to_string()).collect(),
        })
    }

    fn random(&self) -> [u8; 10] {
        let (one, other) = (self.dice.roll().to_le_bytes(), self.dice.roll().to_le_bytes());
        let mut random = [0; 10];
        let (head, tail) = random.split_at_mut(8);
        head.copy_from_slice(&one);
        for (to, from) in tail.iter_mut().zip(other) {
            *to = from;
        }
        random
    }
}

#[async_trait]
impl ChatModel for Gateway {
    /// What at least one target can do.
    fn capabilities(&self) -> Capabilities {
        let targets = self.models().flat_map(|alias| &alias.targets);
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
