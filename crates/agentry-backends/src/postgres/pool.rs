//! A few connections, made when they are first needed and made again when they are lost.
//!
//! A call is one prepared statement, with a deadline. Whoever gives up waiting takes no connection with it: a connection
//! whose answer is still to come is closed.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentry_core::store::Error;
use futures_util::StreamExt as _;
use futures_util::future::{join_all, join3};
use futures_util::stream::{self, BoxStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, Row, Statement};
use tokio_util::task::TaskTracker;

use super::settings::Settings;

/// How long a caller waits for a connection that is free.
const ADMISSION: Duration = Duration::from_secs(5);
/// For making a connection, TLS and login included.
const CONNECT: Duration = Duration::from_secs(10);
/// Longer than the server's own limit.
const ANSWER: Duration = Duration::from_secs(15);
/// How often a statement is sent again that the server undid for the sake of another.
const UNDONE_MAX: u32 = 5;

/// Plans that are right whatever the tables hold: through indexes, made once. What the server believes about a new table
/// says nothing about it a second later.
const PLANS: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off \
                     -c enable_mergejoin=off -c enable_bitmapscan=off -c jit=off";

/// What the server tells without being asked.
pub(super) type Notices = BoxStream<'static, Result<AsyncMessage, tokio_postgres::Error>>;

pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

pub(super) struct Pool {
    pub settings: Settings,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    tasks: TaskTracker,
}

/// One way to the server, with the statements that were prepared on it.
pub(super) struct Connection {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

/// Where a call has failed decides what is known.
pub(super) enum Failed {
    /// The connection was of no use; nothing was asked.
    Before(tokio_postgres::Error),
    /// The server refused.
    Refused(tokio_postgres::Error),
    /// Nobody answered.
    Unanswered(String),
}

impl Pool {
    pub(super) fn new(settings: Settings) -> Self {
        let permits = Semaphore::new(settings.connections);
        Self { settings, idle: Mutex::default(), permits, tasks: TaskTracker::new() }
    }

