//! Threads, their runs, and who works on them.
//!
//! A lease is judged by the server's clock, the only one that all instances share: of the times in a [`Claim`] only the span
//! between `now` and `lease_until` counts for it, and `now` for the moments that threads wait for. The URL's
//! `clock=caller` changes that for simulations, whose time is their own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentry_core::run::{Committed, Effect, Fence};
use agentry_core::thread::{Commit, Loaded, NewRun, RunStatus};
use agentry_core::threads::{
    Claim, Claimed, Error, Intake, Signal, Signalled, Submitted, Taken, ThreadStore,
};
use agentry_core::{RunId, ThreadId, Timestamp};
use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use command::{Decision, Deed, Note, signed};
use id::Id;
use row::{micros, parse, unreadable, word};
use writer::{Command, Control, Grip};

use super::settings::Clock;
use super::{PostgresStore, migrate};

pub(super) use bell::Bell;
pub(super) use writer::Writer;

mod archive;
mod bell;
mod command;
mod id;
mod lane;
mod line;
mod load;
mod prune;
mod row;
mod sql;
mod tokens;
mod writer;

pub(super) const MIGRATIONS: migrate::List = migrate::List {
    name: "threads",
    steps: &[
        concat!(include_str!("threads/1.sql"), include_str!("threads/functions.sql")),
        include_str!("threads/2.sql"),
        include_str!("threads/3.sql"),
        include_str!("threads/4.sql"),
        include_str!("threads/5.sql"),
        include_str!("threads/6.sql"),
    ],
};

/// How far behind the clock of an instance may be without its work being found late.
const SKEW: Duration = Duration::from_secs(10);
/// How old a [`Horizon`] may be: so late is found what lies behind it.
const HORIZON: Duration = Duration::from_secs(1);

/// Where the line of ready threads begins, when somebody has last looked.
#[derive(Clone, Default)]
pub(super) struct Horizon(Arc<Mutex<Option<(Instant, i64)>>>);

impl Horizon {
    fn fresh(&self) -> Option<i64> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.filter(|(looked, _)| looked.elapsed() < HORIZON).map(|(_, since)| since)
    }

    fn set(&self, since: i64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), since));
    }
}

impl PostgresStore {
    /// Changes soon after another instance has made something ready, as long as hints come through. A worker that looks
    /// then, and otherwise from time to time, misses nothing.
    #[must_use]
    pub fn stirrings(&self) -> watch::Receiver<u64> {
        self.bell.listen()
    }

    async fn tell(&self, deed: Deed) -> Result<Value, Error> {
        self.writer.ask(|reply| Command::Deed(deed, reply)).await
    }

    async fn steer(&self, control: Control) -> Result<Vec<Grip>, Error> {
        self.writer.ask(|reply| Command::Control(control, reply)).await
    }

    /// Since when those are ready that a claim has to look at. Rows of the line that are gone stay in the way for as long as
    /// somebody keeps an old snapshot open, and this is how most claims pass them over. Now and then it is the beginning.
    async fn horizon(&self, now: Timestamp) -> Result<i64, Error> {
        if self.pool.settings.clock == Clock::Caller {
            return Ok(0);
        }
        if let Some(since) = self.horizon.fresh() {
            return Ok(since);
        }
        let row = self.pool.query_one(sql::OLDEST, &[&now.minus(SKEW).as_micros()]).await?;
        self.horizon.set(row.get(0));
        Ok(0)
    }

    /// One by one. What is not readable stays claimed and is driven by nobody: the others must not wait for it.
    async fn readable(&self, numbers: &[i64]) -> Result<HashMap<i64, Loaded>, Error> {
        let mut all = HashMap::new();
        for number in numbers {
            match self.loaded(&[*number]).await {
                Ok(loaded) => all.extend(loaded),
                Err(Error::Incompatible(problem)) => {
                    tracing::error!(number, problem, "what is stored of a thread is not readable");
                }
                Err(problem) => return Err(problem),
            }
        }
        Ok(all)
    }

    async fn gripped(&self, grips: Vec<Grip>) -> Result<Vec<Claimed>, Error> {
        let numbers: Vec<i64> = grips.iter().map(|grip| grip.thread).collect();
        let loaded = match self.loaded(&numbers).await {
            Err(Error::Incompatible(_)) => self.readable(&numbers).await,
            loaded => loaded,
        };
        // They are claimed by now, whether or not they can be read.
        let mut loaded = loaded.map_err(|problem| Error::Ambiguous(problem.to_string()))?;
        // One that has been deleted since is nobody's.
        let claimed = grips.into_iter().filter_map(|grip| {
            let loaded = loaded.remove(&grip.thread)?;
            Some(Claimed { fence: Fence(grip.fence), loaded })
        });
        Ok(claimed.collect())
    }
}

#[async_trait]
impl ThreadStore for PostgresStore {
    async fn submit(&self, run: NewRun) -> Result<Submitted, Error> {
        submitted(&self.tell(Deed::submit(&run)?).await?)
    }

