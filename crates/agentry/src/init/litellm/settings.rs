//! Everything beside the list of models.

use super::models::{Model, Models};
use super::yaml::{Node, Table};
use super::{Notes, secret};

/// What is written once.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) breaker_failures: Option<u32>,
    /// In seconds.
    pub(super) breaker_open_for: Option<f64>,
    pub(super) cache: Option<Cache>,
    pub(super) shared_url: Option<String>,
    pub(super) ledger_url: Option<String>,
    /// The secret of a key that may do everything.
    pub(super) master_key: Option<String>,
    /// USD, and per what.
    pub(super) budget: Option<(f64, &'static str)>,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    /// In seconds.
    pub(super) ttl: Option<f64>,
}

const RETRIES_MAX: u32 = 20;

pub(super) fn read(root: &mut Table, models: &mut Models, notes: &mut Notes) -> Settings {
    let mut settings = Settings::default();
    let mut router = root.table("router_settings");
    let mut general = root.table("general_settings");
    let mut lite = root.table("litellm_settings");
    aliases(&mut router, models, notes);
    for table in [&mut router, &mut lite] {
        calls(table, models, notes);
        breaker(table, &mut settings);
        fallbacks(table, models, notes);
    }
    strategy(&mut router, models, notes);
    redis(&mut router, &mut settings, notes);
    cache(&mut lite, &mut settings, notes);
    budget(&mut lite, &mut settings, notes);
    let path = "general_settings";
    if let Some(key) = general.text("master_key") {
        let key = secret(&key, "LITELLM_MASTER_KEY", &format!("{path}.master_key"), notes);
        settings.master_key = Some(key);
    } else {
        notes.push(
            path,
            "there is no `master_key`, so only this machine can call; see docs/keys.md",
        );
    }
    if let Some(url) = general.text("database_url") {
        let url = secret(&url, "DATABASE_URL", &format!("{path}.database_url"), notes);
        notes.push(
            format!("{path}.database_url"),
            "money and keys are kept there, in a schema of their own; LiteLLM's keys and spend are not taken over",
        );
        settings.ledger_url = Some(url);
    }
    for table in [router, general, lite] {
        notes.rest(table);
    }
    settings
}

/// For models that say nothing themselves.
fn calls(table: &mut Table, models: &mut Models, notes: &mut Notes) {
    let path = table.path().to_owned();
    let retries = table.take("num_retries").map(|retries| (retries.number(), retries));
    let retries = retries.and_then(|(number, retries)| match number {
        Some(0.0) => Some(0),
        _ => retries.count(RETRIES_MAX).or_else(|| {
            notes.push(format!("{path}.num_retries"), "retries are a number from 0 to 20");
            None
        }),
    });
    let mut seconds = |key: &str| table.take(key).and_then(|node| node.number());
    let (timeout, request_timeout) = (seconds("timeout"), seconds("request_timeout"));
    let timeout = timeout.or(request_timeout);
    let first = seconds("stream_timeout");
    for model in &mut models.list {
        model.retries = model.retries.or(retries);
        model.timeout = model.timeout.or(timeout);
        model.first_token_timeout = model.first_token_timeout.or(first);
    }
}

fn breaker(table: &mut Table, settings: &mut Settings) {
    // So many failures are allowed; one more is too much.
    let failures = table.take("allowed_fails").and_then(|allowed| allowed.number());
    let failures = failures.filter(|allowed| (0.0..1e6).contains(allowed));
    settings.breaker_failures =
        settings.breaker_failures.or_else(|| failures.map(|allowed| allowed as u32 + 1));
    let open_for = table.take("cooldown_time").and_then(|seconds| seconds.number());
    settings.breaker_open_for = settings.breaker_open_for.or(open_for);
}

/// The three kinds of LiteLLM are one here: an error that the same model would repeat goes to the fallbacks only.
fn fallbacks(table: &mut Table, models: &mut Models, notes: &mut Notes) {
    for key in ["fallbacks", "context_window_fallbacks", "content_policy_fallbacks"] {
        let path = format!("{}.{key}", table.path());
        let Some(node) = table.take(key) else { continue };
        let Node::List(items) = node else {
            notes.push(path, "is no list");
            continue;
        };
        for item in items {
            let Node::Map(entries) = item else { continue };
            for (name, others) in entries {
                let targets = others.texts();
                if name == "*" {
                    everywhere(models, &targets, &path, notes);
                } else {
                    one(models, &name, &targets, (&path, notes));
                }
            }
        }
    }
    let path = format!("{}.default_fallbacks", table.path());
    if let Some(others) = table.take("default_fallbacks") {
        everywhere(models, &others.texts(), &path, notes);
    }
}

fn everywhere(models: &mut Models, others: &[String], path: &str, notes: &mut Notes) {
    let names: Vec<String> = models.list.iter().map(|model| model.name.clone()).collect();
    for name in names.iter().filter(|name| !others.contains(name)) {
        one(models, name, others, (path, notes));
    }
}

