//! `[storage]` and `[ledger]`: where runs are kept, and where money and keys are.

use std::path::PathBuf;
use std::sync::Arc;

use agentry_backends::sealed::Keyring;
use secrecy::SecretString;
use url::Url;

use super::problem::Problem;
use super::reader::{At, Notes, Reader};
use super::value::{self, Unreadable};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Gone with the process.
    Memory,
    Sqlite(PathBuf),
    /// Shared with other instances.
    Postgres(Database),
}

#[derive(Debug, Clone)]
pub(crate) struct Database {
    /// With its password.
    pub(crate) url: SecretString,
    /// For people: without user and password.
    pub(crate) place: String,
}

impl PartialEq for Database {
    fn eq(&self, other: &Self) -> bool {
        use secrecy::ExposeSecret as _;
        self.url.expose_secret() == other.url.expose_secret()
    }
}

impl Eq for Database {}

/// Where usage, budgets, keys and answered requests are.
#[derive(Debug, Clone)]
pub(crate) enum Ledger {
    /// Where the runs are.
    Storage,
    Postgres {
        /// With its password.
        url: SecretString,
        /// For people: without user and password.
        place: String,
        /// What this instance is called there.
        instance: Option<String>,
    },
}

/// A relative path is meant from the configuration's folder, like every other. With it, the keys that its values are
/// sealed with.
pub(super) fn storage(
    table: Option<Reader<'_>>,
    notes: &Notes<'_>,
) -> (Option<Storage>, Option<Arc<Keyring>>) {
    let default = Storage::Sqlite(notes.path("agentry.db"));
    let Some(mut table) = table else { return (Some(default), None) };
    let storage = table.or("url", default, |value| {
        let text = value::text(value)?;
        let help = "write \"sqlite:agentry.db\", \"memory:\", \"postgres://HOST/DATABASE\", or \"env:DATABASE_URL\"";
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Storage::Memory),
            Some(("sqlite", path)) if !path.trim_start_matches('/').is_empty() => {
                Ok(Storage::Sqlite(notes.path(path.strip_prefix("//").unwrap_or(path))))
            }
            Some(("env" | "file", _)) => {
                let url = value::secret(value, notes.environment, notes.folder)?;
                database(url, help).map(Storage::Postgres)
            }
            Some(("postgres" | "postgresql", _)) => {
                value::without_password(&text)?;
                database(text.as_str().into(), help).map(Storage::Postgres)
            }
            _ => Err(Unreadable::new(format!("is no storage: \"{text}\"")).help(help)),
        }
    });
    let keys = encryption(&mut table, notes);
    table.finish();
    (Some(storage), keys)
}

/// One key or several: the first writes, all read.
fn encryption(table: &mut Reader<'_>, notes: &Notes<'_>) -> Option<Arc<Keyring>> {
    let At { value: secrets, place } = table.secrets("encryption_key")?;
    match Keyring::parse(&secrets) {
        Ok(keys) => Some(Arc::new(keys)),
        Err(problem) => {
            let message = format!("`storage.encryption_key`: {problem}");
            notes.report(Problem::new(place, message));
            None
        }
    }
}

/// Without an address of its own it is where the runs are.
pub(super) fn ledger(
    table: Option<Reader<'_>>,
    notes: &Notes<'_>,
    storage: Option<&Storage>,
) -> Ledger {
    let beside = match storage {
        Some(Storage::Postgres(database)) => Some(database.clone()),
        Some(Storage::Memory | Storage::Sqlite(_)) | None => None,
    };
    let Some(mut table) = table else {
        return beside.map_or(Ledger::Storage, |Database { url, place }| Ledger::Postgres {
            url,
            place,
            instance: None,
        });
    };
    let help = "write \"postgres://HOST/DATABASE\", \"env:DATABASE_URL\", or \"storage\"";
    let url = table.read("url", |value| {
        let text = value::text(value)?;
        let url: SecretString = match text.split_once(':') {
            None if text == "storage" => return Ok(None),
            Some(("env" | "file", _)) => value::secret(value, notes.environment, notes.folder)?,
            Some(("postgres" | "postgresql", _)) => {
                value::without_password(&text)?;
                text.as_str().into()
            }
            Some(("sqlite" | "memory", _)) => {
                return Err(Unreadable::new("is kept where the runs are, if not in PostgreSQL")
                    .help("write \"storage\" here, and this into [storage] url"));
            }
            _ => return Err(Unreadable::new(format!("is no ledger: \"{text}\"")).help(help)),
        };
        database(url, help).map(Some)
    });
    let instance = table.read("instance", |value| {
        let name = value::text(value)?;
        match name.len() {
            1..=100 => Ok(name),
            _ => Err(Unreadable::new("is longer than 100 bytes")),
        }
    });
    table.finish();
    match (url.and_then(|at| at.value).or(beside), instance) {
        (Some(Database { url, place }), instance) => {
            Ledger::Postgres { url, place, instance: instance.map(|at| at.value) }
        }
        (None, Some(At { place, .. })) => {
            let message = "`ledger.instance` is of use only with a PostgreSQL `url`";
            notes.report(Problem::new(place, message).help("remove it: there is one instance"));
            Ledger::Storage
        }
        (None, None) => Ledger::Storage,
    }
}

fn database(url: SecretString, help: &str) -> Result<Database, Unreadable> {
    let place = place(&url).ok_or_else(|| {
        let message = "does not name a URL that begins with postgres:// and has a host";
        Unreadable::new(message).help(help)
    })?;
    Ok(Database { url, place })
}

fn place(url: &SecretString) -> Option<String> {
    use secrecy::ExposeSecret as _;
    let url = Url::parse(url.expose_secret()).ok()?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return None;
    }
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let port = url.port().unwrap_or(5432);
    Some(format!("postgres://{host}:{port}{}", url.path()))
}
