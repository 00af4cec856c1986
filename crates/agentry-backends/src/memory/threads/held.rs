//! One thread with all that belongs to it.

use std::collections::{BTreeMap, BTreeSet};

use agentry_core::run::{Answer, Closing, Committed, Effect, Event, Fence, Message, Seq};
use agentry_core::thread::{
    Cancel, Commit, EPHEMERAL_KEPT_FOR, Entry, EventId, Interrupt, Loaded, NewRun, NewThread, Next,
    Pinned, Priority, Rest, Run, RunChange, RunStatus, Snapshot, Status, Thread,
};
use agentry_core::threads::{Error, Signalled, Submitted};
use agentry_core::{RunId, Timestamp};

#[derive(Clone)]
pub(super) struct Held {
    pub thread: Thread,
    pub fence: Fence,
    pub worker: Option<String>,
    /// Since when it has been ready.
    pub since: Timestamp,
    pub priority: Priority,
    pub entries: BTreeMap<Seq, Entry>,
    pub snapshots: BTreeMap<Seq, Snapshot>,
    pub journal: BTreeMap<String, Effect>,
    pub inbox: Vec<Message>,
    pub seen: BTreeSet<String>,
    /// In the order in which they were opened.
    pub interrupts: Vec<(Interrupt, Option<Closing>)>,
    /// In the order of submission.
    pub runs: Vec<Run>,
    pub events: BTreeMap<EventId, (Option<RunId>, Event)>,
    /// Under which fence each entry was stored, to recognise one that comes again.
    commits: BTreeMap<Seq, Fence>,
}

impl Held {
    pub(super) fn new(new: NewThread) -> Self {
        let NewThread { id, tenant, metadata, created, keep_for } = new;
        let thread = Thread {
            id,
            tenant,
            status: Status::Idle,
            seq: Seq(0),
            program: None,
            metadata,
            created,
            updated: created,
            wake_at: None,
            keep_for,
        };
        Self {
            thread,
            fence: Fence(0),
            worker: None,
            since: created,
            priority: Priority::default(),
            entries: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            journal: BTreeMap::new(),
            inbox: Vec::new(),
            seen: BTreeSet::new(),
            interrupts: Vec::new(),
            runs: Vec::new(),
            events: BTreeMap::new(),
            commits: BTreeMap::new(),
        }
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Interrupt> {
        self.interrupts.iter().filter(|(_, closed)| closed.is_none()).map(|(it, _)| it)
    }

    pub(super) fn last_begun(&self) -> Option<RunId> {
        let begun = self.runs.iter().filter(|run| run.base.is_some());
        begun.max_by_key(|run| run.base).map(|run| run.id)
    }

    fn unfinished(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| !run.status.is_over())
    }

    pub(super) fn has_unfinished(&self) -> bool {
        self.unfinished().next().is_some()
    }

    fn running(&self) -> Option<&Run> {
        self.runs.iter().find(|run| run.status == RunStatus::Running)
    }

    fn next_pending(&self) -> Option<&Run> {
        let pending = self.runs.iter().filter(|run| run.status == RunStatus::Pending);
        pending.min_by_key(|run| run.turn())
    }

    /// Whether it makes sense to cancel the run.
    fn can_end(&self, run: &Run) -> bool {
        let waits = run.status == RunStatus::Interrupted && self.last_begun() == Some(run.id);
        waits || !run.status.is_over()
    }

    fn has_cancel(&self) -> bool {
        self.runs.iter().any(|run| run.cancel.is_some() && self.can_end(run))
    }

    fn has_answer(&self) -> bool {
        self.open().any(|interrupt| interrupt.answer.is_some())
    }

    pub(super) fn has_mail(&self) -> bool {
        let next = |run: &Run| run.status == RunStatus::Pending && run.not_before.is_none();
        let next = self.running().is_none() && self.runs.iter().any(next);
        next || self.has_answer() || self.has_cancel() || !self.inbox.is_empty()
    }

