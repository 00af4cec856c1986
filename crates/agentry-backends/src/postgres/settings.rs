//! What the URL says.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use url::Url;

use super::OpenError;
use super::tls::Tls;

const SCHEMA: &str = "agentry";
const CONNECTIONS: usize = 8;
const CONNECTIONS_MAX: usize = 1_000;
const WRITERS: usize = 3;
const WRITERS_MAX: usize = 16;
/// A name that PostgreSQL does not cut off.
const NAME_BYTES_MAX: usize = 63;
/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The server gives up before we do: what it was still doing is then undone, not unknown.
const STATEMENT_MS: u32 = 10_000;

#[derive(Clone)]
pub(super) struct Settings {
    pub config: Config,
    pub tls: Tls,
    pub schema: String,
    pub connections: usize,
    /// Connections that only write what concerns threads.
    pub writers: usize,
    pub clock: Clock,
}

/// Whose clock says whether a lease is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// The server's: the only one that all instances share.
    Database,
    /// That of whoever asks, for simulations that bring their own time.
    Caller,
}

impl Settings {
    /// For messages: without user and password.
    pub(super) fn server(&self) -> String {
        let host = self.config.get_hosts().first().map_or_else(
            || "the server".to_owned(),
            |host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            },
        );
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        format!("PostgreSQL at {host}:{port}")
    }
}

impl FromStr for Settings {
    type Err = OpenError;

    fn from_str(text: &str) -> Result<Self, OpenError> {
        let invalid = |reason: &str| OpenError::Url(reason.to_owned());
        let mut url = Url::parse(text).map_err(|problem| OpenError::Url(problem.to_string()))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(invalid("it does not begin with postgres://"));
        }
        let mut schema = SCHEMA.to_owned();
        let mut connections = CONNECTIONS;
        let mut writers = WRITERS;
        let mut clock = Clock::Database;
        let mut authority = None;
        let mut rest = Vec::new();
        for (name, value) in url.query_pairs() {
            match (&*name, &*value) {
                ("schema", name) => schema = schema_name(name)?,
                ("connections", count) => {
                    let count = count.parse().ok().filter(|it| (1..=CONNECTIONS_MAX).contains(it));
                    connections = count
                        .ok_or_else(|| invalid("`connections` is not a number from 1 to 1000"))?;
                }
                ("writers", count) => {
                    let count = count.parse().ok().filter(|it| (1..=WRITERS_MAX).contains(it));
                    writers =
                        count.ok_or_else(|| invalid("`writers` is not a number from 1 to 16"))?;
                }
                ("clock", "database") => clock = Clock::Database,
                ("clock", "caller") => clock = Clock::Caller,
                ("clock", _) => return Err(invalid("`clock` is neither `database` nor `caller`")),
                ("sslrootcert", path) => authority = Some(PathBuf::from(path)),
                // With TLS the certificate is always verified.
                ("sslmode", "verify-ca" | "verify-full") => {
                    rest.push(("sslmode".to_owned(), "require".to_owned()));
                }
                ("options", _) => return Err(invalid("`options` is set by Agentry itself")),
                (name, value) => rest.push((name.to_owned(), value.to_owned())),
            }
        }
        url.set_query(None);
        if !rest.is_empty() {
            url.query_pairs_mut().extend_pairs(rest);
        }
        let mut config: Config = url.as_str().parse().map_err(unreadable)?;
        if config.get_hosts().is_empty() {
            return Err(invalid("it names no host"));
        }
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => Tls::none(),
            _ => Tls::verifying(authority.as_deref()).map_err(OpenError::Url)?,
        };
        if config.get_application_name().is_none() {
            config.application_name("agentry");
        }
        config.connect_timeout(CONNECT).options(format!(
            "-c search_path={schema} -c statement_timeout={STATEMENT_MS} \
             -c lock_timeout={STATEMENT_MS} -c idle_in_transaction_session_timeout={STATEMENT_MS}"
        ));
        Ok(Self { config, tls, schema, connections, writers, clock })
    }
}

fn unreadable(problem: tokio_postgres::Error) -> OpenError {
    use std::error::Error as _;
    let reason = problem.source().map_or_else(|| problem.to_string(), ToString::to_string);
    OpenError::Url(reason)
}

/// It is written into statements, so it is a plain word.
fn schema_name(name: &str) -> Result<String, OpenError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if starts && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain) {
        return Ok(name.to_owned());
    }
    Err(OpenError::Url(
        "`schema` is not a word of small letters, digits and underscores".to_owned(),
    ))
}
