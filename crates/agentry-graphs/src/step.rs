//! A node with its policy: how often it is tried, for how long, and what its failure means.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::shared::{Entry, VALUE_BYTES_MAX};
use agentry_engine::node::Again;
use agentry_engine::{Ask, NodeError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tracing::debug;

use crate::definition::Policy;
use crate::ending::{Ending, Puts};
use crate::view::View;
use crate::work::{Came, Visit, Work, fatal};

pub(crate) struct Step {
    pub(crate) work: Box<dyn Work>,
    pub(crate) ending: Ending,
    pub(crate) policy: Policy,
}

/// What a visit writes to the state, or asks.
#[derive(Debug)]
pub(crate) enum Outcome {
    Writes(Puts),
    Asks(Box<Ask>),
}

/// Of what has no time of its own; every kind that comes to be a step has.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Step {
    pub(crate) fn timeout(&self) -> Duration {
        self.policy.timeout.unwrap_or(TIMEOUT)
    }

    /// What it writes. An error means that the engine may try again, if that can help.
    pub(crate) async fn visit(
        &self,
        visit: &Visit<'_>,
        view: &View<'_>,
    ) -> Result<Outcome, NodeError> {
        let index = view.item.map_or(0, |(_, index, _)| index);
        Ok(Outcome::Writes(match self.once(visit, view).await {
            Ok(Came::Asks(ask)) => return Ok(Outcome::Asks(ask)),
            Ok(Came::To(value)) => self.ending.came(view.shape, index, value),
            Ok(Came::Said(value, id)) => self.ending.said(view.shape, index, value, id),
            Ok(Came::Writes(all)) => self.ending.wrote(view.shape, all),
            Err(error) => {
                let is_last =
                    error.again == Again::Never || visit.attempt() >= self.policy.attempts;
                if !is_last {
                    return Err(error);
                }
                let puts = self.ending.failed(view.shape, index, &error.message);
                puts.ok_or_else(|| fatal(error.message))?
            }
        }))
    }

    async fn once(&self, visit: &Visit<'_>, view: &View<'_>) -> Result<Came, NodeError> {
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
                visit.tell("node.cached", json!({ "step": self.ending.name }));
                return Ok(Came::To(value));
            }
        }
        let timed = tokio::time::timeout_at(visit.until(), self.work.run(visit, view)).await;
        let came = timed.map_err(|_| {
            let after = self.timeout().as_millis();
            NodeError::transient(format!("it took longer than {after} ms"))
        })??;
        if let (Some((key, ttl, cache)), Came::To(value) | Came::Said(value, _)) = (key, &came)
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

fn digest(tenant: &str, call: &Value) -> Vec<u8> {
    let mut digest = Sha256::new();
    digest.update(format!("graph node\n{}\n{tenant}\n", tenant.len()));
    digest.update(call.to_string().as_bytes());
    digest.finalize().to_vec()
}
