//! The way between one process and the store, where everything goes wrong that may.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use agentry_backends::memory::MemoryStore;
use agentry_core::run::{Committed, Effect, Fence};
use agentry_core::thread::{Commit, Loaded, NewRun};
use agentry_core::threads::{
    Claim, Claimed, Error, Intake, Signal, Signalled, Submitted, Taken, ThreadStore,
};
use agentry_core::{ThreadId, Timestamp};
use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use crate::dice::Dice;
use crate::history::{History, brief};

/// How often things go wrong, in calls of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    /// The process ends, before the call or after it.
    pub(crate) crash: u64,
    /// Nobody knows whether the call was stored.
    pub(crate) doubt: u64,
    /// It was surely not stored.
    pub(crate) refuse: u64,
    /// It arrives twice.
    pub(crate) twice: u64,
    /// It, or the reply, takes its time.
    pub(crate) slow: u64,
}

impl Rates {
    pub(crate) fn thrown(dice: &mut Dice) -> Self {
        let mut rate = |most: u64| if dice.chance(500) { dice.below(most) } else { 0 };
        Self {
            crash: rate(12),
            doubt: rate(80),
            refuse: rate(120),
            twice: rate(120),
            slow: rate(300),
        }
    }
}

/// The state of one process that the wire obeys.
pub(crate) struct Wire {
    inner: Arc<MemoryStore>,
    name: String,
    history: Arc<History>,
    dice: Mutex<Dice>,
    rates: watch::Receiver<Rates>,
    /// What one process sends arrives in order.
    order: tokio::sync::Mutex<()>,
    pub(crate) paused: watch::Sender<bool>,
    pub(crate) away: watch::Sender<bool>,
    dead: watch::Sender<bool>,
    pub(crate) died: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copies {
    One,
    OneOrTwo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    CrashBefore,
    CrashAfter,
    DoubtBefore,
    DoubtAfter,
    Unavailable,
    Overloaded,
    Twice,
}

impl Wire {
    pub(crate) fn new(
        inner: Arc<MemoryStore>,
        (name, dice): (String, Dice),
        history: Arc<History>,
        rates: watch::Receiver<Rates>,
    ) -> Self {
        Self {
            inner,
            name,
            history,
            dice: Mutex::new(dice),
            rates,
            order: tokio::sync::Mutex::new(()),
            paused: watch::Sender::new(false),
            away: watch::Sender::new(false),
            dead: watch::Sender::new(false),
            died: Notify::new(),
        }
    }

    /// From now on nothing goes through, and nobody hears anything.
    pub(crate) fn cut(&self) {
        self.dead.send_replace(true);
    }

    async fn die(&self, what: &str) -> Infallible {
        self.history.tell(|| format!("{}: dies {what}", self.name));
        self.history.count("crashes in a call");
        self.cut();
        self.died.notify_one();
        std::future::pending().await
    }

    /// Waits while the process stands still, for ever when it has ended.
    async fn breathe(&self) {
        if *self.dead.borrow() {
            std::future::pending::<()>().await;
        }
        let mut paused = self.paused.subscribe();
        drop(paused.wait_for(|paused| !*paused).await);
        if *self.dead.borrow() {
            std::future::pending::<()>().await;
        }
    }

    fn throw(&self) -> (Fate, Duration, Duration) {
        let rates = *self.rates.borrow();
        let mut dice = self.dice.lock().unwrap();
        let either = |dice: &mut Dice, one, other| if dice.chance(500) { one } else { other };
        let fate = if dice.chance(rates.crash) {
            either(&mut dice, Fate::CrashBefore, Fate::CrashAfter)
        } else if dice.chance(rates.doubt) {
            either(&mut dice, Fate::DoubtBefore, Fate::DoubtAfter)
        } else if *self.away.borrow() || dice.chance(rates.refuse) {
            either(&mut dice, Fate::Unavailable, Fate::Overloaded)
        } else if dice.chance(rates.twice) {
            Fate::Twice
        } else {
            Fate::Well
        };
        let mut delay = || if dice.chance(rates.slow) { dice.span(1, 700) } else { Duration::ZERO };
        (fate, delay(), delay())
    }

    /// A call that whoever carries it may carry twice without asking: saying the same again changes nothing.
    async fn write<T, F, Call>(
        &self,
        what: impl Fn() -> String + Send + Sync,
        call: F,
    ) -> Result<T, Error>
    where
        T: Debug + Send,
        F: Fn() -> Call + Send + Sync,
        Call: Future<Output = Result<T, Error>> + Send,
    {
        self.carry(Copies::OneOrTwo, what, call).await
    }

    async fn call<T, F, Call>(
        &self,
        what: impl Fn() -> String + Send + Sync,
        call: F,
    ) -> Result<T, Error>
    where
        T: Debug + Send,
        F: Fn() -> Call + Send + Sync,
        Call: Future<Output = Result<T, Error>> + Send,
    {
        self.carry(Copies::One, what, call).await
    }

