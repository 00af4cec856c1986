//! `agentry keys`: works on the store itself, or through the instance that has it open.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentry_backends::sqlite::{OpenError, SqliteStore};
use agentry_core::keys::{KeyStore, Priority};
use agentry_core::{Clock as _, Timestamp};
use agentry_identity::{Actor, Issued, KeyRing, Wish, WishedBudget, admin};
use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::cli::{Context, Ended, Exit};
use crate::clock::SystemClock;
use crate::config::{Config, Ledger, Storage};
use crate::operate::{Target, agent, ended, runtime};
use crate::terminal::Terminal;
use crate::wiring::storage;

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Keys {
    /// Make a key; its secret is shown once
    Create(Box<New>),
    /// Every key but its secret
    List {
        /// Revoked, replaced and expired ones too
        #[arg(long)]
        all: bool,
    },
    /// End a key, everywhere and for good
    Revoke {
        /// Its id, or its name in the tenant `main`
        key: String,
    },
    /// A new secret under the same name; the old one ends, at once or after a while
    Rotate {
        /// Its id, or its name in the tenant `main`
        key: String,
        /// How long the old secret is still good, as in 1h or 2d; a week at most
        #[arg(long, value_name = "TIME", value_parser = overlap, default_value = "0s")]
        overlap: Duration,
    },
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct New {
    /// What limits, budgets and logs call it
    #[arg(long)]
    name: String,
    /// What it may do, as in llm:chat, llm:* or *; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,
    /// Tenants share nothing [default: main]
    #[arg(long)]
    tenant: Option<String>,
    #[arg(long)]
    team: Option<String>,
    /// The person whose key it is
    #[arg(long)]
    user: Option<String>,
    /// The only models that it may name; may be repeated, and end in *
    #[arg(long = "model", value_name = "ALIAS")]
    models: Vec<String>,
    /// The only networks that it may be used from, as in 10.0.0.0/8; may be repeated
    #[arg(long = "address", value_name = "NETWORK")]
    addresses: Vec<String>,
    /// Requests per minute
    #[arg(long, value_name = "COUNT")]
    rpm: Option<u32>,
    /// Tokens per minute
    #[arg(long, value_name = "COUNT")]
    tpm: Option<u32>,
    /// Requests at the same time
    #[arg(long, value_name = "COUNT")]
    concurrency: Option<u32>,
    /// Dollars per day, month or total, as in 5/day; may be repeated
    #[arg(long = "budget", value_name = "USD/PERIOD", value_parser = budget)]
    budgets: Vec<WishedBudget>,
    /// Who waits for whom: low, normal or high
    #[arg(long, value_parser = priority)]
    priority: Option<Priority>,
    /// When it ends, as in 90d or 2026-12-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Something to remember about it; may be repeated
    #[arg(long = "metadata", value_name = "NAME=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
}

pub(crate) fn run(cx: &Context, target: &Target, what: Keys) -> Result<Exit, Ended> {
    let config = cx.config()?;
    let making = matches!(what, Keys::Create(_));
    let agent = agent(cx, target)?;
    let now = SystemClock.now();
    runtime()?.block_on(async {
        let store: Option<Arc<dyn KeyStore>> =
            match (&target.url, &config.ledger, &config.storage) {
                (None, Ledger::Postgres { url, place, .. }, _) => {
                    Some(Arc::new(storage::postgres(url, place).await?))
                }
                (None, Ledger::Storage, Storage::Sqlite(path)) => open(path, making)?,
                (None, Ledger::Storage, Storage::Memory | Storage::Postgres(_))
                | (Some(_), _, _) => None,
            };
        let done = match store {
            Some(store) => in_store(cx.terminal, &config, store, (what, now)).await,
            None => over_http(cx.terminal, &agent, what, now).await,
        };
        done.map(|()| Exit::Done).map_err(ended)
    })
}

/// Nothing when an instance has it open: that one is asked. A store is made only for a key to be kept in.
fn open(path: &Path, making: bool) -> Result<Option<Arc<dyn KeyStore>>, Ended> {
    if !making && !path.is_file() {
        let error = anyhow!("there is no store {} yet, and no key in it", path.display());
        return Err(error.into());
    }
    match SqliteStore::open(path) {
        Ok(store) => Ok(Some(Arc::new(store))),
        Err(OpenError::InUse { .. }) => Ok(None),
        Err(error) => Err(anyhow::Error::from(error).into()),
    }
}

/// Whoever can write the file may do everything.
async fn in_store(
    terminal: Terminal,
    config: &Config,
    store: Arc<dyn KeyStore>,
    (what, now): (Keys, Timestamp),
) -> anyhow::Result<()> {
    let ring = KeyRing::open(store, config.access.keys.clone()).await.context("read the keys")?;
    let actor =
        Actor { name: "person:local".to_owned(), tenant: "main".to_owned(), everywhere: true };
    match what {
        Keys::Create(new) => {
            let wish = wish(*new, now)?;
            tell_secret(terminal, &once(&admin::create(&ring, &actor, &wish, now).await?, now));
        }
        Keys::List { all } => {
            let keys = admin::list(&ring, &actor);
            let keys = keys.iter().map(|key| admin::shown(key, now)).collect();
            tell_list(terminal, keys, all);
        }
        Keys::Revoke { key } => {
            let key = admin::revoke(&ring, &actor, &key, now).await?;
            tell_revoked(terminal, &admin::shown(&key, now));
        }
        Keys::Rotate { key, overlap } => {
            let issued = admin::rotate(&ring, &actor, (&key, overlap), now).await?;
            tell_secret(terminal, &once(&issued, now));
        }
    }
    Ok(())
}

async fn over_http(
    terminal: Terminal,
    agent: &Agent,
    what: Keys,
    now: Timestamp,
) -> anyhow::Result<()> {
    match what {
        Keys::Create(new) => {
            let wish = json!(wish(*new, now)?);
            tell_secret(terminal, &agent.post("/v1/keys", &wish).await?);
        }
        Keys::List { all } => tell_list(terminal, agent.list("/v1/keys").await?, all),
        Keys::Revoke { key } => {
            let path = format!("/v1/keys/{}", in_path(&key)?);
            tell_revoked(terminal, &agent.delete(&path).await?);
        }
        Keys::Rotate { key, overlap } => {
            let (key, seconds) = (in_path(&key)?, overlap.as_secs());
            let path = format!("/v1/keys/{key}/rotate?overlap_seconds={seconds}");
            tell_secret(terminal, &agent.post(&path, &json!({})).await?);
        }
    }
    Ok(())
}

/// Ids and names consist of what may stand in a path.
fn in_path(key: &str) -> anyhow::Result<&str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@:".contains(&byte);
    match !key.is_empty() && key.bytes().all(fits) {
        true => Ok(key),
        false => {
            Err(anyhow!("`{key}` is neither an id nor a name: `agentry keys list` shows both"))
        }
    }
}

