//! The ports of threads, with everything sealed on its way in and opened on its way out.

use std::collections::HashMap;

use agentry_core::run::{Committed, Effect, Fence};
use agentry_core::store::{Log, Record};
use agentry_core::thread::{
    Commit, Entry, EventId, Interrupt, Line, Loaded, NewRun, NewThread, Run, Thread, Told,
};
use agentry_core::threads::{
    At, CheckpointQuery, Claim, Claimed, Created, Error, Found, From, Intake, Keep, RunQuery,
    Signal, Signalled, Submitted, Taken, ThreadQuery, ThreadStore, Threads,
};
use agentry_core::{RunId, ThreadId, Timestamp, audit};
use async_trait::async_trait;
use serde_json::{Map, Value};
use tracing::error;

use super::Sealed;
use super::commit::COPY_OF;

impl<S: ?Sized> Sealed<S> {
    fn loaded(&self, mut loaded: Loaded) -> Result<Loaded, Error> {
        self.keys.described(&loaded.thread)?.loaded_of(&mut loaded)?;
        loaded.thread = shown(loaded.thread);
        Ok(loaded)
    }

    fn new_run(&self, mut run: NewRun) -> Result<NewRun, Error> {
        self.keys.thread(run.thread)?.new_run(&mut run)?;
        Ok(run)
    }

    fn opened(&self, mut run: Run) -> Result<Run, Error> {
        self.keys.thread(run.thread)?.run_of(&mut run)?;
        Ok(run)
    }
}

#[async_trait]
impl<S: ThreadStore + ?Sized> ThreadStore for Sealed<S> {
    async fn submit(&self, run: NewRun) -> Result<Submitted, Error> {
        let thread = run.thread;
        let mut submitted = self.inner.submit(self.new_run(run)?).await?;
        if let Submitted::AlreadyAnswered { interrupt, answer } = &mut submitted {
            self.keys.thread(thread)?.answer_of(interrupt, answer)?;
        }
        Ok(submitted)
    }

    async fn intake(&self, mut intake: Intake) -> Result<(), Error> {
        let submit = std::mem::take(&mut intake.submit);
        intake.submit =
            submit.into_iter().map(|run| self.new_run(run)).collect::<Result<_, Error>>()?;
        for (_, message) in &mut intake.messages {
            self.keys.intake()?.message(message)?;
        }
        self.inner.intake(intake).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        let claimed = self.inner.claim(claim).await?;
        let opened = claimed.into_iter().filter_map(|Claimed { fence, loaded }| {
            let id = loaded.thread.id;
            match self.loaded(loaded) {
                Ok(loaded) => Some(Claimed { fence, loaded }),
                // It stays claimed and is driven by nobody: the others must not wait for it.
                Err(problem) => {
                    error!(thread_id = %id, %problem, "what is stored of a thread is not readable");
                    None
                }
            }
        });
        Ok(opened.collect())
    }

    async fn take(&self, thread: ThreadId, claim: Claim) -> Result<Taken, Error> {
        match self.inner.take(thread, claim).await? {
            Taken::Yours(claimed) => {
                let Claimed { fence, loaded } = *claimed;
                let loaded = self.loaded(loaded)?;
                Ok(Taken::Yours(Box::new(Claimed { fence, loaded })))
            }
            other @ (Taken::Busy | Taken::NoThread) => Ok(other),
        }
    }