    /// Whether a thread that is to rest has something to do at once.
    fn is_wanted(&self, rest: Rest, now: Timestamp) -> bool {
        let due = |run: &Run| {
            let due = run.not_before.is_none_or(|moment| moment <= now);
            run.status == RunStatus::Pending && due
        };
        let listens = match rest {
            Rest::Waiting | Rest::Interrupted => true,
            Rest::Idle | Rest::Failed => false,
        };
        let next = self.running().is_none() && self.runs.iter().any(due);
        let message = listens && !self.inbox.is_empty();
        next || message || self.has_answer() || self.has_cancel()
    }

    /// When the first pending run may begin that may not yet.
    pub(super) fn next_turn(&self) -> Option<Timestamp> {
        let pending = self.runs.iter().filter(|run| run.status == RunStatus::Pending);
        let moments = pending.filter_map(|run| run.not_before);
        moments.min().filter(|_| self.running().is_none())
    }

    pub(super) fn wake(&mut self, at: Timestamp) {
        if self.thread.status != Status::Ready {
            self.thread.status = Status::Ready;
            self.thread.wake_at = None;
            self.since = at;
        }
    }

    /// Whether the holder of `fence` may write.
    pub(super) fn holds(&self, fence: Fence) -> bool {
        self.fence == fence && self.worker.is_some()
    }

    pub(super) fn applied(&self, ready_again: bool) -> Committed {
        let inbox = ready_again || !self.inbox.is_empty() || self.has_answer();
        Committed::Applied { cancel: self.has_cancel(), inbox }
    }

    /// What follows from the runs that there are.
    fn follow_runs(&mut self) {
        let leader = self.running().or_else(|| self.next_pending());
        if let Some(program) = leader.map(|run| run.program.clone()) {
            self.thread.program = Some(program);
        }
        if let Some(priority) = self.unfinished().map(|run| run.priority).max() {
            self.priority = priority;
        }
    }

    /// `None` when the run may be added.
    pub(super) fn turns_away(&self, new: &NewRun) -> Option<Submitted> {
        for (id, answer) in &new.answers {
            let interrupt = id.clone();
            match self.answerable(id, answer) {
                Signalled::Accepted => {}
                Signalled::AlreadyAnswered(answer) => {
                    return Some(Submitted::AlreadyAnswered { interrupt, answer });
                }
                Signalled::Duplicate
                | Signalled::NotFound
                | Signalled::Expired
                | Signalled::Finished(_) => return Some(Submitted::NoInterrupt { interrupt }),
            }
        }
        if new.multitask != agentry_core::thread::Multitask::Reject {
            return None;
        }
        let active = self.running().or_else(|| self.next_pending())?;
        Some(Submitted::Busy { active: active.id })
    }

    pub(super) fn add(&mut self, new: NewRun, ephemeral: bool) {
        let mut marked = false;
        if let Some(cancel) = Cancel::by(&new) {
            let open = self.runs.iter_mut().filter(|run| !run.status.is_over());
            for run in open {
                if run.cancel.as_ref().is_none_or(|earlier| cancel.outdoes(earlier)) {
                    run.cancel = Some(cancel.clone());
                    marked = true;
                }
            }
        }
        for (id, answer) in &new.answers {
            self.take_answer(id, answer);
        }
        let now = new.created;
        let due = new.not_before.is_none_or(|moment| moment <= now);
        let urgent = marked || !new.answers.is_empty();
        self.thread.updated = now;
        self.runs.push(run(new, ephemeral));
        self.follow_runs();
        if urgent || (due && self.running().is_none()) {
            self.wake(now);
        } else if self.thread.status != Status::Ready {
            self.thread.wake_at = self.thread.wake_at.into_iter().chain(self.next_turn()).min();
        }
    }

    pub(super) fn receive(&mut self, message: Message) -> Signalled {
        if !self.seen.insert(message.id.clone()) {
            return Signalled::Duplicate;
        }
        let at = message.at;
        self.inbox.push(message);
        match self.thread.status {
            Status::Waiting | Status::Interrupted => self.wake(at),
            Status::Idle | Status::Ready | Status::Failed => {}
        }
        Signalled::Accepted
    }

