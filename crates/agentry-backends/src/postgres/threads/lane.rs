//! One connection that writes, and how it gets along with what can happen to it.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::Committed;
use agentry_core::threads::{Error, life};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::bell::Bell;
use super::command::{self, Decision, Note};
use super::id::Id;
use super::sql;
use super::writer::{Command, Control, Grip};
use crate::postgres::pool::{Connection, Failed, Pool, describe, explain, is_undone};
use crate::postgres::settings::Clock;

/// For how long a batch waits for a server that is not there. A restart takes about a second.
const PATIENCE: Duration = Duration::from_secs(4);
/// For how long it is asked whether a commit that nobody has confirmed is stored.
const DOUBT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);
const UNDONE_MAX: u32 = 8;

pub(super) struct Lane {
    pool: Arc<Pool>,
    bell: Bell,
    connection: Option<Connection>,
}

/// Commands of one kind, at least one.
pub(super) struct Batch {
    commands: Vec<Command>,
}

impl Batch {
    pub(super) fn new(commands: Vec<Command>) -> Self {
        Self { commands }
    }

    /// Whether others may have something to do now.
    fn stirs(&self, rows: &[Row]) -> bool {
        match self.commands.first() {
            Some(
                Command::Deed(..)
                | Command::Control(Control::Release { .. } | Control::Succeed { .. }, _),
            ) => true,
            // Some thread has news, and perhaps no worker any more.
            Some(Command::Commit(..)) => rows.iter().any(|row| row.get(3)),
            Some(Command::Journal(..) | Command::Control(..)) | None => false,
        }
    }

    /// Whether sending it again does no more than once.
    fn repeats(&self) -> bool {
        self.commands.iter().all(|command| match command {
            Command::Commit(..) => true,
            // An intention that finds itself would look like somebody else's.
            Command::Journal(note, _) => note.result.is_some(),
            Command::Control(
                Control::Renew { .. } | Control::Release { .. } | Control::Succeed { .. },
                _,
            ) => true,
            Command::Deed(..) | Command::Control(..) => false,
        })
    }
}

enum Trouble {
    /// Nothing was stored.
    Away(String),
    Refused(tokio_postgres::Error),
    /// It may be stored.
    Doubtful(String),
}

impl Lane {
    pub(super) fn new(pool: Arc<Pool>, bell: Bell) -> Self {
        Self { pool, bell, connection: None }
    }

    /// Everybody in the batch is told what came of it.
    pub(super) async fn run(&mut self, batch: Batch) {
        match self.try_run(&batch).await {
            Ok(rows) => self.answer(batch, &rows),
            Err(Trouble::Refused(problem)) if batch.commands.len() > 1 => {
                tracing::debug!(reason = explain(&problem), "a batch was refused");
                // One of them was refused and nothing was stored: alone, each shows what it is.
                for command in batch.commands {
                    let alone = Batch::new(vec![command]);
                    match self.try_run(&alone).await {
                        Ok(rows) => self.answer(alone, &rows),
                        Err(trouble) => refuse(alone, &trouble),
                    }
                }
            }
            Err(trouble) => refuse(batch, &trouble),
        }
    }

    fn answer(&self, batch: Batch, rows: &[Row]) {
        if batch.stirs(rows) {
            self.bell.ring();
        }
        answer(batch, rows);
    }

    async fn try_run(&mut self, batch: &Batch) -> Result<Vec<Row>, Trouble> {
        let started = Instant::now();
        let (mut doubt, mut undone) = (None, 0);
        loop {
            let patience = if doubt.is_some() { DOUBT } else { PATIENCE };
            let late = started.elapsed() >= patience;
            let trouble = match self.try_once(batch).await {
                Ok(rows) => return Ok(rows),
                Err(trouble) => trouble,
            };
            match trouble {
                Trouble::Refused(problem) if may_pass(&problem) && undone < UNDONE_MAX => {
                    undone += 1;
                }
                // What was undone now may have been stored before.
                Trouble::Refused(problem) => {
                    return Err(match doubt {
                        Some(_) if is_undone(&problem) => Trouble::Doubtful(explain(&problem)),
                        _ => Trouble::Refused(problem),
                    });
                }
                Trouble::Doubtful(reason) if !batch.repeats() || late => {
                    return Err(Trouble::Doubtful(reason));
                }
                Trouble::Doubtful(reason) => {
                    tracing::info!(reason, "a batch was not confirmed and is asked for again");
                    doubt = Some(reason);
                }
                Trouble::Away(reason) if late => {
                    return Err(doubt.map_or(Trouble::Away(reason), Trouble::Doubtful));
                }
                Trouble::Away(_) => sleep(PAUSE).await,
            }
        }
    }

