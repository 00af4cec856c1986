//! `agentry.toml` and the `AGENTRY__…` variables over it: read, resolved and cross-checked, with all problems at once.
//!
//! Reading happens in two stages. [`tree`] turns text into values that know where they stand; the files beside it turn
//! values into what they mean. Nothing is opened or connected here but the files that the configuration names.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentry_backends::sealed::Keyring;
use agentry_backends::signature::Signer;
use agentry_engine::durable::Retention;
use agentry_gateway::Rule;
use agentry_gateway::money::catalogue::Catalogue;
use agentry_graphs::tool::Declared;
use agentry_guards::Guards;
use agentry_notation::{problem, reader, tree};
use agentry_server::{BodyLimits, Settings};

mod alerts;
mod batches;
mod breaker;
mod budgets;
mod cache;
mod catalogue;
mod embeddings;
mod graphs;
mod guards;
mod incident;
mod keys;
mod models;
mod otel;
mod providers;
mod retention;
mod storage;
mod tools;
mod value;

pub(crate) use agentry_notation::Problems;
pub(crate) use alerts::{Alerts, Channel};
pub(crate) use batches::Batches;
pub(crate) use cache::Shared;
pub(crate) use graphs::Graphs;
pub(crate) use incident::{Incident, Jira, Source};
pub(crate) use keys::{Access, JwksAt, TokenIssuer};
pub(crate) use models::{Model, Target};
pub(crate) use otel::Otel;
pub(crate) use providers::{Check, Kind, MODEL, Provider};
pub(crate) use storage::{Database, Ledger, Storage};

use problem::{Place, Problem};
use reader::{At, Notes, Reader};
use value::Unreadable;

use crate::threads::Hooks;

/// Everything that can be set, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where it was read; nothing when only defaults and variables count.
    pub(crate) file: Option<PathBuf>,
    pub(crate) server: Server,
    pub(crate) storage: Storage,
    /// Nothing when what threads hold is stored as it is.
    pub(crate) encryption: Option<Arc<Keyring>>,
    pub(crate) ledger: Ledger,
    /// In the order of the file.
    pub(crate) providers: Vec<Provider>,
    pub(crate) models: Vec<Model>,
    /// What is known of models, those of the operator over those of this version.
    pub(crate) catalogue: Catalogue,
    /// When targets are left alone.
    pub(crate) targets: agentry_balance::Settings,
    /// Nothing when answers are not kept.
    pub(crate) cache: Option<agentry_gateway::cache::Settings>,
    pub(crate) shared: Shared,
    /// How calls for vectors are put together.
    pub(crate) embeddings: agentry_gateway::batch::Settings,
    /// Nothing when nothing is looked for.
    pub(crate) guards: Option<Guards>,
    /// Budgets beside those of keys.
    pub(crate) budgets: Vec<Rule>,
    pub(crate) batches: Batches,
    pub(crate) retention: Retention,
    pub(crate) alerts: Alerts,
    /// Nothing when calls are not traced.
    pub(crate) otel: Option<Otel>,
    pub(crate) graphs: Graphs,
    /// Services that agents and graphs may call.
    pub(crate) tools: Vec<Declared>,
    pub(crate) incident: Incident,
    pub(crate) access: Access,
    /// Whether nothing stands in the file.
    pub(crate) is_blank: bool,
    /// What each table says, wherever it stands: equal numbers for equal tables.
    pub(crate) tables: BTreeMap<String, u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) listen: SocketAddr,
    /// The process gives up what it can before it uses more.
    pub(crate) memory_max: Option<usize>,
    /// Whom runs may tell that they are over, beside addresses of the public internet.
    pub(crate) webhook_hosts: Vec<String>,
    /// Nothing when what they are told is not signed.
    pub(crate) webhook_signer: Option<Arc<Signer>>,
    pub(crate) settings: Settings,
}

