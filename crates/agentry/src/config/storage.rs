//! `[storage]` and `[ledger]`: where runs are kept, and where money and keys are.

use std::path::PathBuf;

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
}

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

const POSTGRES_HELP: &str =
    "write it into [ledger] url: money and keys are kept there, runs in [storage]";

/// A relative path is meant from the configuration's folder, like every other.
pub(super) fn storage(table: Option<Reader<'_>>, notes: &Notes<'_>) -> Option<Storage> {
    let default = Storage::Sqlite(notes.path("agentry.db"));
    let Some(mut table) = table else { return Some(default) };
    let storage = table.or("url", default, |value| {
        let text = value::text(value)?;
        let help = "write \"sqlite:agentry.db\" or \"memory:\"";
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Storage::Memory),
            Some(("sqlite", path)) if !path.trim_start_matches('/').is_empty() => {
                Ok(Storage::Sqlite(notes.path(path.strip_prefix("//").unwrap_or(path))))
            }
            Some(("postgres" | "postgresql", _)) => {
                let mut refused = Unreadable::new("names PostgreSQL, which does not keep runs yet")
                    .help(POSTGRES_HELP);
                refused.secret = value::without_password(&text).is_err();
                Err(refused)
            }
            _ => Err(Unreadable::new(format!("is no storage: \"{text}\"")).help(help)),
        }
    });
    table.finish();
    Some(storage)
}

pub(super) fn ledger(table: Option<Reader<'_>>, notes: &Notes<'_>) -> Ledger {
    let Some(mut table) = table else { return Ledger::Storage };
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
        let place = place(&url).ok_or_else(|| {
            let message = "does not name a URL that begins with postgres:// and has a host";
            Unreadable::new(message).help(help)
        })?;
        Ok(Some((url, place)))
    });
    let instance = table.read("instance", |value| {
        let name = value::text(value)?;
        match name.len() {
            1..=100 => Ok(name),
            _ => Err(Unreadable::new("is longer than 100 bytes")),
        }
    });
    table.finish();
    match (url.and_then(|at| at.value), instance) {
        (Some((url, place)), instance) => {
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
