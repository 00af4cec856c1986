//! The configuration under which the gateway is measured, in one place: what callers get by default is not what is measured,
//! but everything that a serious installation switches on.

use std::fmt::Write as _;

/// Sent with every request; peers that want no key do not mind.
pub(crate) const KEY: &str = "sk-bench-0123456789abcdef0123456789abcdef";

/// What is asked for. The mock reads the shape of its answer from the name.
pub(crate) const WHOLE: &str = "mock";
pub(crate) const STREAM_UNPACED: &str = "mock-64x0";
pub(crate) const STREAM_SHORT: &str = "mock-4x2";
pub(crate) const STREAM_SLOW: &str = "mock-64x100";
pub(crate) const MODELS: [&str; 4] = [WHOLE, STREAM_UNPACED, STREAM_SHORT, STREAM_SLOW];

pub(crate) struct Policy {
    pub(crate) name: &'static str,
    /// Whether the binary reads this table. Figures name the policies that were on.
    pub(crate) is_on: bool,
    text: &'static str,
}

/// The limits are there to be checked, not to be reached.
pub(crate) const POLICIES: [Policy; 3] = [
    Policy {
        name: "key, rate limit, budget",
        is_on: false,
        text: r#"
[[keys]]
name = "bench"
tenant = "main"
secret = "env:AGENTRY_BENCH_KEY"
scopes = ["llm:chat"]
rpm = 100000000
tpm = 100000000000
concurrency = 100000
budget = { usd = 1000000.0, per = "day" }
"#,
    },
    Policy {
        name: "breaker",
        is_on: false,
        text: r#"
[breaker]
failures = 5
open_for = "30s"
"#,
    },
    Policy {
        name: CACHE,
        is_on: false,
        text: r#"
[cache]
exact = true
ttl = "1h"
max_bytes = "16MiB"
"#,
    },
];

pub(crate) const CACHE: &str = "cache";

/// The policies that are on, for whoever reads the figures. Metrics always are.
pub(crate) fn policies() -> Vec<&'static str> {
    let on = POLICIES.iter().filter(|policy| policy.is_on).map(|policy| policy.name);
    on.chain(["metrics"]).collect()
}

/// `agentry.toml` for the vendor at `mock` (host and port).
pub(crate) fn text(mock: &str) -> String {
    let mut text = format!(
        r#"
[server]
listen = "127.0.0.1:0"
[storage]
url = "memory:"
[providers.mock]
kind = "openai"
base_url = "http://{mock}/v1"
api_key = "env:AGENTRY_BENCH_KEY"
"#
    );
    for model in MODELS {
        // Writing into a string does not fail.
        let _ = write!(
            text,
            r#"
[models."{model}"]
targets = ["mock/{model}"]
price = {{ input = 0.15, cached_input = 0.075, output = 0.60 }}
"#
        );
    }
    text.extend(POLICIES.iter().filter(|policy| policy.is_on).map(|policy| policy.text));
    text
}
