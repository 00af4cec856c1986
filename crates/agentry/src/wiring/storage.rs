//! Where state is kept: runs in one place, money and keys there too or in a database that instances share.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentry_backends::memory::MemoryStore;
use agentry_backends::postgres::{OpenError, PostgresStore};
use agentry_backends::sealed::{Sealed, arrange};
use agentry_backends::sqlite::SqliteStore;
use agentry_core::Clock as _;
use agentry_core::assistants::Assistants;
use agentry_core::batches::Batches;
use agentry_core::crons::Crons;
use agentry_core::idempotency::Idempotency;
use agentry_core::items::Items;
use agentry_core::keys::KeyStore;
use agentry_core::ledger::Ledger;
use agentry_core::store::Log;
use agentry_core::threads::{ThreadStore, Threads};
use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};

use crate::cli::{Ended, Exit};
use crate::clock::SystemClock;
use crate::config::{self, Config, Database, Storage};
use crate::wiring::threads;

/// One product behind all ports, or two.
pub(crate) struct Stores {
    pub(crate) runs: Arc<dyn ThreadStore>,
    pub(crate) archive: Arc<dyn Threads>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) requests: Arc<dyn Idempotency>,
    pub(crate) batches: Arc<dyn Batches>,
    pub(crate) threads: threads::Stores,
    /// What this instance is called by the ledger; the same after a restart, where it keeps anything at all.
    pub(crate) instance: String,
}

/// Records of usage that are kept in memory, where nothing else is: some megabytes.
const USAGE_MAX: usize = 10_000;

/// The only one there.
const ALONE: &str = "local";

impl Stores {
    pub(crate) async fn open(config: &Config) -> Result<Self, Ended> {
        Self::plain(config).await?.sealed(config).await
    }

    /// What people know is sealed on its way into the database, if there is a key.
    async fn sealed(mut self, config: &Config) -> Result<Self, Ended> {
        if config.storage == Storage::Memory {
            return Ok(self);
        }
        let keys = config.encryption.as_ref();
        let arranged = arrange(&*self.threads.items, keys.map(AsRef::as_ref), SystemClock.now());
        let arranged = arranged.await.map_err(|error| Ended::from(anyhow::Error::from(error)))?;
        arranged.map_err(|error| Ended { exit: Exit::Usage, error: error.into() })?;
        if let Some(keys) = keys {
            self.runs = Arc::new(Sealed::new(self.runs, Arc::clone(keys)));
            self.archive = Arc::new(Sealed::new(self.archive, Arc::clone(keys)));
            self.threads.threads = Arc::clone(&self.runs);
            self.threads.archive = Arc::clone(&self.archive);
            self.threads.items = Arc::new(Sealed::new(self.threads.items, Arc::clone(keys)));
            let assistants = Sealed::new(self.threads.assistants, Arc::clone(keys));
            self.threads.assistants = Arc::new(assistants);
            self.threads.crons = Arc::new(Sealed::new(self.threads.crons, Arc::clone(keys)));
            self.requests = Arc::new(Sealed::new(self.requests, Arc::clone(keys)));
            self.batches = Arc::new(Sealed::new(self.batches, Arc::clone(keys)));
        }
        Ok(self)
    }

    /// As they are, without a key.
    async fn plain(config: &Config) -> Result<Self, Ended> {
        let stores = match &config.storage {
            Storage::Memory => Self::in_one(MemoryStore::keeping_usage(USAGE_MAX)),
            Storage::Sqlite(path) => Self::file(path)?,
            Storage::Postgres(database) => return Self::shared(config, database).await,
        };
        let config::Ledger::Postgres { url, place, instance } = &config.ledger else {
            return Ok(stores);
        };
        let store = postgres(url, place).await?;
        let instance = match instance {
            Some(name) => name.clone(),
            None => instance_of(&config.storage)?,
        };
        let store = Arc::new(store);
        Ok(Self {
            keys: Arc::clone(&store) as Arc<_>,
            requests: Arc::clone(&store) as Arc<_>,
            batches: Arc::clone(&store) as Arc<_>,
            ledger: store,
            instance,
            ..stores
        })
    }

    /// Everything in one file, for one instance.
    pub(crate) fn file(path: &Path) -> anyhow::Result<Self> {
        Ok(Self::in_one(SqliteStore::open(path)?))
    }

    /// Everything in one database, for any number of instances; money and keys may be in another one.
    async fn shared(config: &Config, database: &Database) -> Result<Self, Ended> {
        let store = postgres(&database.url, &database.place).await?;
        let stirrings = Some(store.stirrings());
        let mut stores = Self::in_one(store);
        stores.threads.stirrings = stirrings;
        let config::Ledger::Postgres { url, place, instance } = &config.ledger else {
            return Ok(Self { instance: super::random_id(), ..stores });
        };
        let instance = instance.clone().unwrap_or_else(super::random_id);
        if url.expose_secret() == database.url.expose_secret() {
            return Ok(Self { instance, ..stores });
        }
        let store = Arc::new(postgres(url, place).await?);
        Ok(Self {
            keys: Arc::clone(&store) as Arc<_>,
            requests: Arc::clone(&store) as Arc<_>,
            batches: Arc::clone(&store) as Arc<_>,
            ledger: store,
            instance,
            ..stores
        })
    }

    fn in_one<S>(store: S) -> Self
    where
        S: ThreadStore + Threads + Log + KeyStore + Ledger + Idempotency + Batches,
        S: Assistants + Items + Crons + 'static,
    {
        let store = Arc::new(store);
        Self {
            runs: Arc::clone(&store) as Arc<_>,
            archive: Arc::clone(&store) as Arc<_>,
            log: Arc::clone(&store) as Arc<_>,
            keys: Arc::clone(&store) as Arc<_>,
            requests: Arc::clone(&store) as Arc<_>,
            batches: Arc::clone(&store) as Arc<_>,
            threads: threads::Stores::of(&store),
            ledger: store,
            instance: ALONE.to_owned(),
        }
    }
}

/// The database of money and keys.
pub(crate) async fn postgres(url: &SecretString, place: &str) -> Result<PostgresStore, Ended> {
    PostgresStore::open(url.expose_secret()).await.map_err(|error| {
        let exit = match error {
            OpenError::Unreachable { .. } => Exit::Unreachable,
            OpenError::Url(_) => Exit::Usage,
            OpenError::Newer { .. } | OpenError::Unusable { .. } => Exit::Failed,
        };
        Ended { exit, error: anyhow::Error::from(error).context(format!("open {place}")) }
    })
}

/// Runs that outlive the process name it: its file has a companion with the name. Others have a new one each time, and what
/// they held is free again when its lease is over.
fn instance_of(storage: &Storage) -> anyhow::Result<String> {
    match storage {
        Storage::Memory | Storage::Postgres(_) => Ok(super::random_id()),
        Storage::Sqlite(path) => {
            let mut name = path.as_os_str().to_owned();
            name.push(".instance");
            let path = PathBuf::from(name);
            named(&path).with_context(|| format!("keep this instance's name in {}", path.display()))
        }
    }
}

fn named(path: &Path) -> anyhow::Result<String> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => {
            let name = super::random_id();
            file.write_all(name.as_bytes())?;
            file.sync_all()?;
            Ok(name)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let name = std::fs::read_to_string(path)?.trim().to_owned();
            anyhow::ensure!(!name.is_empty(), "it is empty: remove it");
            Ok(name)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