    async fn renew(
        &self,
        worker: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<(), Error> {
        self.inner.renew(worker, now, lease_until).await
    }

    async fn mail(&self, worker: &str) -> Result<Vec<ThreadId>, Error> {
        self.inner.mail(worker).await
    }

    async fn release(&self, worker: &str) -> Result<(), Error> {
        self.inner.release(worker).await
    }

    async fn succeed(&self, name: &str, worker: &str) -> Result<(), Error> {
        self.inner.succeed(name, worker).await
    }

    async fn commit(&self, mut commit: Commit) -> Result<Committed, Error> {
        self.keys.thread(commit.thread)?.commit(&mut commit)?;
        self.inner.commit(commit).await
    }

    async fn journal(
        &self,
        thread: ThreadId,
        fence: Fence,
        key: &str,
        mut effect: Effect,
    ) -> Result<Committed, Error> {
        self.keys.thread(thread)?.effect(key, &mut effect)?;
        self.inner.journal(thread, fence, key, effect).await
    }

    async fn signal(&self, thread: ThreadId, mut signal: Signal) -> Result<Signalled, Error> {
        let safe = self.keys.thread(thread)?;
        let asked = match &mut signal {
            Signal::Message(message) => {
                safe.message(message)?;
                None
            }
            Signal::Answer { interrupt, answer, audit: _ } => {
                safe.answer(interrupt, answer)?;
                Some(interrupt.clone())
            }
            Signal::Cancel { .. } => None,
        };
        let mut signalled = self.inner.signal(thread, signal).await?;
        if let (Some(interrupt), Signalled::AlreadyAnswered(answer)) = (asked, &mut signalled) {
            safe.answer_of(&interrupt, answer)?;
        }
        Ok(signalled)
    }

    async fn load(&self, thread: ThreadId) -> Result<Option<Loaded>, Error> {
        self.inner.load(thread).await?.map(|loaded| self.loaded(loaded)).transpose()
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, Error> {
        self.inner.next_wake().await
    }
}

impl<S: Threads + ?Sized> Sealed<S> {
    /// `None` when it is not there, or not any more.
    async fn described(&self, thread: ThreadId) -> Result<Option<Thread>, Error> {
        self.inner.thread(thread).await
    }
}

#[async_trait]
impl<S: Threads + ?Sized> Threads for Sealed<S> {
    async fn create(&self, mut thread: NewThread) -> Result<Created, Error> {
        thread.metadata.shift_remove(COPY_OF);
        Ok(match self.inner.create(thread).await? {
            Created::Existing(existing) => Created::Existing(Box::new(shown(*existing))),
            other @ (Created::New | Created::Foreign) => other,
        })
    }

    async fn thread(&self, thread: ThreadId) -> Result<Option<Thread>, Error> {
        Ok(self.inner.thread(thread).await?.map(shown))
    }

    async fn threads(&self, query: ThreadQuery) -> Result<Vec<Thread>, Error> {
        Ok(self.inner.threads(query).await?.into_iter().map(shown).collect())
    }

    async fn count(&self, query: ThreadQuery) -> Result<u64, Error> {
        self.inner.count(query).await
    }

    async fn describe(
        &self,
        thread: ThreadId,
        mut metadata: Map<String, Value>,
        now: Timestamp,
    ) -> Result<Option<Thread>, Error> {
        metadata.shift_remove(COPY_OF);
        Ok(self.inner.describe(thread, metadata, now).await?.map(shown))
    }

    async fn copy(&self, from: ThreadId, mut to: NewThread) -> Result<bool, Error> {
        let Some(original) = self.described(from).await? else {
            to.metadata.shift_remove(COPY_OF);
            return self.inner.copy(from, to).await;
        };
        let mut origins = vec![from];
        origins.extend(self.keys.origins(from, &original.metadata)?);
        let copy_of = self.keys.copy_of(to.id, &origins)?;
        to.metadata.insert(COPY_OF.to_owned(), copy_of);
        self.inner.copy(from, to).await
    }

    async fn delete(&self, thread: ThreadId) -> Result<bool, Error> {
        self.inner.delete(thread).await
    }

    async fn prune(&self, thread: ThreadId, keep: Keep) -> Result<u64, Error> {
        self.inner.prune(thread, keep).await
    }

    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, Error> {
        self.inner.sweep(now, max).await
    }

    async fn retire(&self, before: Timestamp, max: usize) -> Result<u64, Error> {
        self.inner.retire(before, max).await
    }

    async fn run(&self, run: RunId) -> Result<Option<Run>, Error> {
        self.inner.run(run).await?.map(|run| self.opened(run)).transpose()
    }

    async fn runs(&self, query: RunQuery) -> Result<Vec<Run>, Error> {
        let runs = self.inner.runs(query).await?;
        runs.into_iter().map(|run| self.opened(run)).collect()
    }

    async fn delete_run(&self, run: RunId) -> Result<bool, Error> {
        self.inner.delete_run(run).await
    }

    async fn checkpoints(
        &self,
        thread: ThreadId,
        query: CheckpointQuery,
    ) -> Result<Vec<Found>, Error> {
        self.inner.checkpoints(thread, query).await
    }

    async fn line(&self, thread: ThreadId, at: At, from: From) -> Result<Option<Line>, Error> {
        let Some(mut line) = self.inner.line(thread, at, from).await? else { return Ok(None) };
        let Some(thread) = self.described(thread).await? else { return Ok(None) };
        self.keys.described(&thread)?.line_of(&mut line)?;
        Ok(Some(line))
    }

    async fn progress(&self, thread: ThreadId, at: At) -> Result<Vec<Entry>, Error> {
        let mut entries = self.inner.progress(thread, at).await?;
        let Some(thread) = self.described(thread).await? else { return Ok(Vec::new()) };
        let safe = self.keys.described(&thread)?;
        entries.iter_mut().try_for_each(|entry| safe.entry_of(entry))?;
        Ok(entries)
    }

    /// Copies have none of their originals' events.
    async fn events(
        &self,
        thread: ThreadId,
        run: Option<RunId>,
        after: EventId,
        max: usize,
    ) -> Result<Vec<Told>, Error> {
        let mut told = self.inner.events(thread, run, after, max).await?;
        let safe = self.keys.thread(thread)?;
        told.iter_mut().try_for_each(|told| safe.told_of(told))?;
        Ok(told)
    }

    async fn questions(
        &self,
        thread: Option<ThreadId>,
        max: usize,
    ) -> Result<Vec<Interrupt>, Error> {
        let mut questions = self.inner.questions(thread, max).await?;
        let mut ids: Vec<ThreadId> = questions.iter().map(|question| question.thread).collect();
        ids.dedup();
        if ids.is_empty() {
            return Ok(questions);
        }
        let query = ThreadQuery { max: ids.len(), ids, ..ThreadQuery::default() };
        let found = self.inner.threads(query).await?;
        let found: HashMap<ThreadId, Thread> = found.into_iter().map(|it| (it.id, it)).collect();
        // What has been deleted meanwhile asks nothing any more.
        questions.retain(|question| found.contains_key(&question.thread));
        for question in &mut questions {
            if let Some(thread) = found.get(&question.thread) {
                self.keys.described(thread)?.interrupt_of(question)?;
            }
        }
        Ok(questions)
    }
}

/// Nothing of it is sealed.
#[async_trait]
impl<S: Log + ?Sized> Log for Sealed<S> {
    async fn records(
        &self,
        topic: &str,
        key: Option<&str>,
        after: u64,
        max: usize,
    ) -> Result<Vec<Record>, Error> {
        self.inner.records(topic, key, after, max).await
    }

    async fn tail(
        &self,
        topic: &str,
        before: Option<u64>,
        max: usize,
    ) -> Result<Vec<Record>, Error> {
        self.inner.tail(topic, before, max).await
    }

    async fn audit(&self, after: u64, max: usize) -> Result<Vec<audit::Record>, Error> {
        self.inner.audit(after, max).await
    }
}

/// As people know it.
fn shown(mut thread: Thread) -> Thread {
    thread.metadata.shift_remove(COPY_OF);
    thread
}
