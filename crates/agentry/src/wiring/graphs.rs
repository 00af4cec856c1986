//! What graphs have outside of themselves: models, agents, tools, other services, a cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentry_backends::memory::MemoryShared;
use agentry_core::model::ChatModel;
use agentry_core::shared::Shared;
use agentry_core::threads::Threads;
use agentry_core::tool::Toolbox;
use agentry_core::{Caller, RunId, outbound};
use agentry_engine::NodeError;
use agentry_graphs::definition::Secret;
use agentry_graphs::{HeaderValue, Http, Payers, Ports, Request, Response};
use agentry_http::{Client, Deadlines, Reach, Settings};
use agentry_notation::tree::Value as Written;
use agentry_notation::value;
use agentry_server::engine::Wanting;
use async_trait::async_trait;
use http::Uri;
use secrecy::ExposeSecret as _;
use tokio::sync::watch;

use crate::agents;
use crate::cli::{Context, Ended};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::graphs::{self, Definitions, Source};

mod reload;

pub(crate) use reload::Reload;

/// What nodes with `cache` came to, where instances have nothing in common.
const CACHE_BYTES_MAX: usize = 64 << 20;

/// The graphs of a project.
pub(crate) struct Project {
    pub(crate) source: Source,
    pub(crate) definitions: Definitions,
    pub(crate) outside: Outside,
    /// Told what else there is to be read with.
    pub(crate) refreshed: watch::Receiver<Option<Arc<Fresh>>>,
}

/// What definitions are read with from now on, as the configuration says it now.
pub(crate) struct Fresh {
    source: Source,
    tools: Toolbox,
    http: Arc<dyn Http>,
}

/// Makes ready what the configuration says of what definitions have outside, and puts it in force.
#[derive(Clone)]
pub(crate) struct Refresh {
    environment: BTreeMap<String, String>,
    folder: PathBuf,
    told: watch::Sender<Option<Arc<Fresh>>>,
}

impl Refresh {
    pub(crate) fn new(cx: &Context, config: &Config) -> Self {
        let (environment, folder) = (cx.environment.clone(), graphs::root(cx, config));
        Self { environment, folder, told: watch::Sender::new(None) }
    }

    pub(crate) fn listen(&self) -> watch::Receiver<Option<Arc<Fresh>>> {
        self.told.subscribe()
    }

    /// The definitions that there are must be good with it. Reads files, and changes nothing.
    pub(crate) fn prepare(&self, config: &Config) -> anyhow::Result<Fresh> {
        let source = Source::at(self.folder.clone(), config);
        let (http, tools) = outward(config, &self.environment, &self.folder);
        match source.read(&tools) {
            Ok(_) => Ok(Fresh { source, tools, http }),
            Err(wrong) => Err(Ended::from(wrong).error),
        }
    }

    pub(crate) fn put_in_force(&self, fresh: Fresh) {
        self.told.send_replace(Some(Arc::new(fresh)));
    }
}

/// Calls of `http` nodes and, of services that the operator has named, of tools.
fn outward(
    config: &Config,
    environment: &BTreeMap<String, String>,
    folder: &Path,
) -> (Arc<dyn Http>, Toolbox) {
    let outward = |besides: Vec<String>| {
        let (environment, folder) = (environment.clone(), folder.to_owned());
        let reach = Reach::Public { besides };
        Arc::new(Outward::new(reach, Secrets { environment, folder })) as Arc<dyn Http>
    };
    let hosts = config.graphs.hosts.clone();
    // Whom a tool calls the operator has said, and no argument can change.
    let besides = hosts.iter().cloned().chain(config.tools.iter().map(|it| it.host.clone()));
    let tools = agents::tools(config, &outward(besides.collect()));
    (outward(hosts), tools)
}

/// What is outside, before it is known for whom models are asked.
#[derive(Clone)]
pub(crate) struct Outside {
    http: Arc<dyn Http>,
    cache: Arc<dyn Shared>,
    tools: Toolbox,
}

impl Outside {
    pub(crate) fn new(cx: &Context, config: &Config, shared: Option<Arc<dyn Shared>>) -> Self {
        let local =
            || Arc::new(MemoryShared::new(Arc::new(SystemClock), CACHE_BYTES_MAX)) as Arc<_>;
        let (http, tools) = outward(config, &cx.environment, &graphs::root(cx, config));
        Self { http, cache: shared.unwrap_or_else(local), tools }
    }

