//! Finding, reading and managing threads.

use agentry_core::run::{Event, Seq};
use agentry_core::thread::{
    Checkpoint, Entry, EventId, Interrupt, Line, NewThread, Run, RunStatus, Status, Thread, Told,
};
use agentry_core::threads::{
    At, CheckpointQuery, Created, Error, Found, From, Keep, Order, RunQuery, ThreadQuery, Threads,
};
use agentry_core::{RunId, ThreadId, Timestamp};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio_postgres::Row;

use super::command::{signed, text};
use super::id::Id;
use super::line::{Tree, builds_on};
use super::load::all;
use super::row::{self, micros, parse};
use super::sql;
use super::tokens::tokens;
use crate::postgres::PostgresStore;
use crate::postgres::pool::Values;

/// Entries that are looked through at once.
const PAGE: i64 = 256;

#[async_trait]
impl Threads for PostgresStore {
    async fn create(&self, thread: NewThread) -> Result<Created, Error> {
        let NewThread { id, tenant, metadata, created, keep_for } = &thread;
        let (created, keep_for) = (created.as_micros(), keep_for.map(micros));
        let (key, members, metadata) = (Id::from(*id), tokens(metadata), text(metadata)?);
        let values: Values<'_> = &[&key, tenant, &created, &keep_for, &metadata, &members];
        // Whoever deletes it between our two questions leaves nothing to be found.
        for _ in 0..3 {
            if !self.pool.query(sql::CREATE, values).await?.is_empty() {
                return Ok(Created::New);
            }
            if let Some(known) = self.thread(*id).await? {
                let own = known.tenant == *tenant;
                return Ok(if own { Created::Existing(Box::new(known)) } else { Created::Foreign });
            }
        }
        Err(Error::Overloaded)
    }

    async fn thread(&self, thread: ThreadId) -> Result<Option<Thread>, Error> {
        let Some(number) = self.number(thread).await? else { return Ok(None) };
        let rows = self.pool.query(sql::THREADS, &[&vec![number]]).await?;
        rows.first().map(row::thread).transpose()
    }

    async fn threads(&self, query: ThreadQuery) -> Result<Vec<Thread>, Error> {
        let ThreadQuery { tenant, status, graph, metadata, ids, offset, max, order } = &query;
        let (status, members, ids) = (status.map(status_word), tokens(metadata), wanted(ids));
        let (by, newest) = match order {
            Order::CreatedNewest => ("created", true),
            Order::CreatedOldest => ("created", false),
            Order::UpdatedNewest => ("updated", true),
            Order::UpdatedOldest => ("updated", false),
        };
        let (offset, max) = (signed(*offset as u64), signed(*max as u64));
        let values: Values<'_> =
            &[tenant, &status, graph, &members, &ids, &by, &newest, &offset, &max];
        all(&self.pool.query(sql::LIST, values).await?, row::thread)
    }

    async fn count(&self, query: ThreadQuery) -> Result<u64, Error> {
        let ThreadQuery { tenant, status, graph, metadata, ids, offset: _, max: _, order: _ } =
            &query;
        let (status, members, ids) = (status.map(status_word), tokens(metadata), wanted(ids));
        self.pool.count(sql::COUNT, &[tenant, &status, graph, &members, &ids]).await
    }

    async fn describe(
        &self,
        thread: ThreadId,
        metadata: Map<String, Value>,
        now: Timestamp,
    ) -> Result<Option<Thread>, Error> {
        let mut session = self.pool.session().await?;
        let rows = session.query(sql::METADATA, &[&Id::from(thread)]).await?;
        let Some(found) = rows.first() else { return Ok(None) };
        let number: i64 = found.get(0);
        let mut known: Map<String, Value> = parse(found.get(1))?;
        for (name, value) in metadata {
            if value.is_null() {
                known.shift_remove(&name);
            } else {
                known.insert(name, value);
            }
        }
        let (members, now) = (tokens(&known), now.as_micros());
        session.query(sql::DESCRIBE, &[&number, &text(&known)?, &members, &now]).await?;
        let rows = session.query(sql::THREADS, &[&vec![number]]).await?;
        let described = rows.first().map(row::thread).transpose()?;
        session.commit().await?;
        Ok(described)
    }

