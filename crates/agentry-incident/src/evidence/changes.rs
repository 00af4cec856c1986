//! What changed: which change comes into question, and why the others do not.

use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::telemetry::Change;

/// After this long the suspicion has fallen to a third.
const DECAY: Duration = Duration::from_secs(30 * 60);

/// How much a change of this kind, made then, is to be suspected: 0 to 1.
pub(crate) fn suspicion(change: &Change, onset: Timestamp, skew: Duration) -> f64 {
    if change.at > onset.plus(skew) {
        return 0.0;
    }
    let age = onset.since(change.at).as_secs_f64() / DECAY.as_secs_f64();
    weight(&change.kind) * (-age).exp()
}

fn weight(kind: &str) -> f64 {
    match kind.to_ascii_lowercase().as_str() {
        "deploy" | "release" | "rollout" | "chaos" | "migration" => 1.0,
        "config" | "flag" | "certificate" | "cert" | "secret" => 0.9,
        "scale" | "network" | "policy" => 0.7,
        "cron" | "job" => 0.5,
        _ => 0.6,
    }
}
