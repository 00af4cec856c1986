//! What somebody wants a new key to be, checked before it becomes one.

use std::collections::BTreeMap;

use agentry_core::keys::{Budget, Priority, Terms};
use agentry_core::ledger::Per;
use agentry_core::{MicroUsd, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Network, Scopes};

/// As the API takes it, and the command line and the configuration write it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    pub name: String,
    /// That of whoever asks, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    pub scopes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<WishedBudget>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// In dollars, as people think of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WishedBudget {
    pub usd: f64,
    pub per: String,
}

/// The first thing that is wrong with a wish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{param}` {reason}")]
pub struct BadWish {
    pub param: &'static str,
    pub reason: String,
}

const NAME_MAX: usize = 64;
const LIST_MAX: usize = 100;
const METADATA_BYTES_MAX: usize = 4_000;
const USD_MAX: f64 = 1e9;

impl Wish {
    /// Whether every field makes sense; `now` is for the day on which it ends.
    pub fn terms(&self, now: Timestamp) -> Result<Terms, BadWish> {
        let Self {
            name,
            tenant,
            team,
            user,
            scopes,
            models,
            addresses,
            rpm,
            tpm,
            concurrency,
            budgets,
            priority,
            metadata,
            expires,
        } = self;
        check_name("name", name)?;
        for (param, name) in [("tenant", tenant), ("team", team)] {
            name.as_deref().map_or(Ok(()), |name| check_name(param, name))?;
        }
        check_user(user.as_deref())?;
        check_scopes(scopes)?;
        check_models(models)?;
        check_list("addresses", addresses, |address| {
            address.parse::<Network>().map(drop).map_err(|error| error.to_string())
        })?;
        for (param, limit) in [("rpm", rpm), ("tpm", tpm), ("concurrency", concurrency)] {
            if *limit == Some(0) {
                return Err(unfit(param, "must be at least 1; revoke a key that nobody shall use"));
            }
        }
        if expires.is_some_and(|expires| expires <= now) {
            return Err(unfit("expires", "must lie in the future"));
        }
        let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(unfit("metadata", format!("is longer than {METADATA_BYTES_MAX} bytes")));
        }
        Ok(Terms {
            scopes: scopes.clone(),
            models: models.clone(),
            addresses: addresses.clone(),
            rpm: *rpm,
            tpm: *tpm,
            concurrency: *concurrency,
            budgets: read_budgets(budgets)?,
            priority: priority.unwrap_or_default(),
            metadata: metadata.clone(),
        })
    }
}

fn unfit(param: &'static str, reason: impl Into<String>) -> BadWish {
    BadWish { param, reason: reason.into() }
}

/// Names stand in accounts, logs and headers.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte))
}

fn check_name(param: &'static str, name: &str) -> Result<(), BadWish> {
    if is_name(name) {
        return Ok(());
    }
    Err(unfit(param, format!("must be 1 to {NAME_MAX} letters, digits or one of - _ . @")))
}

/// Whoever names users may do it as he likes.
pub(crate) fn is_user(user: &str) -> bool {
    (1..=256).contains(&user.len()) && !user.chars().any(char::is_control)
}

fn check_user(user: Option<&str>) -> Result<(), BadWish> {
    if user.is_none_or(is_user) {
        return Ok(());
    }
    Err(unfit("user", "must be 1 to 256 bytes without control characters"))
}

