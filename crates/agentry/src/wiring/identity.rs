//! Who may call: the keys of the configuration and of the store, the issuers of tokens, and where data of people is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::keys::{KeyStore, UserData};
use agentry_core::ledger::Ledger;
use agentry_core::shared::Shared;
use agentry_core::store::Error;
use agentry_core::threads::ThreadStore;
use agentry_http::{Client, Deadlines};
use agentry_identity::token::{Issuer, KeySource};
use agentry_identity::{Authenticator, KeyRing, Pseudonyms, Settings};
use agentry_server::Identity;
use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clock::SystemClock;
use crate::config::{self, Config, JwksAt, Storage, TokenIssuer};
use crate::wiring::policies::Company;

/// Everybody who is known here.
pub(crate) struct Access {
    keys: Arc<KeyRing>,
    authenticator: Arc<Authenticator>,
    ledger: Arc<dyn Ledger>,
    /// Where revocations are told of at once.
    shared: Option<Arc<dyn Shared>>,
}

impl Access {
    pub(crate) async fn open(
        config: &Config,
        keys: Arc<dyn KeyStore>,
        ledger: Arc<dyn Ledger>,
        company: &Company,
    ) -> anyhow::Result<Self> {
        let access = &config.access;
        let pseudonyms = access.pseudonyms.as_ref().map(|key| Arc::new(Pseudonyms::new(key)));
        let mut ring =
            KeyRing::open(keys, access.keys.clone()).await.context("read the API keys")?;
        if let Some(pseudonyms) = &pseudonyms {
            ring = ring.with_pseudonyms(Arc::clone(pseudonyms));
        }
        let shared = company.shared.clone();
        if let Some(shared) = &shared {
            ring = ring.with_shared(Arc::clone(shared));
        }
        let client = Client::new(&agentry_http::Settings::default());
        let issuer = |issuer: &TokenIssuer| {
            let source: Arc<dyn KeySource> = match &issuer.keys {
                JwksAt::Url(url) => {
                    Arc::new(Published { client: client.clone(), url: url.clone() })
                }
                JwksAt::File(path) => Arc::new(Filed(path.clone())),
            };
            let issuer = Issuer::new(issuer.policy.clone(), source);
            match &pseudonyms {
                Some(pseudonyms) => issuer.with_pseudonyms(Arc::clone(pseudonyms)),
                None => issuer,
            }
        };
        let issuers = access.issuers.iter().map(issuer).collect();
        let settings = Settings { failures_per_minute: access.failures_per_minute };
        let keys = Arc::new(ring);
        let authenticator = Arc::new(Authenticator::new(Arc::clone(&keys), issuers, settings));
        Ok(Self { keys, authenticator, ledger, shared })
    }

    /// Whether everybody on this machine may do everything.
    pub(crate) fn is_open(&self) -> bool {
        self.authenticator.is_open()
    }

    /// For whoever starts it.
    pub(crate) fn describe(&self, config: &Config) -> String {
        if self.is_open() {
            return "everybody on this machine: `agentry keys create` makes the first key"
                .to_owned();
        }
        let (keys, issuers) = (self.keys.keys().len(), config.access.issuers.len());
        format!("{keys} keys, {issuers} issuers of tokens")
    }

    /// For the server; `store` takes the audit log.
    pub(crate) fn face(&self, store: Arc<dyn ThreadStore>) -> Identity {
        let (authenticator, keys) = (Arc::clone(&self.authenticator), Arc::clone(&self.keys));
        Identity::new(authenticator, keys, store)
            .user_data(Arc::new(Usage(Arc::clone(&self.ledger))))
    }

    pub(crate) fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.keys)
    }

    /// Sees what other instances and issuers change, until told to stop.
    pub(crate) async fn follow(self, shutdown: CancellationToken) {
        let Self { keys, authenticator, ledger: _, shared } = self;
        let hints = shared.map(|shared| shared.hints());
        tokio::join!(keys.run(hints, shutdown.clone()), authenticator.run(&SystemClock, shutdown));
    }
}

/// Whether other machines can call and nothing could tell them apart. A store that does not exist yet has no keys.
pub(crate) fn nobody_can_be_known(config: &Config) -> bool {
    let stored = match &config.storage {
        Storage::Memory => false,
        Storage::Sqlite(path) => path.exists(),
        Storage::Postgres(_) => true,
    } || matches!(config.ledger, config::Ledger::Postgres { .. });
    !config.server.listen.ip().is_loopback()
        && config.access.keys.is_empty()
        && config.access.issuers.is_empty()
        && !stored
}

pub(crate) fn open_to_strangers(config: &Config) -> anyhow::Error {
    let address = config.server.listen;
    anyhow!(
        "{address} can be reached from other machines, and there are no API keys: make one with `agentry keys create --name \
         me --scope '*' --scope operator`, or add [[keys]] or [auth.jwt.NAME] to the configuration, or listen on 127.0.0.1"
    )
}

struct Usage(Arc<dyn Ledger>);

#[async_trait]
impl UserData for Usage {
    fn name(&self) -> &str {
        "usage"
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        self.0.forget_user(tenant, user).await
    }
}

const JWKS_BYTES_MAX: usize = 256 * 1024;
const DEADLINE: Duration = Duration::from_secs(5);

struct Published {
    client: Client,
    url: Url,
}

#[async_trait]
impl KeySource for Published {
    async fn fetch(&self) -> Result<Bytes, String> {
        let request = Request::get(self.url.as_str()).header("accept", "application/json");
        let request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
        let within = Deadlines::within(DEADLINE);
        let response = self.client.fetch(request, &within, JWKS_BYTES_MAX).await;
        let response = response.map_err(|error| error.to_string())?;
        match response.status().is_success() {
            true => Ok(response.into_body()),
            false => Err(format!("{} answered {}", self.url, response.status())),
        }
    }
}

struct Filed(PathBuf);

#[async_trait]
impl KeySource for Filed {
    async fn fetch(&self) -> Result<Bytes, String> {
        let read = tokio::fs::read(&self.0).await;
        read.map(Bytes::from).map_err(|error| format!("{}: {error}", self.0.display()))
    }
}