impl Server {
    /// How it is told to others that runs are over.
    pub(crate) fn hooks(&self) -> Hooks {
        Hooks::new(self.webhook_hosts.clone(), self.webhook_signer.clone())
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{path}: {reason}")]
    Unreadable { path: String, reason: String },
    #[error(transparent)]
    Wrong(#[from] Problems),
}

const FILE: &str = "agentry.toml";
/// What has the problems.
const SUBJECT: &str = "the configuration: nothing was started";
/// With less than this it would always be scarce.
const MEMORY_MIN: usize = 32 << 20;

/// Reads `path`; without one, `agentry.toml` in `folder` when it exists, else the defaults.
pub(crate) fn load(
    path: Option<&Path>,
    folder: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<Config, Error> {
    let usual = folder.join(FILE);
    let (path, name) = match path {
        Some(path) => (Some(folder.join(path)), path.display().to_string()),
        None if usual.exists() => (Some(usual), FILE.to_owned()),
        None => (None, "configuration".to_owned()),
    };
    let text = path.as_deref().map(|path| read_file(path, &name)).transpose()?;
    resolve(Sources { path, name, text: text.as_deref(), folder, environment })
}

/// Reads `text` as if it were the file in `folder`.
#[cfg(test)]
pub(crate) fn read_text(
    text: &str,
    folder: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<Config, Error> {
    let path = Some(folder.join(FILE));
    resolve(Sources { path, name: FILE.to_owned(), text: Some(text), folder, environment })
}

fn read_file(path: &Path, name: &str) -> Result<String, Error> {
    let unreadable = |reason: String| Error::Unreadable { path: name.to_owned(), reason };
    let bytes = fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unreadable(
            "there is no such file: check --config, or leave it out for the defaults".to_owned(),
        ),
        _ => unreadable(format!("cannot be read: {error}")),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        unreadable(format!("line {line} is not UTF-8: save the file as UTF-8"))
    })
}

struct Sources<'a> {
    path: Option<PathBuf>,
    /// What problems call it.
    name: String,
    text: Option<&'a str>,
    folder: &'a Path,
    environment: &'a BTreeMap<String, String>,
}

fn resolve(sources: Sources<'_>) -> Result<Config, Error> {
    let Sources { path, name, text, folder, environment } = sources;
    let (mut table, mut problems) = tree::parse(text.unwrap_or_default());
    if !problems.is_empty() {
        // What follows a broken line is guesswork: one honest list is better than a long one.
        return Err(Problems::new(SUBJECT, &name, text.unwrap_or_default(), problems).into());
    }
    tree::overlay(&mut table, environment, &mut problems);
    let tables = said(&table);
    let folder = path.as_deref().and_then(Path::parent).unwrap_or(folder);
    let notes = Notes { problems: problems.into(), environment, folder };
    let mut root = Reader::root(table, &notes);

    let mut server = server(root.table("server"));
    let (storage, encryption) = storage::storage(root.table("storage"), &notes);
    let ledger = storage::ledger(root.table("ledger"), &notes, storage.as_ref());
    let mut providers = providers::read(root.table("providers"));
    if text.is_none() && providers.good.is_empty() {
        providers.good = providers::usual(environment);
    }
    let catalogue = catalogue::read(root.table("catalogue"), &notes);
    let models = models::read(root.table("models"), &providers, &catalogue, &notes);
    let incident = incident::read(root.table("incident"), &models, &notes);
    let access = keys::read(root.each("keys"), root.table("auth"), &notes);
    if let Some(server) = &mut server {
        let open = server.listen.ip().is_loopback();
        server.settings.metrics_open = access.metrics_open.unwrap_or(open);
    }
    let targets = breaker::read(root.table("breaker"), root.table("health"));
    let cache = cache::cache(root.table("cache"), &notes);
    let shared = cache::shared(root.table("shared"));
    let embeddings = embeddings::read(root.table("embeddings"));
    let guards = guards::read(root.table("guards"), &notes);
    let budgets = budgets::read(root.each("budgets"));
    let batches = batches::read(root.table("batches"));
    let retention = retention::read(root.table("retention"));
    let alerts = alerts::read(root.each("alerts"), root.table("channels"), &notes);
    let otel = otel::read(root.table("otel"), &notes);
    let graphs = graphs::read(root.table("graphs"));
    let tools = tools::read(root.table("tools"), text.unwrap_or_default());
    root.finish();

    let problems = notes.problems.into_inner();
    match (server, storage, problems.is_empty()) {
        (Some(server), Some(storage), true) => Ok(Config {
            file: path,
            server,
            storage,
            encryption,
            ledger,
            providers: providers.good,
            models,
            catalogue,
            targets,
            cache,
            shared,
            embeddings,
            guards,
            budgets,
            batches,
            retention,
            alerts,
            otel,
            graphs,
            tools,
            incident,
            access,
            is_blank: tree::parse(text.unwrap_or_default()).0.entries.is_empty(),
            tables,
        }),
        _ => Err(Problems::new(SUBJECT, &name, text.unwrap_or_default(), problems).into()),
    }
}

fn said(table: &tree::Table) -> BTreeMap<String, u64> {
    let entry = |(name, entry): (&String, &tree::Entry)| {
        let mut hasher = DefaultHasher::new();
        hash(&entry.node.value, &mut hasher);
        (name.clone(), hasher.finish())
    };
    table.entries.iter().map(entry).collect()
}

fn hash(value: &tree::Value, hasher: &mut DefaultHasher) {
    std::mem::discriminant(value).hash(hasher);
    match value {
        tree::Value::Text(text) => text.hash(hasher),
        tree::Value::Integer(number) => number.hash(hasher),
        tree::Value::Float(number) => number.to_bits().hash(hasher),
        tree::Value::Bool(flag) => flag.hash(hasher),
        tree::Value::List(nodes) => {
            nodes.len().hash(hasher);
            nodes.iter().for_each(|node| hash(&node.value, hasher));
        }
        tree::Value::Table(table) => {
            table.entries.len().hash(hasher);
            for (name, entry) in &table.entries {
                name.hash(hasher);
                hash(&entry.node.value, hasher);
            }
        }
        tree::Value::Other => {}
    }
}

fn server(table: Option<Reader<'_>>) -> Option<Server> {
    let defaults = Settings::default();
    let mut server = Server {
        listen: SocketAddr::from(([127, 0, 0, 1], 7171)),
        memory_max: None,
        webhook_hosts: Vec::new(),
        webhook_signer: None,
        settings: defaults.clone(),
    };
    let Some(mut table) = table else { return Some(server) };
    server.listen = table.or("listen", server.listen, value::listen);
    server.memory_max = table.read("memory_max", memory).map(|at| at.value);
    let connections_max = table.or("connections_max", 10_000, |value| match value::count(value)? {
        0 => Err(Unreadable::new("must be at least 1")),
        count => Ok(count),
    });
    let hosts = table.list("hosts", value::text).map(|hosts| hosts.value).unwrap_or_default();
    let hosts = hosts.into_iter().map(|host| host.value).collect();
    let allowed = table.list("webhook_hosts", value::text).map(|hosts| hosts.value);
    server.webhook_hosts = allowed.unwrap_or_default().into_iter().map(|host| host.value).collect();
    server.webhook_signer = signer(&mut table);
    let origins = table.list("origins", value::origin).map(|origins| origins.value);
    let origins = origins.unwrap_or_default().into_iter().map(|origin| origin.value).collect();
    server.settings = Settings {
        connections_max: usize::try_from(connections_max).unwrap_or(usize::MAX),
        hosts,
        origins,
        drain: table.or("drain", defaults.drain, value::duration),
        idle: table.or("idle", defaults.idle, value::duration),
        body: BodyLimits {
            bytes_max: table.or("body_bytes_max", defaults.body.bytes_max, value::size),
            ..defaults.body
        },
        ..defaults
    };
    table.finish();
    Some(server)
}

/// One secret or several: all sign.
fn signer(table: &mut Reader<'_>) -> Option<Arc<Signer>> {
    let At { value: secrets, place } = table.secrets("webhook_secrets")?;
    match Signer::parse(&secrets) {
        Ok(signer) => Some(Arc::new(signer)),
        Err(refused) => {
            let message = format!("`server.webhook_secrets`: {refused}");
            table.notes().report(problem(&place, message));
            None
        }
    }
}

fn memory(value: &tree::Value) -> Result<usize, Unreadable> {
    match value::size(value)? {
        bytes if bytes < MEMORY_MIN => Err(Unreadable::new("must be at least 32MiB")),
        bytes => Ok(bytes),
    }
}

/// A duration that may be left to whoever uses it.
fn optional_duration(table: &mut Reader<'_>, key: &'static str) -> Option<Duration> {
    table.read(key, value::duration).map(|at| at.value)
}

fn problem(place: &Place, message: impl Into<String>) -> Problem {
    Problem::new(place.clone(), message)
}

#[cfg(test)]
mod tests;
