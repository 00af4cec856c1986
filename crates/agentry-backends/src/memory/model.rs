//! What the commands of a store mean, without any storage.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agentry_core::run::{
    Answer, Closing, Committed, Effect, Event, Fence, Interrupt, Loaded, Message, NewRun, Next,
    RunCommit, RunRow, Seq, Status, Values,
};
use agentry_core::store::{
    Claim, Claimed, Error, Intake, RunQuery, Signal, Signalled, Stored, Submitted,
};
use agentry_core::{RunId, Timestamp};
use serde_json::Value;

use super::chronicle::Chronicle;

#[derive(Default)]
pub(super) struct Model {
    runs: BTreeMap<RunId, Run>,
    keys: HashMap<String, RunId>,
    leases: HashMap<String, Timestamp>,
    events: u64,
}

struct Run {
    row: RunRow,
    values: Values,
    cursor: Option<Value>,
    fence: Fence,
    worker: Option<String>,
    cancel: Option<String>,
    journal: BTreeMap<String, Effect>,
    inbox: Vec<Message>,
    seen: BTreeSet<String>,
    interrupts: Vec<(Interrupt, Option<Closing>)>,
    events: Vec<(u64, Event)>,
    /// The fence of each commit, to recognise one that comes again.
    commits: Vec<Fence>,
}

impl Run {
    fn new(new: NewRun) -> Self {
        let NewRun { id, key, graph, version, input, created, deadline } = new;
        let row = RunRow {
            id,
            key,
            graph,
            version,
            status: Status::Ready,
            seq: Seq(0),
            created,
            updated: created,
            deadline,
            wake_at: None,
            reason: None,
        };
        Self {
            row,
            values: input,
            cursor: None,
            fence: Fence(0),
            worker: None,
            cancel: None,
            journal: BTreeMap::new(),
            inbox: Vec::new(),
            seen: BTreeSet::new(),
            interrupts: Vec::new(),
            events: Vec::new(),
            commits: Vec::new(),
        }
    }

    fn open(&self) -> impl Iterator<Item = &Interrupt> {
        self.interrupts.iter().filter(|(_, closed)| closed.is_none()).map(|(it, _)| it)
    }

    fn has_mail(&self) -> bool {
        !self.inbox.is_empty() || self.open().any(|interrupt| interrupt.answer.is_some())
    }

    fn applied(&self) -> Committed {
        Committed::Applied { cancel: self.cancel.is_some(), inbox: self.has_mail() }
    }

    fn wake(&mut self) {
        if self.row.status == Status::Parked {
            self.row.status = Status::Ready;
            self.row.wake_at = None;
        }
    }

    /// Whether the holder of `fence` may write.
    fn holds(&self, fence: Fence) -> bool {
        self.fence == fence && self.worker.is_some()
    }

    fn receive(&mut self, message: Message) -> Signalled {
        if !self.seen.insert(message.id.clone()) {
            return Signalled::Duplicate;
        }
        self.inbox.push(message);
        self.wake();
        Signalled::Accepted
    }

    fn answer(&mut self, id: &str, answer: &Answer) -> Signalled {
        let Some((interrupt, closed)) =
            self.interrupts.iter_mut().find(|(it, _)| it.id == id && it.question.is_some())
        else {
            return Signalled::NotFound;
        };
        if let Some(first) = &interrupt.answer {
            return Signalled::AlreadyAnswered(first.clone());
        }
        match closed {
            Some(Closing::Expired) => return Signalled::Expired,
            Some(Closing::Answered | Closing::Replaced | Closing::Withdrawn) => {
                let status = self.row.status;
                let over = status.is_final();
                return if over { Signalled::Finished(status) } else { Signalled::NotFound };
            }
            None => {}
        }
        if interrupt.deadline.is_some_and(|deadline| deadline <= answer.at) {
            return Signalled::Expired;
        }
        interrupt.answer = Some(answer.clone());
        self.wake();
        Signalled::Accepted
    }

    /// Refuses what the run's state does not allow any more; `None` when the commit may be applied.
    fn refuses(&self, commit: &RunCommit) -> Option<Committed> {
        let index = usize::try_from(commit.seq.0).ok().and_then(|seq| seq.checked_sub(1));
        let stored = index.and_then(|index| self.commits.get(index));
        if stored == Some(&commit.fence) {
            return Some(Committed::Duplicate);
        }
        if !self.holds(commit.fence) {
            return Some(Committed::Fenced);
        }
        let stale = commit.closed.iter().any(|(id, closing)| {
            let answered = self.open().any(|it| &it.id == id && it.answer.is_some());
            match closing {
                Closing::Expired | Closing::Replaced => answered,
                Closing::Answered | Closing::Withdrawn => false,
            }
        });
        (stale || commit.seq != self.row.seq.next()).then_some(Committed::Stale)
    }

