//! From a checked configuration to the parts it describes: the only place that names concrete providers.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use crate::config::{Config, Source};

pub(crate) mod batches;
pub(crate) mod counting;
pub(crate) mod graphs;
pub(crate) mod identity;
pub(crate) mod incident;
pub(crate) mod models;
pub(crate) mod policies;
pub(crate) mod pressure;
pub(crate) mod reload;
pub(crate) mod storage;
pub(crate) mod threads;
pub(crate) mod watching;

pub(crate) use models::gateway;

/// A name that nobody else has.
pub(crate) fn random_id() -> String {
    uuid::Uuid::from_u64_pair(seed(), seed()).simple().to_string()
}

/// The standard library seeds every hasher from the system's randomness.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// What the incident agent reads, by kind.
pub(crate) fn sources(config: &Config) -> impl Iterator<Item = (&'static str, &Source)> {
    let incident = &config.incident;
    let all = [
        ("metrics", &incident.metrics),
        ("logs", &incident.logs),
        ("traces", &incident.traces),
        ("changes", &incident.changes),
    ];
    all.into_iter().filter_map(|(kind, source)| source.as_ref().map(|source| (kind, source)))
}
