//! The store for many processes: a PostgreSQL schema that all of them share.
//!
//! One decision is one statement, so no transaction is open while anybody thinks, and an acknowledged command is as durable
//! as the server's `synchronous_commit` makes it. Each port is a file of its own, with its own list of migrations.

use std::sync::Arc;

use agentry_core::{Code, Failure, Fault, Retry};

use pool::Pool;
use settings::Settings;

mod assistants;
mod audit;
mod batches;
mod crons;
mod idempotency;
mod items;
mod keys;
mod ledger;
mod log;
mod migrate;
mod pool;
mod settings;
mod threads;
mod tls;

/// What each port needs in the database. A new port adds its own.
const MIGRATIONS: &[&migrate::List] = &[
    &ledger::MIGRATIONS,
    &idempotency::MIGRATIONS,
    &audit::MIGRATIONS,
    &keys::MIGRATIONS,
    &batches::MIGRATIONS,
    &threads::MIGRATIONS,
    &items::MIGRATIONS,
    &assistants::MIGRATIONS,
    &crons::MIGRATIONS,
];

/// Cheap to clone; all clones share one pool of connections.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Arc<Pool>,
    writer: threads::Writer,
    bell: threads::Bell,
    horizon: threads::Horizon,
}

impl PostgresStore {
    /// Connects to `url` and brings the schema forward. `postgres://user:password@host:5432/database`, and behind a `?`
    /// what libpq knows, besides `schema` (`agentry`), `connections` (8), `writers` (3) and `clock` (`database`).
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        let settings: Settings = url.parse()?;
        let pool = Pool::new(settings);
        migrate::run(&pool, MIGRATIONS).await?;
        let pool = Arc::new(pool);
        let bell = threads::Bell::new(&pool);
        let writer = threads::Writer::start(&pool, &bell);
        Ok(Self { pool, writer, bell, horizon: threads::Horizon::default() })
    }
}

/// The server takes no text with a NUL, so nothing that is stored has such a name.
fn is_unknown(name: &str) -> bool {
    name.contains('\0')
}

/// Why a database cannot be used. None of them shows a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the URL of the database is not usable: {0}; write it as postgres://user:password@host:5432/database"
    )]
    Url(String),
    #[error("{server} cannot be reached: {reason}")]
    Unreachable { server: String, reason: String },
    #[error(
        "the schema `{schema}` was written by a newer Agentry ({list} {found}, this one knows {known}); use the newer program"
    )]
    Newer { schema: String, list: &'static str, found: i32, known: usize },
    #[error("the schema `{schema}` cannot be brought forward: {reason}")]
    Unusable { schema: String, reason: String },
}

impl Failure for OpenError {
    fn code(&self) -> Code {
        match self {
            Self::Url(_) => Code("storage_url_invalid"),
            Self::Unreachable { .. } | Self::Unusable { .. } => Code("storage_unavailable"),
            Self::Newer { .. } => Code("storage_incompatible"),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Url(_) | Self::Newer { .. } => Fault::Caller,
            Self::Unreachable { .. } | Self::Unusable { .. } => Fault::Ours,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Url(_) | Self::Newer { .. } | Self::Unusable { .. } => Retry::Never,
            Self::Unreachable { .. } => Retry::Now,
        }
    }
}

#[cfg(test)]
mod tests;
