//! `[[keys]]` and `[auth]`: who may call, and what they may do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::keys::{Budget, Key, Priority, Terms};
use agentry_gateway::money::Limit;
use agentry_identity::token::{Algorithm, Claimed, Policy, TenantOf};
use agentry_identity::{CONFIGURED, Secret, Wish, WishedBudget};
use secrecy::SecretString;
use url::Url;

use super::reader::{Notes, Reader};
use super::tree::Value;
use super::value::{self, Unreadable};

#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) keys: Vec<Key>,
    pub(crate) issuers: Vec<TokenIssuer>,
    pub(crate) failures_per_minute: u32,
    /// As it was set; by default, only on loopback.
    pub(crate) metrics_open: Option<bool>,
    /// Turns names of users into pseudonyms.
    pub(crate) pseudonyms: Option<SecretString>,
}

#[derive(Debug, Clone)]
pub(crate) struct TokenIssuer {
    pub(crate) policy: Policy,
    pub(crate) keys: JwksAt,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JwksAt {
    Url(Url),
    File(PathBuf),
}

/// What is shorter can be guessed.
const SECRET_BYTES_MIN: usize = 24;
/// The configuration was always there.
const NEVER: Timestamp = Timestamp::from_seconds(0);

pub(super) fn read(keys: Vec<Reader<'_>>, auth: Option<Reader<'_>>, notes: &Notes<'_>) -> Access {
    let keys = self::keys(keys);
    let mut access = Access {
        keys,
        issuers: Vec::new(),
        failures_per_minute: agentry_identity::Settings::default().failures_per_minute,
        metrics_open: None,
        pseudonyms: None,
    };
    let Some(mut auth) = auth else { return access };
    access.failures_per_minute =
        auth.or("failures_per_minute", access.failures_per_minute, value::at_least_one);
    access.metrics_open = auth.read("metrics_open", value::flag).map(|at| at.value);
    if auth.has("pseudonyms") {
        access.pseudonyms = auth.secret("pseudonyms").map(|at| at.value);
    }
    let issuers = auth.table("jwt").map(Reader::tables).unwrap_or_default();
    access.issuers = issuers.into_iter().filter_map(|issuer| self::issuer(issuer, notes)).collect();
    auth.finish();
    access
}

fn keys(tables: Vec<Reader<'_>>) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for mut table in tables {
        let name = table.required("name", "\"ci\"", value::text);
        let tenant = table.read("tenant", value::text).map(|at| at.value);
        let team = table.read("team", value::text).map(|at| at.value);
        let user = table.read("user", value::text).map(|at| at.value);
        let expires = table.read("expires", moment).map(|at| at.value);
        let secret = match table.has("secret") {
            true => table.secret("secret").map(|at| Secret::given(at.value)),
            false => {
                table.required("secret", "\"env:CI_KEY\"", value::text);
                None
            }
        };
        let limits = limits(&mut table);
        let (Some(name), Some(secret)) = (name, secret) else {
            table.finish();
            continue;
        };
        let wish = Wish { name: name.value, tenant, team, user, expires: None, ..limits };
        let terms = terms(&table, &wish);
        if let Some(problem) = unfit(&secret) {
            table.report(format!("`secret` of the key `{}` {problem}", wish.name));
        }
        let Wish { name, tenant, team, user, .. } = wish;
        let tenant = tenant.unwrap_or_else(|| "main".to_owned());
        let digest = secret.digest();
        if keys.iter().any(|key| key.tenant == tenant && key.name == name) {
            table.report(format!("there are two keys `{name}` of the tenant `{tenant}`"));
        } else if let Some(same) = keys.iter().find(|key| key.digest == digest) {
            table.report(format!("the keys `{}` and `{name}` have the same secret", same.name));
        }
        table.finish();
        keys.push(Key {
            id: format!("{CONFIGURED}{tenant}/{name}"),
            digest,
            hint: secret.hint(),
            tenant,
            name,
            team,
            user,
            terms,
            created: NEVER,
            expires,
            revoked: None,
            replaced_by: None,
            used: None,
        });
    }
    keys
}