    async fn copy(&self, from: ThreadId, to: NewThread) -> Result<bool, Error> {
        let NewThread { id, tenant, metadata, created, keep_for } = &to;
        let command = json!({
            "id": id,
            "tenant": tenant,
            "metadata": text(metadata)?,
            "members": tokens(metadata),
            "created": created.as_micros(),
            "keep_for": keep_for.map(micros),
        });
        let values: Values<'_> = &[&Id::from(from), &text(&command)?];
        match self.pool.query_one(sql::COPY, values).await?.get(0) {
            "copied" => Ok(true),
            "missing" => Ok(false),
            _ => Err(Error::Refused(format!("there is a thread {id} already"))),
        }
    }

    async fn delete(&self, thread: ThreadId) -> Result<bool, Error> {
        Ok(self.pool.query_one(sql::DELETE, &[&Id::from(thread)]).await?.get(0))
    }

    async fn prune(&self, thread: ThreadId, keep: Keep) -> Result<u64, Error> {
        match keep {
            Keep::Nothing => self.pool.count(sql::PRUNE_ALL, &[&Id::from(thread)]).await,
            Keep::Latest => self.keep_latest(thread).await,
        }
    }

    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, Error> {
        self.pool.count(sql::SWEEP, &[&now.as_micros(), &signed(max as u64)]).await
    }

    async fn retire(&self, before: Timestamp, max: usize) -> Result<u64, Error> {
        self.pool.count(sql::RETIRE, &[&before.as_micros(), &signed(max as u64)]).await
    }

    async fn run(&self, run: RunId) -> Result<Option<Run>, Error> {
        let rows = self.pool.query(sql::RUN, &[&Id::from(run)]).await?;
        rows.first().map(row::run).transpose()
    }

    async fn runs(&self, query: RunQuery) -> Result<Vec<Run>, Error> {
        let RunQuery { tenant, thread, graph, status, metadata, before, offset, max } = &query;
        let (thread, before) = (thread.map(Id::from), before.map(Id::from));
        let (status, members) = (status.map(run_word), tokens(metadata));
        let (offset, max) = (signed(*offset as u64), signed(*max as u64));
        let values: Values<'_> =
            &[tenant, &thread, graph, &status, &members, &before, &offset, &max];
        all(&self.pool.query(sql::LIST_RUNS, values).await?, row::run)
    }

    async fn delete_run(&self, run: RunId) -> Result<bool, Error> {
        Ok(self.pool.query_one(sql::DELETE_RUN, &[&Id::from(run)]).await?.get(0))
    }

    async fn checkpoints(
        &self,
        thread: ThreadId,
        query: CheckpointQuery,
    ) -> Result<Vec<Found>, Error> {
        let Some(number) = self.number(thread).await? else { return Ok(Vec::new()) };
        let mut below = match query.before {
            None => i64::MAX,
            Some(id) => match self.marked(number, Id::from(id)).await? {
                Some(seq) => signed(seq.0),
                None => return Ok(Vec::new()),
            },
        };
        let mut found = Vec::new();
        while found.len() < query.max {
            let rows = self.pool.query(sql::MARKED, &[&number, &below, &PAGE]).await?;
            for it in &rows {
                found.extend(checkpoints(it, &query)?);
            }
            let Some(last) = rows.last().filter(|_| rows.len() as i64 == PAGE) else { break };
            below = last.get(0);
        }
        found.truncate(query.max);
        Ok(found)
    }

    async fn line(&self, thread: ThreadId, at: At, from: From) -> Result<Option<Line>, Error> {
        let Some((number, tree, at)) = self.find(thread, at).await? else { return Ok(None) };
        self.line_to(number, (&tree, at), from).await.map(Some)
    }

    async fn progress(&self, thread: ThreadId, at: At) -> Result<Vec<Entry>, Error> {
        let Some((number, tree, at)) = self.find(thread, at).await? else { return Ok(Vec::new()) };
        self.entries(number, &builds_on(&tree, at)).await
    }