    fn close(&mut self, id: &str, closing: Closing) {
        for (interrupt, closed) in &mut self.interrupts {
            if interrupt.id == id && closed.is_none() {
                *closed = Some(closing);
            }
        }
    }

    fn go_on(&mut self, next: Next) {
        let (status, reason) = match next {
            Next::Running => return,
            Next::Parked { wake_at } => {
                let wanted = self.has_mail() || self.cancel.is_some();
                self.row.status = if wanted { Status::Ready } else { Status::Parked };
                self.row.wake_at = wake_at.filter(|_| !wanted);
                self.worker = None;
                return;
            }
            Next::Succeeded => (Status::Succeeded, None),
            Next::Failed { reason } => (Status::Failed, Some(reason)),
            Next::Cancelled { reason } => (Status::Cancelled, Some(reason)),
        };
        self.row.status = status;
        self.row.reason = reason;
        self.row.wake_at = None;
        self.worker = None;
        for (_, closed) in &mut self.interrupts {
            closed.get_or_insert(Closing::Withdrawn);
        }
    }

    fn loaded(&self) -> Loaded {
        Loaded {
            row: self.row.clone(),
            values: self.values.clone(),
            cursor: self.cursor.clone(),
            journal: self.journal.clone(),
            inbox: self.inbox.clone(),
            interrupts: self.open().cloned().collect(),
            cancel: self.cancel.clone(),
        }
    }
}

fn no_such_run(run: RunId) -> Error {
    Error::Refused(format!("there is no run {run}"))
}

impl Model {
    pub(super) fn submit(&mut self, run: NewRun) -> Submitted {
        if let Some(id) = self.keys.get(&run.key) {
            return Submitted::Existing(*id);
        }
        let id = run.id;
        self.keys.insert(run.key.clone(), id);
        self.runs.insert(id, Run::new(run));
        Submitted::Created(id)
    }

    pub(super) fn intake(&mut self, intake: Intake, log: &mut Chronicle) -> Result<(), Error> {
        let Intake { records, submit, messages, audit } = intake;
        let mut same = HashMap::new();
        for run in &submit {
            same.insert(run.id, self.keys.get(&run.key).copied().unwrap_or(run.id));
        }
        for (run, _) in &messages {
            if !same.contains_key(run) && !self.runs.contains_key(run) {
                return Err(no_such_run(*run));
            }
        }
        let links = log.link(&audit)?;
        for run in submit {
            let id = run.id;
            let (Submitted::Created(kept) | Submitted::Existing(kept)) = self.submit(run);
            same.insert(id, kept);
        }
        for (run, message) in messages {
            let run = same.get(&run).copied().unwrap_or(run);
            if let Some(run) = self.runs.get_mut(&run) {
                run.receive(message);
            }
        }
        for new in records {
            log.record(new);
        }
        log.extend(links);
        Ok(())
    }

    pub(super) fn claim(&mut self, claim: &Claim) -> Vec<Claimed> {
        let leases = &self.leases;
        let over = |worker: &String| {
            *worker != claim.worker && leases.get(worker).is_none_or(|until| *until <= claim.now)
        };
        let mut found: Vec<_> = self
            .runs
            .values()
            .filter(|run| match run.row.status {
                Status::Ready => run.worker.as_ref().is_none_or(over),
                Status::Parked => run.row.wake_at.is_some_and(|moment| moment <= claim.now),
                Status::Succeeded | Status::Failed | Status::Cancelled => false,
            })
            .filter(|run| {
                let program = (run.row.graph.clone(), run.row.version.clone());
                claim.graphs.contains(&program)
            })
            .map(|run| (run.row.updated, run.row.id))
            .collect();
        found.sort_unstable();
        let mut claimed = Vec::new();
        for (_, id) in found.into_iter().take(claim.runs_max) {
            let Some(run) = self.runs.get_mut(&id) else { continue };
            run.wake();
            run.fence.0 += 1;
            run.worker = Some(claim.worker.clone());
            claimed.push(Claimed { fence: run.fence, loaded: run.loaded() });
        }
        if !claimed.is_empty() {
            self.renew(&claim.worker, claim.lease_until);
        }
        claimed
    }

    pub(super) fn renew(&mut self, worker: &str, lease_until: Timestamp) {
        self.leases.insert(worker.to_owned(), lease_until);
    }

    pub(super) fn mail(&self, worker: &str) -> Vec<RunId> {
        let held = self.runs.values().filter(|run| run.worker.as_deref() == Some(worker));
        let held = held.filter(|run| run.has_mail() || run.cancel.is_some());
        held.map(|run| run.row.id).collect()
    }

    pub(super) fn release(&mut self, worker: &str) {
        self.leases.remove(worker);
        for run in self.runs.values_mut() {
            if run.worker.as_deref() == Some(worker) {
                run.worker = None;
            }
        }
    }