    /// One statement, which is one transaction.
    pub(super) async fn query(
        &self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Error> {
        let permit = timeout(ADMISSION, self.permits.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(Error::Overloaded) };
        let mut undone = 0;
        loop {
            match self.try_query(sql, values).await? {
                Ok(rows) => return Ok(rows),
                // Another connection; each attempt uses up one of those that were idle, or makes one.
                Err(Failed::Before(problem)) => {
                    tracing::info!(%problem, "a connection to PostgreSQL was lost");
                }
                Err(Failed::Unanswered(reason)) => return Err(Error::Ambiguous(reason)),
                Err(Failed::Refused(problem)) if is_undone(&problem) && undone < UNDONE_MAX => {
                    undone += 1;
                }
                Err(Failed::Refused(problem)) => return Err(describe(&problem)),
            }
        }
    }

    /// One that answers a single row.
    pub(super) async fn query_one(
        &self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Row, Error> {
        let row = self.query(sql, values).await?.into_iter().next();
        row.ok_or_else(|| Error::Incompatible("a statement has answered nothing".to_owned()))
    }

    /// One that answers how many rows it has changed.
    pub(super) async fn count(&self, sql: &'static str, values: Values<'_>) -> Result<u64, Error> {
        let row = self.query_one(sql, values).await?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    /// Several statements that see the same state of the database. They are sent together, so they take as long as one.
    pub(super) async fn read(
        &self,
        questions: &[(&'static str, Values<'_>)],
    ) -> Result<Vec<Vec<Row>>, Error> {
        let permit = timeout(ADMISSION, self.permits.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(Error::Overloaded) };
        loop {
            let known = self.pop();
            let fresh = known.is_none();
            let mut connection = match known {
                Some(connection) => connection,
                None => self.connect().await.map_err(Error::Unavailable)?,
            };
            match connection.read(questions).await {
                Ok(rows) => {
                    self.idle().push(connection);
                    return Ok(rows);
                }
                // What only reads may be asked again.
                Err(Failed::Before(_) | Failed::Unanswered(_)) if !fresh => {}
                Err(Failed::Before(problem) | Failed::Refused(problem)) => {
                    return Err(describe(&problem));
                }
                Err(Failed::Unanswered(reason)) => return Err(Error::Unavailable(reason)),
            }
        }
    }

    /// Decides about several rows in one transaction; whoever drops it before [`Session::commit`] has changed nothing.
    pub(super) async fn session(&self) -> Result<Session, Error> {
        let mut connection = self.connect().await.map_err(Error::Unavailable)?;
        connection.statement_free("BEGIN").await?;
        Ok(Session { connection })
    }

    async fn try_query(
        &self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Result<Vec<Row>, Failed>, Error> {
        let known = self.pop();
        let fresh = known.is_none();
        let mut connection = match known {
            Some(connection) => connection,
            None => self.connect().await.map_err(Error::Unavailable)?,
        };
        let answer = connection.query(sql, values).await;
        match &answer {
            Err(Failed::Before(problem)) if fresh => return Err(describe(problem)),
            Err(Failed::Before(_) | Failed::Unanswered(_)) => {}
            Ok(_) | Err(Failed::Refused(_)) if connection.client.is_closed() => {}
            Ok(_) | Err(Failed::Refused(_)) => self.idle().push(connection),
        }
        Ok(answer)
    }

    /// A new connection, outside of the pool. Its end ends the task that drives it.
    pub(super) async fn open(&self) -> Result<Client, String> {
        self.open_as(&self.settings.config).await
    }

    async fn open_as(&self, config: &Config) -> Result<Client, String> {
        let connecting = config.connect(self.settings.tls.clone());
        let connected = timeout(CONNECT, connecting).await;
        let connected = connected.map_err(|_| "it does not answer".to_owned())?;
        let (client, driver) = connected.map_err(|problem| untrusted(explain(&problem)))?;
        self.tasks.spawn(async move {
            // Whoever uses the connection is told as well.
            if let Err(problem) = driver.await {
                tracing::debug!(%problem, "a connection to PostgreSQL has ended");
            }
        });
        Ok(client)
    }

    async fn connect(&self) -> Result<Connection, String> {
        let client = self.open().await;
        let client = client.map_err(|reason| format!("{}: {reason}", self.settings.server()))?;
        Ok(Connection { client, statements: HashMap::new() })
    }

    /// One for statements whose plans must never read a table from end to end, outside of the pool.
    pub(super) async fn connect_writer(&self) -> Result<Connection, String> {
        let mut config = self.settings.config.clone();
        let options = config.get_options().unwrap_or_default().to_owned();
        config.options(format!("{options} {PLANS}"));
        let client = self.open_as(&config).await;
        let client = client.map_err(|reason| format!("{}: {reason}", self.settings.server()))?;
        Ok(Connection { client, statements: HashMap::new() })
    }

    /// A connection that also hears what others notify; somebody has to read the notices for it to work at all.
    pub(super) async fn listen(&self) -> Result<(Client, Notices), String> {
        let connecting = self.settings.config.connect(self.settings.tls.clone());
        let connected = timeout(CONNECT, connecting).await;
        let connected = connected.map_err(|_| "it does not answer".to_owned())?;
        let (client, mut driver) = connected.map_err(|problem| untrusted(explain(&problem)))?;
        Ok((client, stream::poll_fn(move |cx| driver.poll_message(cx)).boxed()))
    }

    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    fn pop(&self) -> Option<Connection> {
        let mut idle = self.idle();
        while let Some(connection) = idle.pop() {
            if !connection.client.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    pub(super) async fn query(
        &mut self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Failed> {
        let statement = self.prepare(sql).await?;
        match timeout(ANSWER, self.client.query(&statement, values)).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(Failed::Unanswered("the database has not answered in time".to_owned())),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    async fn prepare(&mut self, sql: &'static str) -> Result<Statement, Failed> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let prepared = timeout(ANSWER, self.client.prepare(sql)).await;
        let late = |_| Failed::Unanswered("the database does not answer".to_owned());
        let statement = prepared.map_err(late)?.map_err(|problem| match problem.as_db_error() {
            Some(_) if !is_farewell(&problem) => Failed::Refused(problem),
            Some(_) | None => Failed::Before(problem),
        })?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    async fn read(
        &mut self,
        questions: &[(&'static str, Values<'_>)],
    ) -> Result<Vec<Vec<Row>>, Failed> {
        let mut prepared = Vec::with_capacity(questions.len());
        for (sql, values) in questions {
            prepared.push((self.prepare(sql).await?, *values));
        }
        let client = &self.client;
        let begin = client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        // Polled in this order, and so sent in this order.
        let rows = prepared.iter().map(|(statement, values)| client.query(statement, values));
        let all = async {
            let (begun, rows, ended) =
                join3(begin, join_all(rows), client.batch_execute("COMMIT")).await;
            begun?;
            let rows = rows.into_iter().collect::<Result<Vec<_>, _>>()?;
            ended?;
            Ok(rows)
        };
        match timeout(ANSWER, all).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(Failed::Unanswered("the database has not answered in time".to_owned())),
        }
    }

    async fn statement_free(&mut self, sql: &str) -> Result<(), Error> {
        let done = timeout(ANSWER, self.client.batch_execute(sql)).await;
        let late = |_| Error::Ambiguous("the database has not answered in time".to_owned());
        done.map_err(late)?.map_err(|problem| match failed(problem) {
            Failed::Before(problem) | Failed::Refused(problem) => describe(&problem),
            Failed::Unanswered(reason) => Error::Ambiguous(reason),
        })
    }
}

/// One transaction on a connection of its own.
pub(super) struct Session {
    connection: Connection,
}

impl Session {
    pub(super) async fn query(
        &mut self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Error> {
        self.connection.query(sql, values).await.map_err(|failed| match failed {
            Failed::Before(problem) | Failed::Refused(problem) => describe(&problem),
            // Nothing counts before the commit.
            Failed::Unanswered(reason) => Error::Unavailable(reason),
        })
    }

    pub(super) async fn commit(mut self) -> Result<(), Error> {
        self.connection.statement_free("COMMIT").await
    }
}

fn failed(problem: tokio_postgres::Error) -> Failed {
    match problem.as_db_error() {
        Some(_) => refusal(problem),
        None => Failed::Unanswered(explain(&problem)),
    }
}

/// Who sees this for the first time should know what to do.
fn untrusted(reason: String) -> String {
    if reason.contains("invalid peer certificate") {
        return format!(
            "{reason}; name the authority that signed it with `sslrootcert`, or write `sslmode=disable` when the way to \
             the server is safe"
        );
    }
    reason
}

/// A server that goes down may have committed before it said so.
fn refusal(problem: tokio_postgres::Error) -> Failed {
    if is_farewell(&problem) {
        return Failed::Unanswered(explain(&problem));
    }
    Failed::Refused(problem)
}

fn is_farewell(problem: &tokio_postgres::Error) -> bool {
    let ends = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN];
    problem.code().is_some_and(|code| ends.contains(code))
}

/// It was rolled back for the sake of another transaction, and may be sent again.
pub(super) fn is_undone(problem: &tokio_postgres::Error) -> bool {
    problem.code().is_some_and(|code| code.code().starts_with("40"))
}

/// What it says and why, as text.
pub(super) fn explain(problem: &tokio_postgres::Error) -> String {
    match (problem.as_db_error(), problem.source()) {
        (Some(said), _) => format!("{} ({})", said.message(), said.code().code()),
        (None, Some(source)) => format!("{problem}: {source}"),
        (None, None) => problem.to_string(),
    }
}

pub(super) fn describe(problem: &tokio_postgres::Error) -> Error {
    let reason = explain(problem);
    let class = problem.code().and_then(|code| code.code().get(..2));
    match class {
        Some("22" | "23") => Error::Refused(reason),
        Some("42") => Error::Incompatible(reason),
        Some(_) | None => Error::Unavailable(reason),
    }
}