    async fn events(
        &self,
        thread: ThreadId,
        run: Option<RunId>,
        after: EventId,
        max: usize,
    ) -> Result<Vec<Told>, Error> {
        let Some(number) = self.number(thread).await? else { return Ok(Vec::new()) };
        let run = run.map(Id::from);
        let (mut told, mut from) = (Vec::new(), signed(after.seq.0));
        while told.len() < max {
            let rows = self.pool.query(sql::TOLD, &[&number, &from, &run, &PAGE]).await?;
            for it in &rows {
                let (seq, run) = (row::seq(it, 0), it.get::<_, Option<Id>>(1).map(RunId::from));
                let events: Vec<Event> = parse(it.get(2))?;
                let events = (0..).zip(events).map(|(index, event)| Told {
                    id: EventId { seq, index },
                    run,
                    event,
                });
                told.extend(events.filter(|event| event.id > after));
            }
            let Some(last) = rows.last().filter(|_| rows.len() as i64 == PAGE) else { break };
            from = last.get::<_, i64>(0) + 1;
        }
        told.truncate(max);
        Ok(told)
    }

    async fn questions(
        &self,
        thread: Option<ThreadId>,
        max: usize,
    ) -> Result<Vec<Interrupt>, Error> {
        let values: Values<'_> = &[&thread.map(Id::from), &signed(max as u64)];
        all(&self.pool.query(sql::ASKED, values).await?, row::interrupt)
    }
}

impl PostgresStore {
    pub(super) async fn number(&self, thread: ThreadId) -> Result<Option<i64>, Error> {
        let rows = self.pool.query(sql::NUMBER, &[&Id::from(thread)]).await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    async fn marked(&self, number: i64, id: Id) -> Result<Option<Seq>, Error> {
        let rows = self.pool.query(sql::FIND_MARK, &[&number, &id]).await?;
        Ok(rows.first().map(|it| row::seq(it, 0)))
    }

    async fn find(&self, thread: ThreadId, at: At) -> Result<Option<(i64, Tree, Seq)>, Error> {
        let Some(number) = self.number(thread).await? else { return Ok(None) };
        let tree = self.tree(number).await?;
        let seq = match at {
            At::Head => Some(tree.keys().next_back().copied().unwrap_or_default()),
            At::Seq(seq) => (seq == Seq(0) || tree.contains_key(&seq)).then_some(seq),
            At::Checkpoint(id) => self.marked(number, Id::from(id)).await?,
        };
        Ok(seq.map(|seq| (number, tree, seq)))
    }
}

fn checkpoints(row: &Row, query: &CheckpointQuery) -> Result<Vec<Found>, Error> {
    let CheckpointQuery { ns, source, metadata, before: _, max: _ } = query;
    let matches = |checkpoint: &Checkpoint| {
        let described =
            metadata.iter().all(|(name, value)| checkpoint.metadata.get(name) == Some(value));
        let ns = ns.as_ref().is_none_or(|ns| *ns == checkpoint.ns);
        described && ns && source.is_none_or(|source| source == checkpoint.source)
    };
    let all: Vec<Checkpoint> = parse(row.get(3))?;
    let found = all.into_iter().rev().filter(matches).map(|checkpoint| Found {
        seq: row::seq(row, 0),
        run: row.get::<_, Option<Id>>(1).map(RunId::from),
        at: row::moment(row, 2),
        checkpoint,
    });
    Ok(found.collect())
}

fn wanted(ids: &[ThreadId]) -> Option<Vec<Id>> {
    (!ids.is_empty()).then(|| ids.iter().map(|id| Id::from(*id)).collect())
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Idle => "idle",
        Status::Ready => "ready",
        Status::Waiting => "waiting",
        Status::Interrupted => "interrupted",
        Status::Failed => "failed",
    }
}

fn run_word(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Pending => "pending",
        RunStatus::Running => "running",
        RunStatus::Interrupted => "interrupted",
        RunStatus::Success => "success",
        RunStatus::Error => "error",
        RunStatus::Timeout => "timeout",
        RunStatus::Cancelled => "cancelled",
        RunStatus::RolledBack => "rolled_back",
    }
}