    pub(super) fn commit(
        &mut self,
        commit: RunCommit,
        log: &mut Chronicle,
    ) -> Result<Committed, Error> {
        let links = log.link(&commit.audit)?;
        let run = self.runs.get_mut(&commit.run).ok_or_else(|| no_such_run(commit.run))?;
        if let Some(refused) = run.refuses(&commit) {
            return Ok(refused);
        }
        for (channel, delta) in commit.deltas {
            delta.apply(&mut run.values, channel);
        }
        run.cursor = Some(commit.cursor);
        run.row.seq = commit.seq;
        run.row.updated = commit.at;
        run.commits.push(commit.fence);
        for (id, closing) in commit.closed {
            run.close(&id, closing);
        }
        run.interrupts.extend(commit.opened.into_iter().map(|opened| (opened, None)));
        run.inbox.retain(|message| !commit.consumed.contains(&message.id));
        for event in commit.events {
            self.events += 1;
            run.events.push((self.events, event));
        }
        let applied = run.applied();
        run.go_on(commit.next);
        log.extend(links);
        Ok(applied)
    }

    pub(super) fn journal(
        &mut self,
        run: RunId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Result<Committed, Error> {
        let run = self.runs.get_mut(&run).ok_or_else(|| no_such_run(run))?;
        if !run.holds(fence) {
            return Ok(Committed::Fenced);
        }
        match (run.journal.get(key), &effect) {
            (Some(_), Effect::Intended) => return Ok(Committed::Stale),
            (Some(Effect::Done { .. }), Effect::Done { .. }) => return Ok(Committed::Duplicate),
            (None, Effect::Intended) | (None | Some(Effect::Intended), Effect::Done { .. }) => {}
        }
        run.journal.insert(key.to_owned(), effect);
        Ok(run.applied())
    }

    pub(super) fn signal(
        &mut self,
        run: RunId,
        signal: Signal,
        log: &mut Chronicle,
    ) -> Result<Signalled, Error> {
        let (links, signal) = match signal {
            Signal::Message(_) => (Vec::new(), signal),
            Signal::Answer { interrupt, answer, audit } => {
                let links = log.link(&audit)?;
                (links, Signal::Answer { interrupt, answer, audit: Vec::new() })
            }
            Signal::Cancel { reason, audit } => {
                (log.link(&audit)?, Signal::Cancel { reason, audit: Vec::new() })
            }
        };
        let Some(run) = self.runs.get_mut(&run) else { return Ok(Signalled::NotFound) };
        let status = run.row.status;
        let signalled = match signal {
            Signal::Answer { interrupt, answer, .. } => run.answer(&interrupt, &answer),
            Signal::Message(message) if run.seen.contains(&message.id) => Signalled::Duplicate,
            Signal::Message(_) | Signal::Cancel { .. } if status.is_final() => {
                Signalled::Finished(status)
            }
            Signal::Message(message) => run.receive(message),
            Signal::Cancel { .. } if run.cancel.is_some() => Signalled::Duplicate,
            Signal::Cancel { reason, .. } => {
                run.cancel = Some(reason);
                run.wake();
                Signalled::Accepted
            }
        };
        if signalled == Signalled::Accepted {
            log.extend(links);
        }
        Ok(signalled)
    }

    pub(super) fn load(&self, run: RunId) -> Option<Loaded> {
        self.runs.get(&run).map(Run::loaded)
    }

    pub(super) fn runs(&self, query: &RunQuery) -> Vec<RunRow> {
        let RunQuery { graph, status, before, runs_max } = query;
        self.runs
            .values()
            .rev()
            .map(|run| &run.row)
            .filter(|row| graph.as_ref().is_none_or(|graph| *graph == row.graph))
            .filter(|row| status.is_none_or(|status| status == row.status))
            .filter(|row| before.is_none_or(|before| row.id < before))
            .take(*runs_max)
            .cloned()
            .collect()
    }

    pub(super) fn questions(&self, max: usize) -> Vec<Interrupt> {
        let open = self.runs.values().flat_map(Run::open);
        let mut found: Vec<_> =
            open.filter(|it| it.question.is_some() && it.answer.is_none()).cloned().collect();
        found.sort_by(|a, b| (a.opened, a.run, &a.id).cmp(&(b.opened, b.run, &b.id)));
        found.truncate(max);
        found
    }

    pub(super) fn events(&self, run: RunId, after: u64, max: usize) -> Vec<Stored<Event>> {
        let events = self.runs.get(&run).into_iter().flat_map(|run| &run.events);
        let events = events.filter(|(offset, _)| *offset > after).take(max);
        events.map(|(offset, event)| Stored { offset: *offset, item: event.clone() }).collect()
    }

    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        let parked = self.runs.values().filter(|run| run.row.status == Status::Parked);
        parked.filter_map(|run| run.row.wake_at).min()
    }
}