    fn answerable(&self, id: &str, answer: &Answer) -> Signalled {
        let known = self.interrupts.iter().find(|(it, _)| it.id == id && it.question.is_some());
        let Some((interrupt, closed)) = known else { return Signalled::NotFound };
        if let Some(first) = &interrupt.answer {
            return Signalled::AlreadyAnswered(first.clone());
        }
        match closed {
            Some(Closing::Expired) => Signalled::Expired,
            Some(Closing::Answered | Closing::Replaced | Closing::Withdrawn) => {
                let asked = self.runs.iter().find(|run| run.id == interrupt.run);
                let over = asked.map(|run| run.status);
                let over = over.filter(|it| it.is_over() && *it != RunStatus::Interrupted);
                over.map_or(Signalled::NotFound, Signalled::Finished)
            }
            None if interrupt.deadline.is_some_and(|deadline| deadline <= answer.at) => {
                Signalled::Expired
            }
            None => Signalled::Accepted,
        }
    }

    fn take_answer(&mut self, id: &str, answer: &Answer) {
        for (interrupt, closed) in &mut self.interrupts {
            if interrupt.id == id && closed.is_none() {
                interrupt.answer = Some(answer.clone());
            }
        }
    }

    pub(super) fn answer(&mut self, id: &str, answer: &Answer) -> Signalled {
        let signalled = self.answerable(id, answer);
        if signalled == Signalled::Accepted {
            self.take_answer(id, answer);
            self.wake(answer.at);
        }
        signalled
    }

    pub(super) fn cancel(&mut self, id: RunId, cancel: Cancel) -> Signalled {
        let Some(index) = self.runs.iter().position(|run| run.id == id) else {
            return Signalled::NotFound;
        };
        let possible = self.runs.get(index).is_some_and(|run| self.can_end(run));
        let Some(run) = self.runs.get_mut(index) else { return Signalled::NotFound };
        if !possible {
            return Signalled::Finished(run.status);
        }
        if run.cancel.as_ref().is_some_and(|earlier| !cancel.outdoes(earlier)) {
            return Signalled::Duplicate;
        }
        let at = cancel.at;
        run.cancel = Some(cancel);
        self.wake(at);
        Signalled::Accepted
    }

    /// Refuses what the thread does not allow any more; `None` when the commit may be applied.
    pub(super) fn refuses(&self, commit: &Commit) -> Result<Option<Committed>, Error> {
        let seq = commit.entry.seq;
        if self.commits.get(&seq) == Some(&commit.fence) {
            return Ok(Some(Committed::Duplicate));
        }
        if !self.holds(commit.fence) {
            return Ok(Some(Committed::Fenced));
        }
        let answered = |id: &String| self.open().any(|it| it.id == *id && it.answer.is_some());
        let stale = commit.closed.iter().any(|(id, closing)| match closing {
            Closing::Expired | Closing::Replaced => answered(id),
            Closing::Answered | Closing::Withdrawn => false,
        });
        let stale = stale || commit.postponed.iter().any(|(id, _)| answered(id));
        if stale || seq != self.thread.seq.next() {
            return Ok(Some(Committed::Stale));
        }
        let parent = commit.entry.parent;
        if parent != Seq(0) && !self.entries.contains_key(&parent) {
            return Err(Error::Refused(format!("the thread has no entry {}", parent.0)));
        }
        let foreign = |change: &&RunChange| !self.runs.iter().any(|run| run.id == change.run);
        match commit.runs.iter().find(foreign) {
            None => Ok(None),
            Some(change) => Err(Error::Refused(format!("the thread has no run {}", change.run))),
        }
    }