fn one(models: &mut Models, name: &str, others: &[String], (path, notes): (&str, &mut Notes)) {
    let known: Vec<&String> = others
        .iter()
        .filter(|other| match models.has(other) && *other != name {
            true => true,
            false => {
                notes.push(path, &format!("`{name}` cannot fall back to `{other}`"));
                false
            }
        })
        .collect();
    let known: Vec<String> = known.into_iter().cloned().collect();
    if !models.has(name) {
        notes.push(path, &format!("there is no model `{name}`"));
    }
    let is_meant =
        |model: &&mut Model| model.name == name || model.same_as.as_deref() == Some(name);
    for model in models.list.iter_mut().filter(is_meant) {
        for other in &known {
            if !model.fallbacks.contains(other) && model.name != *other {
                model.fallbacks.push(other.clone());
            }
        }
    }
}

/// Other names for models.
fn aliases(router: &mut Table, models: &mut Models, notes: &mut Notes) {
    let path = format!("{}.model_group_alias", router.path());
    let Some(Node::Map(entries)) = router.take("model_group_alias") else { return };
    for (alias, node) in entries {
        let name = match &node {
            Node::Map(fields) => {
                fields.iter().find(|(key, _)| key == "model").and_then(|(_, name)| name.text())
            }
            other => other.text(),
        };
        let found = models.list.iter().find(|model| Some(&model.name) == name.as_ref()).cloned();
        match found {
            Some(_) if models.has(&alias) => notes.push(&*path, "a model has that name already"),
            Some(mut model) => {
                model.same_as = Some(std::mem::replace(&mut model.name, alias));
                models.list.push(model);
            }
            None => notes.push(&*path, &format!("`{alias}` names no model")),
        }
    }
}

fn strategy(router: &mut Table, models: &mut Models, notes: &mut Notes) {
    let path = format!("{}.routing_strategy", router.path());
    let named = router.text("routing_strategy");
    let strategy = match named.as_deref() {
        None => None,
        Some("simple-shuffle") => Some("random"),
        Some("least-busy") => Some("least_connections"),
        Some("latency-based-routing") => Some("least_response_time"),
        Some(other) => {
            let what = format!("`{other}` has no counterpart: the default, peak_ewma, is used");
            notes.push(path, &what);
            None
        }
    };
    for model in models.list.iter_mut().filter(|model| model.targets.len() > 1) {
        let is_weighted = model.targets.iter().any(|target| target.weight.is_some());
        model.strategy = strategy.or_else(|| is_weighted.then_some("random"));
    }
}

fn redis(table: &mut Table, settings: &mut Settings, notes: &mut Notes) {
    let mut named = |usual: &str, short: &str| {
        table.text(usual).or_else(|| if short.is_empty() { None } else { table.text(short) })
    };
    let url = named("redis_url", "url");
    let (host, port) = (named("redis_host", "host"), named("redis_port", "port"));
    let password = named("redis_password", "password");
    let path = table.path().to_owned();
    let is_plain =
        |part: &Option<String>| part.as_ref().is_none_or(|part| !part.starts_with("os.environ/"));
    let written = match (url, host) {
        (Some(url), _) => secret(&url, "REDIS_URL", &format!("{path}.redis_url"), notes),
        (None, None) => return,
        (None, Some(host))
            if is_plain(&Some(host.clone())) && is_plain(&port) && password.is_none() =>
        {
            format!("redis://{host}:{}", port.as_deref().unwrap_or("6379"))
        }
        (None, Some(_)) => {
            notes.push(
                &*path,
                "Redis is named by one address: export REDIS_URL=redis://:PASSWORD@HOST:6379",
            );
            "env:REDIS_URL".to_owned()
        }
    };
    settings.shared_url.get_or_insert(written);
}

fn cache(lite: &mut Table, settings: &mut Settings, notes: &mut Notes) {
    let is_on = lite.take("cache").is_some_and(|flag| flag.is_true());
    let mut params = lite.table("cache_params");
    let kind = params.text("type");
    let ttl = params.take("ttl").and_then(|ttl| ttl.number());
    let kind = kind.as_deref().unwrap_or("local");
    let path = params.path().to_owned();
    match kind {
        "local" => {}
        "redis" if is_on => redis(&mut params, settings, notes),
        _ => {
            let what = format!(
                "a cache of the type `{kind}` has no counterpart: answers are kept in memory"
            );
            notes.push(format!("{path}.type"), &what);
        }
    }
    if is_on {
        settings.cache = Some(Cache { ttl });
    }
    notes.rest(params);
}

fn budget(lite: &mut Table, settings: &mut Settings, notes: &mut Notes) {
    let path = format!("{}.max_budget", lite.path());
    let usd = lite.take("max_budget").and_then(|usd| usd.number());
    let duration = lite.text("budget_duration");
    let Some(usd) = usd.filter(|usd| *usd > 0.0) else { return };
    let per = match duration.as_deref() {
        None => "total",
        Some("1d" | "24h") => "day",
        Some("30d" | "31d" | "1mo") => "month",
        Some(other) => {
            notes.push(
                path,
                &format!("a budget is for a day, a month or in total, not for {other}"),
            );
            return;
        }
    };
    settings.budget = Some((usd, per));
}
