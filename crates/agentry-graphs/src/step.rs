//! A node with its policy: how often it is tried, for how long, and what its failure means.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::shared::{Entry, VALUE_BYTES_MAX};
use agentry_engine::node::Again;
use agentry_engine::{Ask, NodeError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tracing::debug;

use crate::definition::{OnError, Policy};
use crate::view::{ERRORS, View};
use crate::work::{Came, Visit, Work, fatal};

/// Longer reasons are cut: they stand in the state from then on.
const REASON_LETTERS_MAX: usize = 500;

pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) work: Box<dyn Work>,
    pub(crate) into: Option<String>,
    /// What it comes to is a list whose items are appended one by one.
    pub(crate) spreads: bool,
    pub(crate) policy: Policy,
}

/// What one attempt at a step has come to, when there is nothing more to try.
pub(crate) enum Attempted {
    Came(Came),
    /// It failed, and its policy says that the run goes on.
    GivenUp {
        reason: String,
        instead: Option<Value>,
    },
}

/// What a visit writes to the state, or asks.
#[derive(Debug)]
pub(crate) enum Outcome {
    Writes(Vec<(String, Write)>),
    Asks(Box<Ask>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Write {
    Value(Value),
    /// To a list that grows.
    Items(Vec<Value>),
}

impl Step {
    /// What it writes. An error means that the engine may try again, if that can help.
    pub(crate) async fn visit(
        &self,
        visit: &Visit<'_>,
        view: &View<'_>,
    ) -> Result<Outcome, NodeError> {
        let (mut writes, reason) = match self.attempt(visit, view).await? {
            Attempted::Came(Came::Asks(ask)) => return Ok(Outcome::Asks(ask)),
            Attempted::Came(Came::To(value)) => (self.write(value), None),
            Attempted::Came(Came::Writes(all)) => {
                (all.into_iter().map(|(key, value)| (key, Write::Value(value))).collect(), None)
            }
            Attempted::GivenUp { reason, instead } => {
                (instead.map(|value| self.write(value)).unwrap_or_default(), Some(reason))
            }
        };
        if !matches!(self.policy.on_error, OnError::Fail) {
            let reason = reason.map(|reason| json!({ "message": reason }));
            let errors = json!({ self.name.as_str(): reason });
            writes.push((ERRORS.to_owned(), Write::Value(errors)));
        }
        for (key, write) in &mut writes {
            if let Write::Value(value) = write {
                *write = written(view, key, std::mem::take(value));
            }
        }
        Ok(Outcome::Writes(writes))
    }

    fn write(&self, value: Value) -> Vec<(String, Write)> {
        let Some(key) = &self.into else { return Vec::new() };
        let write = match value {
            Value::Array(items) if self.spreads => Write::Items(items),
            value => Write::Value(value),
        };
        vec![(key.clone(), write)]
    }

    /// Tries as often as the policy allows. Of the run's own nodes the engine makes the attempts; of others this does.
    pub(crate) async fn attempt(
        &self,
        visit: &Visit<'_>,
        view: &View<'_>,
    ) -> Result<Attempted, NodeError> {
        let mut attempt = if visit.is_inner() { 1 } else { visit.attempt() };
        loop {
            let error = match self.once(visit, view).await {
                Ok(came) => return Ok(Attempted::Came(came)),
                Err(error) => error,
            };
            let is_last = error.again == Again::Never || attempt >= self.policy.attempts;
            if is_last {
                return self.give_up(error, visit.is_inner());
            }
            if !visit.is_inner() {
                return Err(error);
            }
            tokio::time::sleep(self.pause(attempt, &error)).await;
            attempt += 1;
        }
    }

    fn give_up(&self, error: NodeError, is_inner: bool) -> Result<Attempted, NodeError> {
        let reason: String = error.message.chars().take(REASON_LETTERS_MAX).collect();
        let instead = match &self.policy.on_error {
            OnError::Fail if is_inner => {
                return Err(fatal(format!("`{}`: {reason}", self.name)));
            }
            OnError::Fail => return Err(NodeError::fatal(error.message)),
            OnError::Skip | OnError::Goto(_) => None,
            OnError::Use(value) => Some(value.value.clone()),
        };
        Ok(Attempted::GivenUp { reason, instead })
    }

    fn pause(&self, failures: u32, error: &NodeError) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = self.policy.backoff.saturating_mul(factor).min(self.policy.backoff_max);
        match error.again {
            Again::AfterMs(ms) => pause.max(Duration::from_millis(ms)),
            _ => pause,
        }
    }

    async fn once(&self, visit: &Visit<'_>, view: &View<'_>) -> Result<Came, NodeError> {
        let visit = visit.within(self.policy.timeout);
        let key = match (&self.policy.cache, &visit.ports.cache) {
            (Some(ttl), Some(cache)) => {
                let call = self.work.call(view).map_err(fatal)?;
                // Tenants do not see what others came to.
                let caller = visit.caller().await?;
                call.map(|call| (digest(&caller.tenant, &call), ttl.value, Arc::clone(cache)))
            }
            _ => None,
        };
        if let Some((key, _, cache)) = &key {
            // A cache that is away is no reason to fail.
            let found = cache.get(key).await.ok().flatten();
            if let Some(value) = found.and_then(|found| serde_json::from_slice(&found.value).ok()) {
                visit.tell("node.cached", json!({ "step": visit.key(&self.name) }));
                return Ok(Came::To(value));
            }
        }
        let timed = tokio::time::timeout_at(visit.until(), self.work.run(&visit, view)).await;
        let came = timed.map_err(|_| {
            let after = self.policy.timeout.as_millis();
            NodeError::transient(format!("it took longer than {after} ms"))
        })??;
        if let (Some((key, ttl, cache)), Came::To(value)) = (key, &came)
            && let Ok(bytes) = serde_json::to_vec(value)
            && bytes.len() <= VALUE_BYTES_MAX
        {
            let entry = Entry { key, value: bytes.into(), ttl, tags: Vec::new() };
            if let Err(error) = cache.set(entry).await {
                debug!(%error, "a node's result is not kept");
            }
        }
        Ok(came)
    }
}

/// What a value means for the key's reducer: a list that grows takes it as one item.
fn written(view: &View<'_>, key: &str, value: Value) -> Write {
    let channel = view.shape.keys.get(key);
    match channel.map(|channel| &channel.reducer) {
        Some(agentry_engine::Reducer::Append) => Write::Items(vec![value]),
        _ => Write::Value(value),
    }
}

fn digest(tenant: &str, call: &Value) -> Vec<u8> {
    let mut digest = Sha256::new();
    digest.update(format!("graph node\n{}\n{tenant}\n", tenant.len()));
    digest.update(call.to_string().as_bytes());
    digest.finalize().to_vec()
}