    async fn try_once(&mut self, batch: &Batch) -> Result<Vec<Row>, Trouble> {
        let known = self.connection.take().filter(|connection| !connection.is_closed());
        let mut connection = match known {
            Some(connection) => connection,
            None => self.pool.connect_writer().await.map_err(Trouble::Away)?,
        };
        match perform(&mut connection, batch, self.pool.settings.clock).await {
            Ok(rows) => {
                self.connection = Some(connection);
                Ok(rows)
            }
            Err(Failed::Refused(problem)) => {
                self.connection = Some(connection);
                Err(Trouble::Refused(problem))
            }
            Err(Failed::Before(problem)) => Err(Trouble::Away(explain(&problem))),
            Err(Failed::Unanswered(reason)) => Err(Trouble::Doubtful(reason)),
        }
    }
}

/// Another transaction was in the way, which may be gone by now: one that made the same row, or one that waited for us.
fn may_pass(problem: &tokio_postgres::Error) -> bool {
    let unique = tokio_postgres::error::SqlState::UNIQUE_VIOLATION;
    is_undone(problem) || problem.code() == Some(&unique)
}

async fn perform(
    connection: &mut Connection,
    batch: &Batch,
    clock: Clock,
) -> Result<Vec<Row>, Failed> {
    let commands = &batch.commands;
    match commands.first() {
        Some(Command::Commit(..)) => {
            let decisions = commands.iter().filter_map(|command| match command {
                Command::Commit(decision, _) => Some(&**decision),
                _ => None,
            });
            commit(connection, &decisions.collect::<Vec<_>>()).await
        }
        Some(Command::Journal(..)) => {
            let notes = commands.iter().filter_map(|command| match command {
                Command::Journal(note, _) => Some(&**note),
                _ => None,
            });
            journal(connection, &notes.collect::<Vec<_>>()).await
        }
        Some(Command::Deed(..)) => {
            let deeds: Vec<&str> = commands
                .iter()
                .filter_map(|command| match command {
                    Command::Deed(deed, _) => Some(deed.text.as_str()),
                    _ => None,
                })
                .collect();
            connection.query(sql::ACT, &[&deeds]).await
        }
        Some(Command::Control(control, _)) => steer(connection, control, clock).await,
        None => Ok(Vec::new()),
    }
}

async fn commit(connection: &mut Connection, all: &[&Decision]) -> Result<Vec<Row>, Failed> {
    let ids: Vec<Id> = column(all, |it| it.thread.into());
    let fences = column(all, |it| it.fence);
    let seqs = column(all, |it| it.seq);
    let parents = column(all, |it| it.parent);
    let runs = column(all, |it| it.run);
    let ats = column(all, |it| it.at);
    let marks = column(all, |it| it.marks.as_deref());
    let checkpoints = column(all, |it| it.checkpoints.as_deref());
    let events = column(all, |it| it.events.as_deref());
    let holes = column(all, |it| it.holes.as_deref());
    let writes = column(all, |it| it.writes.as_str());
    let bodies = column(all, |it| it.body.as_str());
    let rests = column(all, |it| it.rest);
    let wakes = column(all, |it| it.wake_at);
    let details = column(all, |it| it.detail.as_deref());
    let values: [&(dyn ToSql + Sync); 15] = [
        &ids,
        &fences,
        &seqs,
        &parents,
        &runs,
        &ats,
        &marks,
        &checkpoints,
        &events,
        &holes,
        &writes,
        &bodies,
        &rests,
        &wakes,
        &details,
    ];
    connection.query(sql::COMMITS, &values).await
}

