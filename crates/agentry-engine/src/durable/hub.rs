//! What happens in this process, for whoever is in this process: hints to drives, and what listeners hear at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentry_core::run::Seq;
use agentry_core::thread::{Commit, EventId, Told};
use agentry_core::{RunId, ThreadId};
use serde_json::Value;
use tokio::sync::{Notify, broadcast, watch};

/// How much a listener may be behind before it reads the log again.
const BEHIND_MAX: usize = 256;

/// What a listener is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// It is in the log.
    Stored(Told),
    /// A running node says it now; what it has said is stored when it is done.
    Live {
        run: RunId,
        ns: String,
        node: String,
        /// One number for each attempt at each task.
        attempt: u64,
        /// What that attempt says first has 0; where one is missing, something was not heard.
        number: usize,
        kind: String,
        detail: Value,
    },
}

#[derive(Debug, Clone)]
pub(super) enum News {
    /// An entry was stored, with these events.
    Entry(Seq, Arc<Vec<Told>>),
    Live(Arc<Heard>),
}

pub(super) struct Hub {
    /// There may be something to claim.
    pub work: Notify,
    /// The clock may have moved.
    pub ticks: watch::Sender<u64>,
    drives: Mutex<HashMap<ThreadId, Arc<Notify>>>,
    /// Who hears everything, and who hears only of commits that end a run or let it rest.
    listeners: Audience,
    waiting: Audience,
}

/// Who listens to which thread.
#[derive(Default)]
struct Audience(Mutex<HashMap<ThreadId, broadcast::Sender<News>>>);

impl Hub {
    pub(super) fn new() -> Self {
        Self {
            work: Notify::new(),
            ticks: watch::Sender::new(0),
            drives: Mutex::default(),
            listeners: Audience::default(),
            waiting: Audience::default(),
        }
    }

    fn drives(&self) -> MutexGuard<'_, HashMap<ThreadId, Arc<Notify>>> {
        self.drives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has come for the thread: whoever drives it looks, else the worker does.
    pub(super) fn came_for(&self, thread: ThreadId) {
        match self.drives().get(&thread) {
            Some(mail) => mail.notify_one(),
            None => self.work.notify_one(),
        }
    }

    pub(super) fn deliver(&self, thread: ThreadId) {
        if let Some(mail) = self.drives().get(&thread) {
            mail.notify_one();
        }
    }

    pub(super) fn drives_now(&self, thread: ThreadId, mail: Arc<Notify>) {
        self.drives().insert(thread, mail);
    }

    /// `mail` is that of the drive that has ended: a later one may have begun.
    pub(super) fn drives_no_more(&self, thread: ThreadId, mail: &Arc<Notify>) {
        let mut drives = self.drives();
        if drives.get(&thread).is_some_and(|of| Arc::ptr_eq(of, mail)) {
            drives.remove(&thread);
        }
    }

    /// A commit was stored.
    pub(super) fn stored(&self, commit: &Commit) {
        let told = || {
            let (seq, run) = (commit.entry.seq, commit.entry.run);
            let told = commit.events.iter().zip(0..).map(|(event, index)| Told {
                id: EventId { seq, index },
                run,
                event: event.clone(),
            });
            News::Entry(seq, Arc::new(told.collect()))
        };
        self.listeners.tell(commit.thread, told);
        // Whoever waits for an end is not woken by each step on the way there.
        if commit.events.iter().any(|event| is_end(&event.kind)) {
            self.waiting.tell(commit.thread, told);
        }
    }

    pub(super) fn listen(&self, thread: ThreadId) -> broadcast::Receiver<News> {
        self.listeners.join(thread)
    }

    /// Hears of every commit in which a run ends or comes to rest, and of no other.
    pub(super) fn listen_for_ends(&self, thread: ThreadId) -> broadcast::Receiver<News> {
        self.waiting.join(thread)
    }

    pub(super) fn tell(&self, thread: ThreadId, news: impl FnOnce() -> News) {
        self.listeners.tell(thread, news);
    }
}

/// Whether an event of this kind says that a run has ended, or goes on only when something comes for it.
pub(super) fn is_end(kind: &str) -> bool {
    matches!(kind, "run.ended" | "run.rests")
}

impl Audience {
    fn lock(&self) -> MutexGuard<'_, HashMap<ThreadId, broadcast::Sender<News>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, thread: ThreadId) -> broadcast::Receiver<News> {
        let mut all = self.lock();
        all.retain(|_, sender| sender.receiver_count() > 0);
        let sender = all.entry(thread).or_insert_with(|| broadcast::Sender::new(BEHIND_MAX));
        sender.subscribe()
    }

    fn tell(&self, thread: ThreadId, news: impl FnOnce() -> News) {
        let all = self.lock();
        let Some(sender) = all.get(&thread).filter(|it| it.receiver_count() > 0) else {
            return;
        };
        // Nobody may be left by now: then it is in the log.
        drop(sender.send(news()));
    }
}