fn unfit(secret: &Secret) -> Option<String> {
    if secret.is_mistyped() {
        return Some("was cut or mistyped, for its checksum is wrong".to_owned());
    }
    (secret.expose().len() < SECRET_BYTES_MIN).then(|| {
        format!(
            "is shorter than {SECRET_BYTES_MIN} characters and could be guessed: take a random one, as `openssl rand -hex \
             32` prints"
        )
    })
}

/// What keys and issuers have in common.
fn limits(table: &mut Reader<'_>) -> Wish {
    let words = |table: &mut Reader<'_>, key| {
        let words = table.list(key, value::text).map(|list| list.value).unwrap_or_default();
        words.into_iter().map(|word| word.value).collect::<Vec<_>>()
    };
    let count =
        |table: &mut Reader<'_>, key| table.read(key, value::at_least_one).map(|at| at.value);
    Wish {
        scopes: words(table, "scopes"),
        models: words(table, "models"),
        addresses: words(table, "addresses"),
        rpm: count(table, "rpm"),
        tpm: count(table, "tpm"),
        concurrency: count(table, "concurrency"),
        budgets: table.read("budget", budgets).map(|at| at.value).unwrap_or_default(),
        priority: table.read("priority", priority).map(|at| at.value),
        metadata: table.read("metadata", metadata).map(|at| at.value).unwrap_or_default(),
        ..Wish::default()
    }
}

/// The `budget` of a table, which must have one; nothing when it is not understood.
pub(super) fn budget(table: &mut Reader<'_>) -> Option<Vec<Limit>> {
    let budgets = table.required("budget", "{ usd = 5.0, per = \"day\" }", budgets)?.value;
    if budgets.is_empty() {
        table.report("`budget` has no period");
        return None;
    }
    let scopes = vec!["llm:chat".to_owned()];
    let wish = Wish { name: "budget".to_owned(), scopes, budgets, ..Wish::default() };
    match wish.terms(NEVER) {
        Ok(terms) => {
            let limit = |budget: &Budget| Limit { per: budget.per, cap: budget.cap };
            Some(terms.budgets.iter().map(limit).collect())
        }
        Err(bad) => {
            table.report(format!("`budget` {}", bad.reason));
            None
        }
    }
}

fn terms(table: &Reader<'_>, wish: &Wish) -> Terms {
    wish.terms(NEVER).unwrap_or_else(|bad| {
        let param = if bad.param == "budgets" { "budget" } else { bad.param };
        table.report(format!("`{param}` of `{}` {}", wish.name, bad.reason));
        Terms::default()
    })
}

fn moment(value: &Value) -> Result<Timestamp, Unreadable> {
    value::text(value)?.parse().map_err(|error| {
        Unreadable::new(format!("is no time: {error}")).help("write \"2026-12-31T00:00:00Z\"")
    })
}

/// One budget, or a list with one for each period.
fn budgets(value: &Value) -> Result<Vec<WishedBudget>, Unreadable> {
    let help = "write { usd = 5.0, per = \"day\" }, or a list of such";
    let one = |value: &Value| {
        let Value::Table(table) = value else {
            return Err(value::not("a table", value).help(help));
        };
        if let Some(other) = table.entries.keys().find(|key| !matches!(key.as_str(), "usd" | "per"))
        {
            return Err(Unreadable::new(format!("has an unknown key `{other}`")).help(help));
        }
        let entry = |key: &str| table.entries.get(key).map(|entry| &entry.node.value);
        let usd = match entry("usd") {
            Some(Value::Float(usd)) => *usd,
            Some(Value::Integer(usd)) => *usd as f64,
            _ => return Err(Unreadable::new("has no `usd` that is a number").help(help)),
        };
        match entry("per") {
            Some(Value::Text(per)) => Ok(WishedBudget { usd, per: per.clone() }),
            _ => Err(Unreadable::new("does not say `per` what").help(help)),
        }
    };
    match value {
        Value::List(items) => items.iter().map(|item| one(&item.value)).collect(),
        value => Ok(vec![one(value)?]),
    }
}