async fn journal(connection: &mut Connection, all: &[&Note]) -> Result<Vec<Row>, Failed> {
    let ids: Vec<Id> = column(all, |it| it.thread.into());
    let fences = column(all, |it| it.fence);
    let keys = column(all, |it| it.key.as_str());
    let results = column(all, |it| it.result.as_deref());
    connection.query(sql::JOURNALS, &[&ids, &fences, &keys, &results]).await
}

fn column<'a, T, U>(all: &[&'a T], field: impl Fn(&'a T) -> U) -> Vec<U> {
    all.iter().map(|it| field(it)).collect()
}

async fn steer(
    connection: &mut Connection,
    control: &Control,
    clock: Clock,
) -> Result<Vec<Row>, Failed> {
    // Nothing: the server looks at its own.
    let judged_by = |now: i64| match clock {
        Clock::Database => None,
        Clock::Caller => Some(now),
    };
    match control {
        Control::Claim { worker, now, span, max, graphs, versions, since } => {
            let clock = judged_by(*now);
            let values: [&(dyn ToSql + Sync); 8] =
                [worker, now, &clock, span, max, graphs, versions, since];
            connection.query(sql::CLAIM, &values).await
        }
        Control::Take { thread, worker, now, span } => {
            let (id, clock) = (Id::from(*thread), judged_by(*now));
            connection.query(sql::TAKE, &[&id, worker, &clock, span]).await
        }
        Control::Renew { worker, now, span } => {
            connection.query(sql::RENEW, &[worker, &judged_by(*now), span]).await
        }
        Control::Release { worker } => connection.query(sql::RELEASE, &[worker]).await,
        Control::Succeed { name, worker } => {
            connection.query(sql::SUCCEED, &[name, &life(name, ""), worker]).await
        }
    }
}

fn answer(batch: Batch, rows: &[Row]) {
    let Batch { commands } = batch;
    let mut verdicts: Vec<Option<Result<Committed, Error>>> = Vec::new();
    if let Some(Command::Commit(..) | Command::Journal(..)) = commands.first() {
        verdicts.resize(commands.len(), None);
        for row in rows {
            // A place that is told twice has news the second time.
            let index = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(usize::MAX);
            if let Some(place) = verdicts.get_mut(index) {
                *place = Some(command::verdict(row.get(1), row.get(2), row.get(3)));
            }
        }
    }
    let mut verdicts = verdicts.into_iter();
    let mut said = rows.iter();
    for command in commands {
        let missing = || Error::Incompatible("a command was not answered".to_owned());
        // Whoever no longer listens will read it.
        match command {
            Command::Commit(_, reply) | Command::Journal(_, reply) => {
                drop(reply.send(verdicts.next().flatten().unwrap_or_else(|| Err(missing()))));
            }
            Command::Deed(_, reply) => {
                let text = said.next().map(|row| serde_json::from_str::<Value>(row.get(0)));
                let value = text.map_or_else(
                    || Err(missing()),
                    |text| text.map_err(|problem| Error::Incompatible(problem.to_string())),
                );
                drop(reply.send(value));
            }
            Command::Control(_, reply) => {
                drop(reply.send(Ok(rows.iter().filter_map(grip).collect())));
            }
        }
    }
}

fn grip(row: &Row) -> Option<Grip> {
    if row.len() < 3 {
        return None;
    }
    let yours = row.get::<_, &str>(0) == "yours";
    Some(Grip { yours, thread: row.get(1), fence: row.get::<_, i64>(2).unsigned_abs() })
}

fn refuse(batch: Batch, trouble: &Trouble) {
    let problem = match trouble {
        Trouble::Away(reason) => Error::Unavailable(reason.clone()),
        Trouble::Refused(problem) => describe(problem),
        Trouble::Doubtful(reason) => Error::Ambiguous(reason.clone()),
    };
    for command in batch.commands {
        command.refuse(problem.clone());
    }
}
