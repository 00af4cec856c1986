//! `[cache]` and `[shared]`: answers that were given before, and what instances have in common.

use std::time::Duration;

use agentry_gateway::cache::Settings;
use secrecy::SecretString;

use super::problem::Problem;
use super::reader::{At, Notes, Reader};
use super::value::{self, Unreadable};

/// What several instances have in common.
#[derive(Debug, Clone, Default)]
pub(crate) enum Shared {
    /// There is one instance.
    #[default]
    Memory,
    Redis {
        /// With its password.
        url: SecretString,
        /// Before every key: installations that share a server have different ones.
        prefix: Option<String>,
    },
}

const TTL: Duration = Duration::from_secs(3_600);
const BYTES_MAX: usize = 256 << 20;
/// Less holds no answers worth the looking.
const BYTES_MIN: usize = 64 << 10;

/// Nothing when answers are not kept.
pub(super) fn cache(table: Option<Reader<'_>>, notes: &Notes<'_>) -> Option<Settings> {
    let mut table = table?;
    let exact = table.or("exact", true, value::flag);
    let settings = Settings {
        ttl: table.or("ttl", TTL, value::duration),
        bytes_max: table.or("max_bytes", BYTES_MAX, |value| match value::size(value)? {
            bytes if bytes < BYTES_MIN => Err(Unreadable::new("must be at least 64KiB")),
            bytes => Ok(bytes),
        }),
    };
    if let Some(At { place, value: true }) = table.read("semantic", value::flag) {
        let message = "`cache.semantic` is not available yet in this version";
        let help = "write semantic = false: identical calls are found without it";
        notes.report(Problem::new(place, message).help(help));
    }
    table.not_yet(&["threshold"], "remove it: only `semantic` would use it");
    table.finish();
    exact.then_some(settings)
}

pub(super) fn shared(table: Option<Reader<'_>>) -> Shared {
    let Some(mut table) = table else { return Shared::Memory };
    let notes = table.notes();
    let help =
        "write \"redis://HOST:6379\", \"rediss://HOST:6379\", \"env:REDIS_URL\" or \"memory:\"";
    let url = table.read("url", |value| {
        let text = value::text(value)?;
        match text.split_once(':') {
            Some(("memory", "")) => Ok(None),
            Some(("env" | "file", _)) => {
                value::secret(value, notes.environment, notes.folder).map(Some)
            }
            Some(("redis" | "rediss" | "valkey" | "valkeys", rest)) => {
                value::without_password(&text)?;
                let scheme = if text.starts_with("rediss") || text.starts_with("valkeys") {
                    "rediss"
                } else {
                    "redis"
                };
                Ok(Some(format!("{scheme}:{rest}").into()))
            }
            _ => Err(Unreadable::new("is no shared store").help(help)),
        }
    });
    let prefix = table.read("prefix", |value| {
        let prefix = value::text(value)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match prefix.chars().all(is_plain) {
            true => Ok(prefix),
            false => Err(Unreadable::new("has a character that is not a letter, digit, -, _ or .")),
        }
    });
    table.finish();
    match url.and_then(|url| url.value) {
        None => Shared::Memory,
        Some(url) => Shared::Redis { url, prefix: prefix.map(|prefix| prefix.value) },
    }
}
