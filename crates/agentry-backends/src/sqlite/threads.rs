//! Threads: the log of everything durable that engines do.
//!
//! A step is one row of `entries` and nothing else: the thread's own row is written when it changes hands.

use agentry_core::run::{Committed, Effect, Fence, Seq};
use agentry_core::thread::{
    Commit, Entry, EventId, Interrupt, Line, Loaded, NewRun, NewThread, Run, Thread, Told,
};
use agentry_core::threads::{
    At, CheckpointQuery, Claim, Claimed, Created, Error, Found, From, Intake, Keep, RunQuery,
    Signal, Signalled, Submitted, Taken, ThreadQuery, ThreadStore, Threads,
};
use agentry_core::{RunId, ThreadId, Timestamp};
use async_trait::async_trait;
use rusqlite::Connection;
use serde_json::{Map, Value};
use tracing::error;

use super::command::{Command, Outcome};
use super::read::is_unreadable;
use super::{SqliteStore, limit, mismatch};
use command::{Creation, Grip};

pub(super) use command::{Threaded, Threading};
pub(super) use desk::Desk;
pub(super) use write::Work;
pub(super) use write::archive::clear_up;

mod codes;
mod command;
mod desk;
mod read;
mod write;

impl SqliteStore {
    async fn tell(&self, threading: Threading) -> Result<Threaded, Error> {
        let Outcome::Threaded(threaded) = self.call(Command::Threading(threading)).await? else {
            return Err(mismatch());
        };
        match threaded {
            Threaded::Refused(reason) => Err(Error::Refused(reason)),
            threaded => Ok(threaded),
        }
    }

    /// What `question` finds out about a thread, by its number; `None` when it is not there.
    async fn about<T: Send + 'static>(
        &self,
        thread: ThreadId,
        question: impl FnOnce(&Connection, i64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<Option<T>, Error> {
        let ask = move |connection: &Connection| {
            let number = read::number(connection, thread)?;
            number.map(|number| question(connection, number)).transpose()
        };
        self.readers.ask(ask).await
    }

    async fn load_claimed(&self, claimed: Vec<(ThreadId, Fence)>) -> Result<Vec<Claimed>, Error> {
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        let load = move |connection: &Connection| {
            let mut loaded = Vec::new();
            for (thread, fence) in claimed {
                match read::load(connection, thread) {
                    Ok(thread) => loaded.extend(thread.map(|loaded| Claimed { fence, loaded })),
                    // It stays claimed and is driven by nobody: the others must not wait for it.
                    Err(problem) if is_unreadable(&problem) => {
                        error!(thread_id = %thread, %problem, "what is stored of a thread is not readable");
                    }
                    Err(problem) => return Err(problem),
                }
            }
            Ok(loaded)
        };
        // They are claimed by now, whether or not they can be read.
        self.readers.ask(load).await.map_err(|problem| Error::Ambiguous(problem.to_string()))
    }
}

#[async_trait]
impl ThreadStore for SqliteStore {
    async fn submit(&self, run: NewRun) -> Result<Submitted, Error> {
        let Threaded::Submitted(submitted) = self.tell(Threading::submit(run)?).await? else {
            return Err(mismatch());
        };
        Ok(submitted)
    }

    async fn intake(&self, intake: Intake) -> Result<(), Error> {
        self.tell(Threading::intake(intake)?).await.map(drop)
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        let Threaded::Claimed(claimed) = self.tell(Threading::Claim(claim)).await? else {
            return Err(mismatch());
        };
        self.load_claimed(claimed).await
    }

    async fn take(&self, thread: ThreadId, claim: Claim) -> Result<Taken, Error> {
        let Threaded::Taken(grip) = self.tell(Threading::Take { thread, claim }).await? else {
            return Err(mismatch());
        };
        let fence = match grip {
            Grip::Yours(fence) => fence,
            Grip::Busy => return Ok(Taken::Busy),
            Grip::NoThread => return Ok(Taken::NoThread),
        };
        let loaded = self.readers.ask(move |connection| read::load(connection, thread)).await;
        // Somebody may have deleted it since.
        Ok(match loaded.map_err(|problem| Error::Ambiguous(problem.to_string()))? {
            Some(loaded) => Taken::Yours(Box::new(Claimed { fence, loaded })),
            None => Taken::NoThread,
        })
    }

    async fn renew(&self, worker: &str, _: Timestamp, until: Timestamp) -> Result<(), Error> {
        self.tell(Threading::Renew { worker: worker.to_owned(), until }).await.map(drop)
    }

    async fn mail(&self, worker: &str) -> Result<Vec<ThreadId>, Error> {
        let worker = worker.to_owned();
        self.readers.ask(move |connection| read::mail(connection, &worker)).await
    }

    async fn release(&self, worker: &str) -> Result<(), Error> {
        self.tell(Threading::Release { worker: worker.to_owned() }).await.map(drop)
    }

    async fn succeed(&self, name: &str, worker: &str) -> Result<(), Error> {
        let (name, worker) = (name.to_owned(), worker.to_owned());
        self.tell(Threading::Succeed { name, worker }).await.map(drop)
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        let Threaded::Committed(committed) = self.tell(Threading::commit(commit)?).await? else {
            return Err(mismatch());
        };
        Ok(committed)
    }

