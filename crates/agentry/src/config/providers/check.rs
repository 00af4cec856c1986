//! `[providers.NAME.check]`: whether a provider is there is looked at while nobody calls it.

use agentry_gateway::checks::Settings;

use super::Kind;
use crate::config::reader::Reader;
use crate::config::value::{self, Unreadable};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    /// Below the provider's address; `{model}` in it stands for each model that is a target.
    pub(crate) path: String,
    pub(crate) settings: Settings,
}

/// Stands for the name of a model.
pub(crate) const MODEL: &str = "{model}";

pub(super) fn read(mut table: Reader<'_>, kind: Option<&Kind>) -> Option<Check> {
    let usual = match kind {
        Some(Kind::OpenAi(_) | Kind::Gemini(_)) => Some("/models"),
        Some(Kind::Anthropic(_)) => Some("/v1/models"),
        Some(Kind::Ollama(_)) => Some("/api/version"),
        Some(Kind::Azure(_)) => None,
        // What else is wrong can only be told when the kind is known.
        None => return None,
        Some(Kind::Bedrock(_) | Kind::Scripted { .. }) => {
            table.report("a provider of this kind cannot be checked: leave the table out");
            return None;
        }
    };
    let path = match usual {
        Some(usual) => Some(table.or("path", usual.to_owned(), path)),
        None => table.required("path", "\"/models\"", path).map(|at| at.value),
    };
    let defaults = Settings::default();
    let settings = Settings {
        interval: table.or("interval", defaults.interval, value::duration),
        timeout: table.or("timeout", defaults.timeout, value::duration),
        failures: table.or("failures", defaults.failures, value::at_least_one),
        successes: table.or("successes", defaults.successes, value::at_least_one),
    };
    if settings.interval.is_zero() || settings.timeout.is_zero() {
        table.report("a check needs an `interval` and a `timeout` above zero");
    } else if settings.timeout > settings.interval {
        table.report("a check must have its answer before the next one: make `timeout` no longer than `interval`");
    }
    table.finish();
    Some(Check { path: path?, settings })
}

fn path(value: &crate::config::tree::Value) -> Result<String, Unreadable> {
    let text = value::text(value)?;
    let example = text.replace(MODEL, "m");
    match example.parse::<http::uri::PathAndQuery>() {
        Ok(_) if text.starts_with('/') => Ok(text),
        _ => Err(Unreadable::new(format!("is no path: \"{text}\""))
            .help("write it as \"/models\", below the provider's address")),
    }
}
