//! The configuration under which the gateway is measured, in one place: what callers get by default is not what is measured,
//! but everything that a serious installation switches on.

use std::fmt::Write as _;

use anyhow::{Result, bail};

/// Sent with every request; peers that want no key do not mind.
pub(crate) const KEY: &str = "sk-bench-0123456789abcdef0123456789abcdef";

/// What is asked for. The mock reads the shape of its answer from the name.
pub(crate) const WHOLE: &str = "mock";
pub(crate) const STREAM_UNPACED: &str = "mock-64x0";
pub(crate) const STREAM_SHORT: &str = "mock-4x2";
pub(crate) const STREAM_SLOW: &str = "mock-64x100";
pub(crate) const MODELS: [&str; 4] = [WHOLE, STREAM_UNPACED, STREAM_SHORT, STREAM_SLOW];

struct Policy {
    name: &'static str,
    text: &'static str,
}

/// Limits are there to be checked, not to be reached.
const POLICIES: [Policy; 3] = [
    Policy {
        name: "key, rate limit, budget",
        text: r#"
[[keys]]
name = "bench"
tenant = "main"
secret = "env:AGENTRY_BENCH_KEY"
scopes = ["llm:chat"]
rpm = 100000000
tpm = 4000000000
concurrency = 100000
budget = { usd = 1000000.0, per = "day" }
"#,
    },
    Policy {
        name: "breaker",
        text: r#"
[breaker]
failures = 5
open_for = "30s"
"#,
    },
    Policy {
        name: CACHE,
        text: r#"
[cache]
exact = true
ttl = "1h"
max_bytes = "16MiB"
"#,
    },
];

pub(crate) const CACHE: &str = "cache";

/// What is measured: the text of `agentry.toml`, and the names of the policies that are on in it.
pub(crate) struct Config {
    pub(crate) text: String,
    pub(crate) policies: Vec<&'static str>,
    /// What the binary does not know yet, and what it says about it.
    pub(crate) refused: Vec<String>,
}

impl Config {
    /// Switches on all that `program` reads; `is_read` tells whether it does, and what it says if not.
    pub(crate) fn new(
        mock: &str,
        is_read: impl Fn(&str) -> Result<std::result::Result<(), String>>,
    ) -> Result<Self> {
        let mut config = Self { text: base(mock), policies: vec!["metrics"], refused: Vec::new() };
        if let Err(why) = is_read(&config.text)? {
            bail!("the configuration that is measured is wrong: {why}");
        }
        for Policy { name, text } in POLICIES {
            let more = format!("{}{text}", config.text);
            match is_read(&more)? {
                Ok(()) => {
                    config.text = more;
                    config.policies.push(name);
                }
                Err(why) => config.refused.push(format!("{name} is left out: {why}")),
            }
        }
        Ok(config)
    }
}

/// Without policies, for the vendor at `mock` (host and port).
fn base(mock: &str) -> String {
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
    text
}