    async fn carry<T, F, Call>(
        &self,
        copies: Copies,
        what: impl Fn() -> String + Send + Sync,
        call: F,
    ) -> Result<T, Error>
    where
        T: Debug + Send,
        F: Fn() -> Call + Send + Sync,
        Call: Future<Output = Result<T, Error>> + Send,
    {
        let turn = self.order.lock().await;
        self.breathe().await;
        if self.history.is_endless() {
            std::future::pending::<()>().await;
        }
        let (fate, before, after) = self.throw();
        if !before.is_zero() {
            tokio::time::sleep(before).await;
            self.breathe().await;
        }
        match fate {
            Fate::CrashBefore => match self.die(&format!("before {}", what())).await {},
            Fate::Unavailable => return Err(Error::Unavailable("not now".to_owned())),
            Fate::Overloaded => return Err(Error::Overloaded),
            Fate::DoubtBefore => {
                self.history.tell(|| format!("{}: {} is lost", self.name, what()));
                return Err(Error::Ambiguous("who knows".to_owned()));
            }
            Fate::CrashAfter | Fate::DoubtAfter | Fate::Twice | Fate::Well => {}
        }
        let mut reply = call().await;
        let shown = what();
        if !shown.is_empty() {
            self.history.tell(|| format!("{}: {shown} -> {}", self.name, brief(&reply)));
        }
        if fate == Fate::Twice && copies == Copies::OneOrTwo {
            let second = call().await;
            if self.dice.lock().unwrap().chance(500) {
                reply = second;
            }
        }
        drop(turn);
        match fate {
            Fate::CrashAfter => match self.die(&format!("after {}", what())).await {},
            Fate::DoubtAfter => return Err(Error::Ambiguous("who knows".to_owned())),
            Fate::Well
            | Fate::Twice
            | Fate::CrashBefore
            | Fate::DoubtBefore
            | Fate::Unavailable
            | Fate::Overloaded => {}
        }
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
        self.breathe().await;
        reply
    }
}

#[async_trait]
impl ThreadStore for Wire {
    async fn submit(&self, run: NewRun) -> Result<Submitted, Error> {
        let what = || format!("submit {} to {} {:?}", run.id, run.thread, run.multitask);
        self.write(what, || self.inner.submit(run.clone())).await
    }

    async fn intake(&self, intake: Intake) -> Result<(), Error> {
        self.write(|| "intake".to_owned(), || self.inner.intake(intake.clone())).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, Error> {
        let call = || async {
            let claimed = self.inner.claim(claim.clone()).await;
            for one in claimed.iter().flatten() {
                let thread = &one.loaded.thread;
                self.history.tell(|| {
                    format!(
                        "{}: claims {} at {} ({:?})",
                        self.name, thread.id, thread.seq.0, one.fence
                    )
                });
                self.history.count("claims");
            }
            claimed
        };
        self.call(String::new, call).await
    }

    async fn take(&self, thread: ThreadId, claim: Claim) -> Result<Taken, Error> {
        self.call(|| format!("take {thread}"), || self.inner.take(thread, claim.clone())).await
    }

    async fn renew(
        &self,
        worker: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<(), Error> {
        self.write(String::new, || self.inner.renew(worker, now, lease_until)).await
    }

    async fn mail(&self, worker: &str) -> Result<Vec<ThreadId>, Error> {
        self.call(String::new, || self.inner.mail(worker)).await
    }

    async fn release(&self, worker: &str) -> Result<(), Error> {
        self.write(|| format!("release {worker}"), || self.inner.release(worker)).await
    }

    async fn succeed(&self, name: &str, worker: &str) -> Result<(), Error> {
        self.write(|| format!("succeed {worker}"), || self.inner.succeed(name, worker)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        let call = || async {
            let committed = self.inner.commit(commit.clone()).await?;
            self.history.stored(&commit, &committed);
            if committed == Committed::Fenced {
                self.history.count("fenced");
            }
            Ok(committed)
        };
        let what = || {
            let Commit { thread, entry, next, runs, .. } = &commit;
            let kinds: Vec<_> = commit.events.iter().map(|event| event.kind.as_str()).collect();
            let runs: Vec<_> = runs.iter().map(|it| (it.run, it.status)).collect();
            let opened: Vec<_> = commit.opened.iter().map(|it| it.id.as_str()).collect();
            let asked = if opened.is_empty() && commit.closed.is_empty() {
                String::new()
            } else {
                format!(" asks {opened:?} closes {:?}", commit.closed)
            };
            format!("commit {} of {thread} {next:?} {runs:?}{asked} {kinds:?}", entry.seq.0)
        };
        let committed = self.write(what, call).await?;
        self.history.acknowledged(commit, &committed);
        Ok(committed)
    }

    async fn journal(
        &self,
        thread: ThreadId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Result<Committed, Error> {
        let call = || async {
            let committed = self.inner.journal(thread, fence, key, effect.clone()).await?;
            self.history.journaled((thread, key), &effect, &committed);
            Ok(committed)
        };
        self.write(|| format!("journal {key} of {thread} {}", brief(&effect)), call).await
    }

    async fn signal(&self, thread: ThreadId, signal: Signal) -> Result<Signalled, Error> {
        let what = || format!("signal {thread} {}", brief(&signal));
        self.write(what, || self.inner.signal(thread, signal.clone())).await
    }

    async fn load(&self, thread: ThreadId) -> Result<Option<Loaded>, Error> {
        self.call(String::new, || self.inner.load(thread)).await
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, Error> {
        self.call(String::new, || self.inner.next_wake()).await
    }
}