fn wish(new: New, now: Timestamp) -> anyhow::Result<Wish> {
    let New {
        name,
        scopes,
        tenant,
        team,
        user,
        models,
        addresses,
        rpm,
        tpm,
        concurrency,
        budgets,
        priority,
        expires,
        metadata,
    } = new;
    let expires = expires.map(|text| match span(&text) {
        Some(span) => Ok(now.plus(span)),
        None => text.parse::<Timestamp>().map_err(|error| anyhow!("--expires: {error}, or 90d")),
    });
    Ok(Wish {
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
        metadata: metadata.into_iter().collect(),
        expires: expires.transpose()?,
    })
}

fn once(issued: &Issued, now: Timestamp) -> Value {
    let mut shown = admin::shown(&issued.key, now);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("secret".to_owned(), issued.secret.expose().into());
    }
    shown
}

fn text<'a>(key: &'a Value, field: &str) -> &'a str {
    key.get(field).and_then(Value::as_str).unwrap_or("-")
}

fn tell_secret(terminal: Terminal, key: &Value) {
    if terminal.json {
        terminal.object(key);
        return;
    }
    terminal.note(format_args!(
        "key {} of {}/{}: this is its secret, which is shown only now",
        text(key, "id"),
        text(key, "tenant"),
        text(key, "name")
    ));
    terminal.data(text(key, "secret"));
}

fn tell_revoked(terminal: Terminal, key: &Value) {
    match terminal.json {
        true => terminal.object(key),
        false => {
            terminal.data(format_args!("revoked: {} ({})", text(key, "id"), text(key, "name")));
        }
    }
}

fn tell_list(terminal: Terminal, keys: Vec<Value>, all: bool) {
    let keys: Vec<Value> =
        keys.into_iter().filter(|key| all || text(key, "status") == "active").collect();
    if terminal.json {
        return terminal.object(&keys);
    }
    if keys.is_empty() {
        return terminal.note("no keys: `agentry keys create --name NAME --scope llm:*` makes one");
    }
    for key in &keys {
        let scopes = key.pointer("/terms/scopes").and_then(Value::as_array);
        let scopes: Vec<&str> = scopes.into_iter().flatten().filter_map(Value::as_str).collect();
        terminal.data(format_args!(
            "{:<21} {:<20} {:<12} {:<8} {:<8} used {:<20} {}",
            text(key, "id"),
            text(key, "name"),
            text(key, "tenant"),
            text(key, "hint"),
            text(key, "status"),
            text(key, "last_used").get(..16).unwrap_or("-"),
            scopes.join(",")
        ));
    }
}

/// `30s`, `5m`, `2h`, `90d`.
fn span(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale).map(Duration::from_secs)
}

const OVERLAP_MAX: Duration = Duration::from_secs(7 * 86_400);

fn overlap(text: &str) -> Result<Duration, String> {
    match span(text) {
        Some(span) if span <= OVERLAP_MAX => Ok(span),
        Some(_) => Err("at most 7d".to_owned()),
        None => Err("write it as 30m, 1h or 2d".to_owned()),
    }
}

fn budget(text: &str) -> Result<WishedBudget, String> {
    let help = || "write it as 5/day, 100/month or 500/total".to_owned();
    let (usd, per) = text.split_once('/').ok_or_else(help)?;
    let usd = usd.trim_start_matches('$').parse().map_err(|_| help())?;
    Ok(WishedBudget { usd, per: per.to_owned() })
}

fn priority(text: &str) -> Result<Priority, String> {
    let all = [Priority::Low, Priority::Normal, Priority::High];
    let found = all.into_iter().find(|priority| priority.as_str() == text);
    found.ok_or_else(|| "there are low, normal and high".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}