    async fn journal(
        &self,
        thread: ThreadId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Result<Committed, Error> {
        let threading = Threading::journal((thread, fence), key, &effect)?;
        let Threaded::Committed(committed) = self.tell(threading).await? else {
            return Err(mismatch());
        };
        Ok(committed)
    }

    async fn signal(&self, thread: ThreadId, signal: Signal) -> Result<Signalled, Error> {
        let Threaded::Signalled(signalled) = self.tell(Threading::signal(thread, signal)?).await?
        else {
            return Err(mismatch());
        };
        Ok(signalled)
    }

    async fn load(&self, thread: ThreadId) -> Result<Option<Loaded>, Error> {
        self.readers.ask(move |connection| read::load(connection, thread)).await
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, Error> {
        self.readers.ask(read::next_wake).await
    }
}

#[async_trait]
impl Threads for SqliteStore {
    async fn create(&self, thread: NewThread) -> Result<Created, Error> {
        let id = thread.id;
        let Threaded::Created(creation) = self.tell(Threading::create(thread)?).await? else {
            return Err(mismatch());
        };
        match creation {
            Creation::New => Ok(Created::New),
            Creation::Foreign => Ok(Created::Foreign),
            Creation::Existing => {
                let existing = self.thread(id).await?;
                let gone = || Error::Unavailable(format!("thread {id} has just been deleted"));
                existing.map(|it| Created::Existing(Box::new(it))).ok_or_else(gone)
            }
        }
    }

    async fn thread(&self, thread: ThreadId) -> Result<Option<Thread>, Error> {
        self.readers.ask(move |connection| read::thread(connection, thread)).await
    }

    async fn threads(&self, query: ThreadQuery) -> Result<Vec<Thread>, Error> {
        self.readers.ask(move |connection| read::list::threads(connection, &query)).await
    }

    async fn count(&self, query: ThreadQuery) -> Result<u64, Error> {
        self.readers.ask(move |connection| read::list::count(connection, &query)).await
    }

    async fn describe(
        &self,
        thread: ThreadId,
        metadata: Map<String, Value>,
        now: Timestamp,
    ) -> Result<Option<Thread>, Error> {
        self.found(Threading::Describe { thread, metadata, now }).await?;
        self.thread(thread).await
    }

    async fn copy(&self, from: ThreadId, to: NewThread) -> Result<bool, Error> {
        self.found(Threading::copy(from, to)?).await
    }

    async fn delete(&self, thread: ThreadId) -> Result<bool, Error> {
        self.found(Threading::Delete(thread)).await
    }

    async fn prune(&self, thread: ThreadId, keep: Keep) -> Result<u64, Error> {
        self.counted(Threading::Prune { thread, keep }).await
    }

    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, Error> {
        self.counted(Threading::Sweep { now, max }).await
    }

    async fn retire(&self, before: Timestamp, max: usize) -> Result<u64, Error> {
        self.counted(Threading::Retire { before, max }).await
    }

    async fn run(&self, run: RunId) -> Result<Option<Run>, Error> {
        self.readers.ask(move |connection| read::run(connection, run)).await
    }

    async fn runs(&self, query: RunQuery) -> Result<Vec<Run>, Error> {
        self.readers.ask(move |connection| read::list::runs(connection, &query)).await
    }

    async fn delete_run(&self, run: RunId) -> Result<bool, Error> {
        self.found(Threading::DeleteRun(run)).await
    }

    async fn checkpoints(
        &self,
        thread: ThreadId,
        query: CheckpointQuery,
    ) -> Result<Vec<Found>, Error> {
        let ask =
            move |connection: &Connection, it| read::list::checkpoints(connection, it, &query);
        Ok(self.about(thread, ask).await?.unwrap_or_default())
    }

    async fn line(&self, thread: ThreadId, at: At, from: From) -> Result<Option<Line>, Error> {
        let ask = move |connection: &Connection, number| {
            let found = read::line::find(connection, number, at)?;
            found.map(|seq| read::line::line(connection, number, seq, from)).transpose()
        };
        Ok(self.about(thread, ask).await?.flatten())
    }

    async fn progress(&self, thread: ThreadId, at: At) -> Result<Vec<Entry>, Error> {
        let ask = move |connection: &Connection, number| {
            let found: Option<Seq> = read::line::find(connection, number, at)?;
            found.map(|seq| read::line::progress(connection, number, seq)).transpose()
        };
        Ok(self.about(thread, ask).await?.flatten().unwrap_or_default())
    }

    async fn events(
        &self,
        thread: ThreadId,
        run: Option<RunId>,
        after: EventId,
        max: usize,
    ) -> Result<Vec<Told>, Error> {
        let ask = move |connection: &Connection, number| {
            read::list::events(connection, number, run, (after, max))
        };
        Ok(self.about(thread, ask).await?.unwrap_or_default())
    }

    async fn questions(
        &self,
        thread: Option<ThreadId>,
        max: usize,
    ) -> Result<Vec<Interrupt>, Error> {
        let max = limit(max);
        match thread {
            None => {
                let ask =
                    move |connection: &Connection| read::list::questions(connection, None, max);
                self.readers.ask(ask).await
            }
            Some(thread) => {
                let ask = move |connection: &Connection, number| {
                    read::list::questions(connection, Some(number), max)
                };
                Ok(self.about(thread, ask).await?.unwrap_or_default())
            }
        }
    }
}

impl SqliteStore {
    async fn found(&self, threading: Threading) -> Result<bool, Error> {
        let Threaded::Found(found) = self.tell(threading).await? else { return Err(mismatch()) };
        Ok(found)
    }

    async fn counted(&self, threading: Threading) -> Result<u64, Error> {
        let Threaded::Counted(count) = self.tell(threading).await? else { return Err(mismatch()) };
        Ok(count)
    }
}
