//! Listening to a thread: what happened from the store, what happens from this process, and what another one does by
//! looking again.

use std::collections::VecDeque;
use std::sync::Arc;

use agentry_core::run::Seq;
use agentry_core::thread::{EventId, Run, RunStatus, Told};
use agentry_core::{RunId, ThreadId};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::hub::{Heard, News, is_end};
use super::worker::Shared;
use crate::Error;

/// How many events are read at once.
const PAGE: usize = 256;

/// A reader of a thread's log that goes on when there is more. Dropping it costs nothing.
pub struct Follower {
    shared: Arc<Shared>,
    thread: ThreadId,
    run: Option<RunId>,
    after: EventId,
    /// Everything up to this entry was handed out or waits in `ahead`.
    seen: Option<Seq>,
    ahead: VecDeque<Heard>,
    news: broadcast::Receiver<News>,
}

impl Follower {
    pub(super) fn new(
        shared: Arc<Shared>,
        thread: ThreadId,
        run: Option<RunId>,
        after: EventId,
    ) -> Self {
        let news = shared.hub.listen(thread);
        Self { shared, thread, run, after, seen: None, ahead: VecDeque::new(), news }
    }

    /// Waits for as long as it takes. `None` when the thread is gone.
    pub async fn next(&mut self) -> Result<Option<Heard>, Error> {
        loop {
            if let Some(heard) = self.ahead.pop_front() {
                if let Heard::Stored(told) = &heard {
                    self.after = told.id;
                }
                return Ok(Some(heard));
            }
            let Some(seen) = self.seen else {
                if !self.read().await? {
                    return Ok(None);
                }
                continue;
            };
            self.hear(seen).await;
        }
    }

    /// What is stored by now and was not handed out yet, without waiting.
    pub async fn rest(&mut self) -> Result<Vec<Heard>, Error> {
        let mut all = Vec::new();
        loop {
            all.extend(self.ahead.drain(..));
            if let Some(Heard::Stored(last)) =
                all.iter().rev().find(|heard| matches!(heard, Heard::Stored(_)))
            {
                self.after = last.id;
            }
            self.seen = None;
            self.read().await?;
            if self.ahead.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Reads on from the store. False when there is no such thread.
    async fn read(&mut self) -> Result<bool, Error> {
        let archive = &self.shared.archive;
        let Some(thread) = archive.thread(self.thread).await? else { return Ok(false) };
        let page = archive.events(self.thread, self.run, self.after, PAGE).await?;
        // A full page may not be all.
        self.seen = (page.len() < PAGE).then_some(thread.seq);
        self.ahead.extend(page.into_iter().map(Heard::Stored));
        Ok(true)
    }

    async fn hear(&mut self, seen: Seq) {
        let poll = self.shared.poll;
        match tokio::time::timeout(poll, self.news.recv()).await {
            Ok(Ok(News::Entry(seq, told))) if seq == seen.next() => {
                self.seen = Some(seq);
                let wanted = |told: &&Told| {
                    told.id > self.after && (self.run.is_none() || told.run == self.run)
                };
                let wanted: Vec<_> = told.iter().filter(wanted).cloned().collect();
                self.ahead.extend(wanted.into_iter().map(Heard::Stored));
            }
            Ok(Ok(News::Entry(seq, _))) if seq <= seen => {}
            Ok(Ok(News::Live(heard))) => {
                let wanted = match &*heard {
                    Heard::Live { run, .. } => self.run.is_none_or(|it| it == *run),
                    Heard::Stored(_) => true,
                };
                if wanted {
                    self.ahead.push_back(heard.as_ref().clone());
                }
            }
            // Another process has the thread, or this reader was too slow: the log has it all.
            Ok(Ok(News::Entry(..)) | Err(RecvError::Lagged(_) | RecvError::Closed)) | Err(_) => {
                self.seen = None;
            }
        }
    }
}

/// The run, once nothing more comes of it, unless somebody answers. `None` when it is gone.
pub(super) async fn end_of(shared: &Arc<Shared>, run: RunId) -> Result<Option<Run>, Error> {
    let Some(found) = shared.archive.run(run).await? else { return Ok(None) };
    let mut news = shared.hub.listen_for_ends(found.thread);
    loop {
        let Some(found) = shared.archive.run(run).await? else { return Ok(None) };
        let over = match found.status {
            RunStatus::Pending | RunStatus::Running => false,
            // It was answered and goes on.
            RunStatus::Interrupted
            | RunStatus::Success
            | RunStatus::Error
            | RunStatus::Timeout
            | RunStatus::Cancelled
            | RunStatus::RolledBack => true,
        };
        if over {
            return Ok(Some(found));
        }
        heard_of(&mut news, run, shared).await;
    }
}

/// Waits until the run may be over.
async fn heard_of(news: &mut broadcast::Receiver<News>, run: RunId, shared: &Shared) {
    let of_run = async {
        loop {
            match news.recv().await {
                Ok(News::Entry(_, told)) => {
                    let ends = |told: &Told| {
                        let kind = told.event.kind.as_str();
                        told.run == Some(run) && is_end(kind)
                    };
                    let dismissed = |told: &Told| told.event.kind == "run.ended";
                    if told.iter().any(|told| ends(told) || dismissed(told)) {
                        return;
                    }
                }
                Ok(News::Live(_)) => {}
                Err(RecvError::Lagged(_) | RecvError::Closed) => return,
            }
        }
    };
    // What another process does is only seen by looking.
    drop(tokio::time::timeout(shared.poll, of_run).await);
}