    /// `caller` is for whom runs are of which `payers` know nothing.
    pub(crate) fn ports(
        self,
        model: Arc<dyn ChatModel>,
        caller: Caller,
        payers: Option<Arc<dyn Payers>>,
    ) -> Ports {
        let Self { http, cache, tools } = self;
        Ports {
            tools,
            http: Some(http),
            cache: Some(cache),
            caller: Arc::new(caller),
            payers,
            ..Ports::new(model)
        }
    }
}

/// Runs know on whose behalf they are.
pub(crate) struct Owners(pub(crate) Arc<dyn Threads>);

#[async_trait]
impl Payers for Owners {
    async fn payer(&self, run: RunId) -> Result<Option<Arc<Caller>>, NodeError> {
        let known = self.0.run(run).await?;
        let wanting = known.as_ref().and_then(Wanting::of);
        Ok(wanting.map(|wanting| Arc::new(wanting.owner.caller())))
    }
}

/// Where secrets are that definitions name.
struct Secrets {
    environment: BTreeMap<String, String>,
    /// Of the project.
    folder: PathBuf,
}

impl Secrets {
    fn read(&self, secret: &Secret) -> Result<http::HeaderValue, String> {
        let Secret { name, prefix } = secret;
        let written = Written::Text(name.clone());
        let found = value::secret(&written, &self.environment, &self.folder)
            .map_err(|unreadable| format!("a header {}", unreadable.message))?;
        let text = format!("{prefix}{}", found.expose_secret());
        let mut header = http::HeaderValue::from_str(&text)
            .map_err(|_| format!("what {name} holds cannot stand in a header"))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// Calls services of the public internet, and hosts that the operator has named: an address may be made of what a stranger
/// has said.
struct Outward {
    client: Client,
    reach: Reach,
    secrets: Secrets,
}

impl Outward {
    fn new(reach: Reach, secrets: Secrets) -> Self {
        let client = Client::new(&Settings { reach: reach.clone(), ..Settings::default() });
        Self { client, reach, secrets }
    }

    fn request(&self, request: &Request) -> Result<http::Request<bytes::Bytes>, String> {
        let uri: Uri = request.url.parse().map_err(|_| "it is no URL".to_owned())?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("a URL has no user and no password in it: give a header".to_owned());
        }
        self.reach.check(&uri).map_err(|reason| {
            format!("{reason}; an operator may allow its host in `hosts` of [graphs]")
        })?;
        let mut built = http::Request::builder().method(request.method.as_str()).uri(uri);
        for (name, header) in &request.headers {
            built = match header {
                HeaderValue::Text(text) => built.header(name, text),
                HeaderValue::Secret(secret) => built.header(name, self.secrets.read(secret)?),
            };
        }
        let named = request.headers.iter().any(|(name, _)| name == IDEMPOTENCY);
        if let (Some(key), false) = (&request.idempotency_key, named) {
            built = built.header(IDEMPOTENCY, key);
        }
        let body = request.body.clone().unwrap_or_default();
        built.body(body.into()).map_err(|problem| problem.to_string())
    }
}

const IDEMPOTENCY: &str = "idempotency-key";

#[async_trait]
impl Http for Outward {
    async fn send(&self, request: &Request, within: Duration) -> Result<Response, outbound::Error> {
        // Whatever else stands in an address may be nobody's business.
        let target = host(&request.url);
        let built = match self.request(request) {
            Ok(built) => built,
            Err(reason) => return Err(outbound::Error::Refused { target, reason }),
        };
        let fetched = self.client.fetch(built, &Deadlines::within(within), request.bytes_max).await;
        let response = fetched.map_err(|problem| {
            let reason = problem.to_string();
            match &problem {
                agentry_http::Error::InvalidUrl { reason, .. } => {
                    outbound::Error::Refused { target, reason: (*reason).to_owned() }
                }
                agentry_http::Error::TooLarge { .. } => outbound::Error::Refused { target, reason },
                problem if problem.may_have_been_processed() => {
                    outbound::Error::Ambiguous { target, reason }
                }
                _ => outbound::Error::Unavailable { target, reason },
            }
        })?;
        let status = response.status().as_u16();
        Ok(Response { status, body: response.into_body().to_vec() })
    }
}

fn host(url: &str) -> String {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host);
    host.map_or_else(|| "the service".to_owned(), |host| format!("`{host}`"))
}

#[cfg(test)]
mod tests;