    async fn intake(&self, intake: Intake) -> Result<(), Error> {
        let said = self.tell(Deed::intake(&intake)?).await?;
        match field(&said, "is")? {
            "stored" => Ok(()),
            _ => Err(Error::Refused(field(&said, "reason")?.to_owned())),
        }
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        let Claim { worker, now, lease_until, threads_max, programs } = claim;
        let span = micros(lease_until.since(now));
        let (graphs, versions) = programs.into_iter().map(|it| (it.graph, it.version)).unzip();
        let since = self.horizon(now).await?;
        let (now, max) = (now.as_micros(), signed(threads_max as u64));
        let control = Control::Claim { worker, now, span, max, graphs, versions, since };
        let grips = self.steer(control).await?;
        self.gripped(grips).await
    }

    async fn take(&self, thread: ThreadId, claim: Claim) -> Result<Taken, Error> {
        let Claim { worker, now, lease_until, threads_max: _, programs: _ } = claim;
        let (now, span) = (now.as_micros(), micros(lease_until.since(now)));
        let grips = self.steer(Control::Take { thread, worker, now, span }).await?;
        match grips.first() {
            None => Ok(Taken::NoThread),
            Some(grip) if !grip.yours => Ok(Taken::Busy),
            Some(_) => {
                let mut claimed = self.gripped(grips).await?;
                Ok(claimed.pop().map_or(Taken::NoThread, |claimed| Taken::Yours(Box::new(claimed))))
            }
        }
    }

    async fn renew(
        &self,
        worker: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<(), Error> {
        let (worker, span) = (worker.to_owned(), micros(lease_until.since(now)));
        self.steer(Control::Renew { worker, now: now.as_micros(), span }).await.map(drop)
    }

    async fn mail(&self, worker: &str) -> Result<Vec<ThreadId>, Error> {
        let rows = self.pool.query(sql::MAIL, &[&worker]).await?;
        Ok(rows.iter().map(|row| row.get::<_, Id>(0).into()).collect())
    }

    async fn release(&self, worker: &str) -> Result<(), Error> {
        self.steer(Control::Release { worker: worker.to_owned() }).await.map(drop)
    }

    async fn succeed(&self, name: &str, worker: &str) -> Result<(), Error> {
        let (name, worker) = (name.to_owned(), worker.to_owned());
        self.steer(Control::Succeed { name, worker }).await.map(drop)
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        let decision = Box::new(Decision::new(commit)?);
        self.writer.ask(|reply| Command::Commit(decision, reply)).await
    }

    async fn journal(
        &self,
        thread: ThreadId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Result<Committed, Error> {
        let note = Box::new(Note::new((thread, fence), key, &effect)?);
        self.writer.ask(|reply| Command::Journal(note, reply)).await
    }

    async fn signal(&self, thread: ThreadId, signal: Signal) -> Result<Signalled, Error> {
        signalled(&self.tell(Deed::signal(thread, &signal)?).await?)
    }

    async fn load(&self, thread: ThreadId) -> Result<Option<Loaded>, Error> {
        let Some(number) = self.number(thread).await? else { return Ok(None) };
        Ok(self.loaded(&[number]).await?.remove(&number))
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, Error> {
        let rows = self.pool.query(sql::NEXT_WAKE, &[]).await?;
        Ok(rows.first().map(|row| Timestamp::from_micros(row.get(0))))
    }
}

fn field<'a>(said: &'a Value, name: &str) -> Result<&'a str, Error> {
    said.get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| unreadable(format!("an answer without `{name}`")))
}

fn submitted(said: &Value) -> Result<Submitted, Error> {
    let run =
        |name: &str| -> Result<RunId, Error> { field(said, name)?.parse().map_err(unreadable) };
    let interrupt = || field(said, "interrupt").map(str::to_owned);
    Ok(match field(said, "is")? {
        "created" => Submitted::Created(run("id")?),
        "existing" => Submitted::Existing(run("id")?),
        "busy" => Submitted::Busy { active: run("active")? },
        "no_thread" => Submitted::NoThread,
        "foreign" => Submitted::Foreign,
        "already_answered" => Submitted::AlreadyAnswered {
            interrupt: interrupt()?,
            answer: parse(field(said, "answer")?)?,
        },
        "no_interrupt" => Submitted::NoInterrupt { interrupt: interrupt()? },
        other => return Err(unreadable(format!("an unknown answer: {other}"))),
    })
}

fn signalled(said: &Value) -> Result<Signalled, Error> {
    Ok(match field(said, "is")? {
        "accepted" => Signalled::Accepted,
        "duplicate" => Signalled::Duplicate,
        "not_found" => Signalled::NotFound,
        "already_answered" => Signalled::AlreadyAnswered(parse(field(said, "answer")?)?),
        "expired" => Signalled::Expired,
        "finished" => Signalled::Finished(word::<RunStatus>(field(said, "status")?)?),
        other => return Err(unreadable(format!("an unknown answer: {other}"))),
    })
}