fn priority(value: &Value) -> Result<Priority, Unreadable> {
    match value::text(value)?.as_str() {
        "low" => Ok(Priority::Low),
        "normal" => Ok(Priority::Normal),
        "high" => Ok(Priority::High),
        other => Err(Unreadable::new(format!("is no priority: \"{other}\""))
            .help("there are low, normal and high")),
    }
}

fn metadata(value: &Value) -> Result<BTreeMap<String, String>, Unreadable> {
    let Value::Table(table) = value else { return Err(value::not("a table of texts", value)) };
    let entry = |(key, entry): (&String, &super::tree::Entry)| {
        Ok((key.clone(), value::text(&entry.node.value)?))
    };
    table.entries.iter().map(entry).collect()
}

fn issuer(mut table: Reader<'_>, notes: &Notes<'_>) -> Option<TokenIssuer> {
    let name = table.key().to_owned();
    let issuer = table.required("issuer", "\"https://login.example.com/\"", value::text);
    let audiences = table.required("audience", "\"agentry\"", one_or_more);
    let keys =
        table.required("keys", "\"https://login.example.com/.well-known/jwks.json\"", |value| {
            jwks(value, notes)
        });
    let algorithms = match table.has("algorithms") {
        true => table.list("algorithms", algorithm).map(|list| list.value).unwrap_or_default(),
        false => Vec::new(),
    };
    let mut algorithms: Vec<Algorithm> = algorithms.into_iter().map(|at| at.value).collect();
    if algorithms.is_empty() {
        algorithms = vec![Algorithm::Rs256, Algorithm::Es256];
    }
    let leeway =
        table.or("leeway", Duration::from_secs(30), |value| match value::duration(value)? {
            long if long > Duration::from_secs(60) => Err(Unreadable::new("must be at most 60s")),
            leeway => Ok(leeway),
        });
    let mut claim = |key| table.read(key, value::text).map(|at| at.value);
    let claimed = Claimed {
        user: claim("user_claim").unwrap_or_else(|| Claimed::default().user),
        team: claim("team_claim"),
        scopes: claim("scopes_claim"),
    };
    let (tenant, tenant_claim) = (claim("tenant"), claim("tenant_claim"));
    let tenant = match (tenant, tenant_claim) {
        (Some(_), Some(_)) => {
            table.report(format!("`auth.jwt.{name}` has both `tenant` and `tenant_claim`"));
            return None;
        }
        (_, Some(claim)) => TenantOf::Claim(claim),
        (tenant, None) => TenantOf::Everyone(tenant.unwrap_or_else(|| "main".to_owned())),
    };
    let tenant_named = match &tenant {
        TenantOf::Everyone(tenant) => Some(tenant.clone()),
        TenantOf::Claim(_) => None,
    };
    let wish = Wish { name: name.clone(), tenant: tenant_named, ..limits(&mut table) };
    let terms = terms(&table, &wish);
    table.finish();
    let policy = Policy {
        name,
        issuer: issuer?.value,
        audiences: audiences?.value,
        algorithms,
        leeway,
        tenant,
        claimed,
        terms,
    };
    Some(TokenIssuer { policy, keys: keys?.value })
}

fn algorithm(value: &Value) -> Result<Algorithm, Unreadable> {
    let text = value::text(value)?;
    text.parse().map_err(|error| Unreadable::new(format!("has a wrong entry: {error}")))
}

fn one_or_more(value: &Value) -> Result<Vec<String>, Unreadable> {
    match value {
        Value::List(items) if !items.is_empty() => {
            items.iter().map(|item| value::text(&item.value)).collect()
        }
        Value::List(_) => Err(Unreadable::new("must not be empty")),
        value => Ok(vec![value::text(value)?]),
    }
}

/// Whoever can change the keys on their way can be anybody: they come over TLS, from this machine, or from a file.
fn jwks(value: &Value, notes: &Notes<'_>) -> Result<JwksAt, Unreadable> {
    let text = value::text(value)?;
    if let Some(path) = text.strip_prefix("file:") {
        return Ok(JwksAt::File(notes.path(path)));
    }
    let url = value::parse_http_url(&text)?;
    let local = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() != "https" && !local {
        return Err(Unreadable::new(
            "must begin with https://, for whoever changes these keys can be anybody",
        ));
    }
    Ok(JwksAt::Url(url))
}