    /// The commit was not refused.
    pub(super) fn apply(&mut self, commit: Commit) -> Committed {
        let Commit { entry, next, runs, opened, closed, postponed, .. } = commit;
        let (seq, at) = (entry.seq, entry.at);
        for (index, event) in (0..).zip(commit.events) {
            self.events.insert(EventId { seq, index }, (entry.run, event));
        }
        self.commits.insert(seq, commit.fence);
        self.entries.insert(seq, entry);
        if let Some(snapshot) = commit.snapshot {
            self.snapshots.insert(snapshot.seq, snapshot);
        }
        self.thread.seq = seq;
        self.thread.updated = at;
        for RunChange { run: id, status, base, reason } in runs {
            for run in self.runs.iter_mut().filter(|run| run.id == id) {
                run.status = status;
                run.base = base.or(run.base);
                run.reason.clone_from(&reason);
                run.updated = at;
            }
        }
        for (id, closing) in closed {
            for (interrupt, closed) in &mut self.interrupts {
                if interrupt.id == id && closed.is_none() {
                    *closed = Some(closing);
                }
            }
        }
        for (id, deadline) in postponed {
            for (interrupt, _) in self.interrupts.iter_mut().filter(|(_, closed)| closed.is_none())
            {
                if interrupt.id == id {
                    interrupt.deadline = deadline;
                    interrupt.escalations += 1;
                }
            }
        }
        for interrupt in opened {
            self.interrupts.retain(|(earlier, _)| earlier.id != interrupt.id);
            self.interrupts.push((interrupt, None));
        }
        self.inbox.retain(|message| !commit.consumed.contains(&message.id));
        self.journal.retain(|key, _| !commit.forgotten.contains(key));
        if let Some(program) = commit.program {
            self.move_to(program);
        }
        self.follow_runs();
        let ready_again = self.go_on(next, at);
        self.applied(ready_again)
    }

    fn move_to(&mut self, program: Pinned) {
        let goes_on =
            |run: &&mut Run| !run.status.is_over() || run.status == RunStatus::Interrupted;
        for run in self.runs.iter_mut().filter(goes_on) {
            run.program = program.clone();
        }
        self.thread.program = Some(program);
    }

    /// Whether the thread was to rest and is ready.
    fn go_on(&mut self, next: Next, at: Timestamp) -> bool {
        let Next::Rest { status, wake_at } = next else {
            return false;
        };
        self.worker = None;
        let over = self.runs.iter().all(|run| !self.can_end(run));
        if over && self.runs.iter().any(|run| run.ephemeral) {
            self.thread.keep_for = Some(EPHEMERAL_KEPT_FOR);
        }
        let wanted = self.is_wanted(status, at);
        if wanted {
            self.thread.status = Status::Ready;
            self.thread.wake_at = None;
            self.since = at;
            return true;
        }
        self.thread.status = match status {
            Rest::Idle => Status::Idle,
            Rest::Waiting => Status::Waiting,
            Rest::Interrupted => Status::Interrupted,
            Rest::Failed => Status::Failed,
        };
        self.thread.wake_at = wake_at.into_iter().chain(self.next_turn()).min();
        false
    }

    pub(super) fn journal(&mut self, fence: Fence, key: &str, effect: Effect) -> Committed {
        if !self.holds(fence) {
            return Committed::Fenced;
        }
        match (self.journal.get(key), &effect) {
            (Some(_), Effect::Intended) => return Committed::Stale,
            (Some(Effect::Done { .. }), Effect::Done { .. }) => return Committed::Duplicate,
            (None, Effect::Intended) | (None | Some(Effect::Intended), Effect::Done { .. }) => {}
        }
        self.journal.insert(key.to_owned(), effect);
        self.applied(false)
    }

    pub(super) fn loaded(&self) -> Loaded {
        let last = self.last_begun();
        let runs = self.runs.iter();
        let runs = runs.filter(|run| !run.status.is_over() || Some(run.id) == last);
        Loaded {
            thread: self.thread.clone(),
            line: self.line(self.head(), agentry_core::threads::From::Snapshot),
            journal: self.journal.clone(),
            inbox: self.inbox.clone(),
            interrupts: self.open().cloned().collect(),
            runs: runs.cloned().collect(),
        }
    }
}

fn run(new: NewRun, ephemeral: bool) -> Run {
    let NewRun { id, thread, tenant, key, program, input, answers: _, multitask, .. } = new;
    Run {
        id,
        thread,
        tenant,
        key,
        program,
        status: RunStatus::Pending,
        input,
        multitask,
        priority: new.priority,
        metadata: new.metadata,
        created: new.created,
        updated: new.created,
        not_before: new.not_before,
        deadline: new.deadline,
        base: None,
        cancel: None,
        reason: None,
        ephemeral,
    }
}