fn check_list(
    param: &'static str,
    items: &[String],
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<(), BadWish> {
    if items.len() > LIST_MAX {
        return Err(unfit(param, format!("has more than {LIST_MAX} entries")));
    }
    items.iter().try_for_each(|item| {
        check(item).map_err(|reason| unfit(param, format!("has a wrong entry: {reason}")))
    })
}

fn check_scopes(scopes: &[String]) -> Result<(), BadWish> {
    if scopes.is_empty() {
        return Err(unfit("scopes", "is empty: name what the key may do, as in llm:chat"));
    }
    check_list("scopes", scopes, |word| {
        Scopes::parse(word).map(drop).map_err(|error| error.to_string())
    })
}

fn check_models(models: &[String]) -> Result<(), BadWish> {
    check_list("models", models, |model| {
        let star = model.find('*').is_some_and(|at| at + 1 < model.len());
        match model.is_empty() || model.len() > 200 || star {
            true => {
                Err("write the name of an alias, with a * at its end for all that begin so"
                    .to_owned())
            }
            false => Ok(()),
        }
    })
}

fn read_budgets(budgets: &[WishedBudget]) -> Result<Vec<Budget>, BadWish> {
    let mut read: Vec<Budget> = Vec::new();
    for WishedBudget { usd, per } in budgets {
        let per: Per =
            per.parse().map_err(|error| unfit("budgets", format!("has a wrong entry: {error}")))?;
        if !(0.0..=USD_MAX).contains(usd) {
            return Err(unfit("budgets", "has a sum that is not between 0 and a billion dollars"));
        }
        if read.iter().any(|known| known.per == per) {
            return Err(unfit("budgets", format!("has two for each {}", per.as_str())));
        }
        read.push(Budget { cap: MicroUsd((usd * 1e6).round() as i64), per });
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &str) {
        let wish: Result<Wish, _> = serde_json::from_str(json);
        let told = match wish {
            Ok(wish) => wish
                .terms(Timestamp::from_seconds(1_000))
                .map_or_else(|bad| bad.to_string(), |_| "good".to_owned()),
            Err(error) => error.to_string(),
        };
        assert!(told.contains(expected), "{json}: no {expected:?} in {told}");
    }

    #[test]
    fn a_wish_that_makes_no_sense_is_told_which_field() {
        let with = |rest: &str| format!(r#"{{"name":"ci","scopes":["llm:chat"]{rest}}}"#);
        check(&with(""), "good");
        check(
            &with(
                r#","models":["fast","gpt-*"],"addresses":["10.0.0.0/8"],"rpm":1,"priority":"high""#,
            ),
            "good",
        );
        check(&with(r#","budgets":[{"usd":5,"per":"day"},{"usd":0.5,"per":"month"}]"#), "good");
        check(
            &with(
                r#","expires":"2030-01-01T00:00:00Z","user":"Älice O'Hara","metadata":{"a":"b"}"#,
            ),
            "good",
        );
        check("{}", "`name` must be");
        check(r#"{"name":"a b","scopes":["*"]}"#, "`name` must be");
        check(r#"{"name":"a"}"#, "`scopes` is empty");
        check(r#"{"name":"a","scopes":["llm:fly"]}"#, "`llm:fly` is no scope");
        check(&with(r#","tenant":"a/b""#), "`tenant`");
        check(&with(r#","team":"""#), "`team`");
        check(&with(r#","user":"a\nb""#), "`user`");
        check(&with(r#","models":["a*b"]"#), "`models`");
        check(&with(r#","addresses":["10.0.0.1/8"]"#), "is no network");
        check(&with(r#","rpm":0"#), "`rpm` must be at least 1");
        check(&with(r#","rpm":-1"#), "invalid value");
        check(&with(r#","budgets":[{"usd":5,"per":"week"}]"#), "`week` is not a period");
        check(&with(r#","budgets":[{"usd":-5,"per":"day"}]"#), "not between 0");
        check(
            &with(r#","budgets":[{"usd":1,"per":"day"},{"usd":2,"per":"day"}]"#),
            "two for each day",
        );
        check(&with(r#","priority":"urgent""#), "unknown variant `urgent`");
        check(&with(r#","expires":"1970-01-01T00:00:00Z""#), "must lie in the future");
        check(&with(r#","expires":"soon""#), "RFC 3339");
        check(&with(r#","limit":1"#), "unknown field `limit`");
    }
}
