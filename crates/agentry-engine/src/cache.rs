//! What nodes wrote, so that they need not run again for the same state.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::run::Values;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use crate::graph::Caching;
use crate::node::NodeOutput;
use crate::plan::Plan;

/// What an output is kept under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey {
    pub graph: String,
    pub node: String,
    /// Of what the node reads.
    pub digest: u128,
    /// How long it is good, in milliseconds; for ever when there is none.
    pub ttl_ms: Option<u64>,
}

impl CacheKey {
    pub(crate) fn of(
        plan: &Plan,
        (node, caching): (&str, &Caching),
        (values, arg): (&Values, Option<&Value>),
    ) -> Self {
        let read: Vec<(&String, &Value)> = values
            .iter()
            .filter(|(key, _)| caching.keys.is_empty() || caching.keys.contains(key))
            .collect();
        let text = match arg {
            Some(arg) => serde_json::to_vec(arg),
            None => serde_json::to_vec(&read),
        };
        Self {
            graph: plan.name.clone(),
            node: node.to_owned(),
            digest: xxh3_128(&text.unwrap_or_default()),
            ttl_ms: caching.ttl_ms,
        }
    }
}

/// Where outputs are kept.
pub trait NodeCache: Send + Sync {
    fn get(&self, key: &CacheKey, now: Timestamp) -> Option<NodeOutput>;
    fn put(&self, key: CacheKey, output: NodeOutput, now: Timestamp);
}

/// Keeps a bounded number of outputs in memory.
pub struct InMemory {
    outputs_max: usize,
    outputs: Mutex<HashMap<CacheKey, (NodeOutput, Option<Timestamp>)>>,
}

impl InMemory {
    #[must_use]
    pub fn new(outputs_max: usize) -> Self {
        Self { outputs_max, outputs: Mutex::new(HashMap::new()) }
    }
}

impl NodeCache for InMemory {
    fn get(&self, key: &CacheKey, now: Timestamp) -> Option<NodeOutput> {
        let outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        let (output, until) = outputs.get(key)?;
        until.is_none_or(|until| now < until).then(|| output.clone())
    }

    fn put(&self, key: CacheKey, output: NodeOutput, now: Timestamp) {
        let until = key.ttl_ms.map(|ms| now.plus(Duration::from_millis(ms)));
        let mut outputs = self.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        if outputs.len() >= self.outputs_max && !outputs.contains_key(&key) {
            outputs.retain(|_, (_, until)| until.is_none_or(|until| now < until));
            if outputs.len() >= self.outputs_max
                && let Some(any) = outputs.keys().next().cloned()
            {
                outputs.remove(&any);
            }
        }
        outputs.insert(key, (output, until));
    }
}
