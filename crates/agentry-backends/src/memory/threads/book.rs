//! All threads, and what the commands on them mean.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agentry_core::run::{Committed, Effect, Fence};
use agentry_core::thread::{Absent, Commit, Interrupt, NewRun, NewThread, Run, Status, Thread};
use agentry_core::threads::{
    Claim, Claimed, Created, Error, Intake, LIFE, Order, RunQuery, Signal, Signalled, Submitted,
    Taken, ThreadQuery,
};
use agentry_core::{RunId, ThreadId, Timestamp};
use serde_json::{Map, Value};

use super::held::Held;
use crate::memory::chronicle::Chronicle;

#[derive(Default)]
pub(in crate::memory) struct Book {
    pub(super) threads: BTreeMap<ThreadId, Held>,
    /// Which thread a run is on.
    index: BTreeMap<RunId, ThreadId>,
    /// By tenant and key.
    keys: HashMap<(String, String), RunId>,
    leases: HashMap<String, Timestamp>,
    /// When each tenant was last served, as the number of a claim.
    served: HashMap<String, u64>,
    claims: u64,
}

impl Book {
    pub(super) fn run(&self, id: RunId) -> Option<&Run> {
        let held = self.threads.get(self.index.get(&id)?)?;
        held.runs.iter().find(|run| run.id == id)
    }

    pub(super) fn submit(&mut self, new: NewRun) -> Submitted {
        let key = new.key.clone().map(|key| (new.tenant.clone(), key));
        if let Some(id) = key.as_ref().and_then(|key| self.keys.get(key)) {
            return Submitted::Existing(*id);
        }
        if let Some(run) = self.run(new.id) {
            let same = run.tenant == new.tenant;
            return if same { Submitted::Existing(new.id) } else { Submitted::Foreign };
        }
        let missing = !self.threads.contains_key(&new.thread);
        if missing && new.absent == Absent::Refuse {
            return Submitted::NoThread;
        }
        let mut made = missing.then(|| Held::new(thread_for(&new)));
        let Some(held) = self.threads.get_mut(&new.thread).or(made.as_mut()) else {
            return Submitted::NoThread;
        };
        if held.thread.tenant != new.tenant {
            return Submitted::Foreign;
        }
        if let Some(turned_away) = held.turns_away(&new) {
            return turned_away;
        }
        let (id, thread, absent) = (new.id, new.thread, new.absent);
        held.add(new, missing && absent == Absent::CreateForRun);
        if let Some(made) = made {
            self.threads.insert(thread, made);
        }
        self.index.insert(id, thread);
        if let Some(key) = key {
            self.keys.insert(key, id);
        }
        Submitted::Created(id)
    }

    pub(super) fn intake(&mut self, intake: Intake, log: &mut Chronicle) -> Result<(), Error> {
        let Intake { records, submit, messages, audit } = intake;
        let links = log.link(&audit)?;
        let mut before = Before::default();
        let taken = self.take_in(submit, messages, &mut before);
        if taken.is_err() {
            self.restore(before);
            return taken;
        }
        for new in records {
            log.record(new);
        }
        log.extend(links);
        Ok(())
    }

    fn take_in(
        &mut self,
        submit: Vec<NewRun>,
        messages: Vec<(ThreadId, agentry_core::run::Message)>,
        before: &mut Before,
    ) -> Result<(), Error> {
        let mut same = HashMap::new();
        for run in submit {
            let (id, thread) = (run.id, run.thread);
            let key = run.key.clone().map(|key| (run.tenant.clone(), key));
            before.threads.entry(thread).or_insert_with(|| self.threads.get(&thread).cloned());
            match self.submit(run) {
                Submitted::Created(_) => before.made.push((id, key)),
                Submitted::Existing(existing) => {
                    let of_key = self.index.get(&existing).copied().unwrap_or(thread);
                    same.insert(thread, of_key);
                }
                refused @ (Submitted::Busy { .. }
                | Submitted::NoThread
                | Submitted::Foreign
                | Submitted::AlreadyAnswered { .. }
                | Submitted::NoInterrupt { .. }) => {
                    return Err(Error::Refused(format!("run {id}: {refused:?}")));
                }
            }
        }
        for (thread, message) in messages {
            let thread = same.get(&thread).copied().unwrap_or(thread);
            before.threads.entry(thread).or_insert_with(|| self.threads.get(&thread).cloned());
            let Some(held) = self.threads.get_mut(&thread) else {
                return Err(Error::Refused(format!("there is no thread {thread}")));
            };
            held.receive(message);
        }
        Ok(())
    }

    fn restore(&mut self, before: Before) {
        for (id, held) in before.threads {
            match held {
                Some(held) => drop(self.threads.insert(id, held)),
                None => drop(self.threads.remove(&id)),
            }
        }
        for (run, key) in before.made {
            self.index.remove(&run);
            if let Some(key) = key {
                self.keys.remove(&key);
            }
        }
    }

    /// Whether `worker` has lost what it had.
    fn is_over(&self, worker: &str, now: Timestamp) -> bool {
        self.leases.get(worker).is_none_or(|until| *until <= now)
    }

    pub(super) fn claim(&mut self, claim: &Claim) -> Vec<Claimed> {
        let mut found = Vec::new();
        for held in self.threads.values() {
            let since = match held.thread.status {
                Status::Ready => Some(held.since),
                Status::Idle | Status::Waiting | Status::Interrupted | Status::Failed => {
                    held.thread.wake_at.filter(|moment| *moment <= claim.now)
                }
            };
            let free = held
                .worker
                .as_ref()
                .is_none_or(|worker| *worker != claim.worker && self.is_over(worker, claim.now));
            let program = held.thread.program.as_ref();
            let known = program.is_some_and(|program| claim.programs.contains(program));
            if let Some(since) = since.filter(|_| free && known) {
                let tenant = held.thread.tenant.clone();
                found.push((held.priority, tenant, since, held.thread.id));
            }
        }
        let mut claimed = Vec::new();
        for id in self.in_turn(found).into_iter().take(claim.threads_max) {
            let Some(held) = self.threads.get_mut(&id) else { continue };
            held.wake(held.thread.wake_at.unwrap_or(claim.now));
            held.fence.0 += 1;
            held.worker = Some(claim.worker.clone());
            self.claims += 1;
            self.served.insert(held.thread.tenant.clone(), self.claims);
            claimed.push(Claimed { fence: held.fence, loaded: held.loaded() });
        }
        if !claimed.is_empty() {
            self.renew(&claim.worker, claim.lease_until);
        }
        claimed
    }

    fn in_turn(
        &self,
        mut found: Vec<(agentry_core::thread::Priority, String, Timestamp, ThreadId)>,
    ) -> Vec<ThreadId> {
        found.sort_by(|a, b| (b.0, &a.1, a.2, a.3).cmp(&(a.0, &b.1, b.2, b.3)));
        let mut rounds = HashMap::new();
        let mut order: Vec<_> = found
            .into_iter()
            .map(|(priority, tenant, since, id)| {
                let round: &mut u32 = rounds.entry((priority, tenant.clone())).or_default();
                *round += 1;
                let served = self.served.get(&tenant).copied().unwrap_or(0);
                ((std::cmp::Reverse(priority), *round, served, since, id), id)
            })
            .collect();
        order.sort_by_key(|a| a.0);
        order.into_iter().map(|(_, id)| id).collect()
    }

    pub(super) fn take(&mut self, thread: ThreadId, claim: &Claim) -> Taken {
        let Some(held) = self.threads.get(&thread) else { return Taken::NoThread };
        let rests = match held.thread.status {
            Status::Idle | Status::Interrupted | Status::Failed => true,
            Status::Ready | Status::Waiting => false,
        };
        let free = held.worker.as_ref().is_none_or(|worker| self.is_over(worker, claim.now));
        if !rests || !free {
            return Taken::Busy;
        }
        self.renew(&claim.worker, claim.lease_until);
        let Some(held) = self.threads.get_mut(&thread) else { return Taken::NoThread };
        held.fence.0 += 1;
        held.worker = Some(claim.worker.clone());
        Taken::Yours(Box::new(Claimed { fence: held.fence, loaded: held.loaded() }))
    }

    pub(super) fn renew(&mut self, worker: &str, lease_until: Timestamp) {
        self.leases.insert(worker.to_owned(), lease_until);
    }

    fn held_by<'a>(&'a self, worker: &'a str) -> impl Iterator<Item = &'a Held> {
        self.threads.values().filter(move |held| held.worker.as_deref() == Some(worker))
    }

    pub(super) fn mail(&self, worker: &str) -> Vec<ThreadId> {
        let addressed = self.held_by(worker).filter(|held| held.has_mail());
        addressed.map(|held| held.thread.id).collect()
    }

    pub(super) fn release(&mut self, worker: &str) {
        self.leases.remove(worker);
        for held in self.threads.values_mut() {
            held.worker.take_if(|of| of == worker);
        }
    }

    pub(super) fn succeed(&mut self, name: &str, worker: &str) {
        let lives = format!("{name}{LIFE}");
        let of = |it: &str| (it == name || it.starts_with(&lives)) && !it.starts_with(worker);
        let held = self.threads.values().filter_map(|held| held.worker.as_ref());
        let former: BTreeSet<_> = self.leases.keys().chain(held).filter(|it| of(it)).collect();
        for worker in former.into_iter().cloned().collect::<Vec<_>>() {
            self.release(&worker);
        }
    }

    pub(super) fn commit(
        &mut self,
        mut commit: Commit,
        log: &mut Chronicle,
    ) -> Result<Committed, Error> {
        let links = log.link(&std::mem::take(&mut commit.audit))?;
        let Some(held) = self.threads.get_mut(&commit.thread) else {
            return Ok(Committed::Fenced);
        };
        if let Some(refused) = held.refuses(&commit)? {
            return Ok(refused);
        }
        log.extend(links);
        Ok(held.apply(commit))
    }

    pub(super) fn journal(
        &mut self,
        thread: ThreadId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Committed {
        let held = self.threads.get_mut(&thread);
        held.map_or(Committed::Fenced, |held| held.journal(fence, key, effect))
    }

    pub(super) fn signal(
        &mut self,
        thread: ThreadId,
        signal: Signal,
        log: &mut Chronicle,
    ) -> Result<Signalled, Error> {
        let Some(held) = self.threads.get_mut(&thread) else { return Ok(Signalled::NotFound) };
        let (signalled, audit) = match signal {
            Signal::Message(message) => (held.receive(message), Vec::new()),
            Signal::Answer { interrupt, answer, audit } => {
                log.link(&audit)?;
                (held.answer(&interrupt, &answer), audit)
            }
            Signal::Cancel { run, cancel, audit } => {
                log.link(&audit)?;
                (held.cancel(run, cancel), audit)
            }
        };
        if signalled == Signalled::Accepted {
            log.note(&audit)?;
        }
        Ok(signalled)
    }

    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        let resting = self.threads.values().filter(|held| held.worker.is_none());
        resting.filter_map(|held| held.thread.wake_at).min()
    }

    pub(super) fn create(&mut self, new: NewThread) -> Created {
        match self.threads.get(&new.id) {
            Some(held) if held.thread.tenant == new.tenant => {
                Created::Existing(Box::new(held.thread.clone()))
            }
            Some(_) => Created::Foreign,
            None => {
                self.threads.insert(new.id, Held::new(new));
                Created::New
            }
        }
    }

    pub(super) fn list(&self, query: &ThreadQuery) -> Vec<Thread> {
        let ThreadQuery { tenant, status, graph, metadata, ids, offset: _, max: _, order } = query;
        let matches = |thread: &&Thread| {
            let program = thread.program.as_ref().map(|program| &program.graph);
            let tenant = tenant.as_ref().is_none_or(|tenant| *tenant == thread.tenant);
            let status = status.is_none_or(|status| status == thread.status);
            let graph = graph.as_ref().is_none_or(|graph| Some(graph) == program);
            let ids = ids.is_empty() || ids.contains(&thread.id);
            tenant && status && graph && ids && has(&thread.metadata, metadata)
        };
        let mut found: Vec<_> =
            self.threads.values().map(|held| &held.thread).filter(matches).cloned().collect();
        match order {
            Order::CreatedNewest => found.sort_by_key(|it| std::cmp::Reverse((it.created, it.id))),
            Order::CreatedOldest => found.sort_by_key(|it| (it.created, it.id)),
            Order::UpdatedNewest => found.sort_by_key(|it| std::cmp::Reverse((it.updated, it.id))),
            Order::UpdatedOldest => found.sort_by_key(|it| (it.updated, it.id)),
        }
        found
    }

    pub(super) fn describe(
        &mut self,
        thread: ThreadId,
        metadata: Map<String, Value>,
        now: Timestamp,
    ) -> Option<Thread> {
        let thread = &mut self.threads.get_mut(&thread)?.thread;
        for (key, value) in metadata {
            if value.is_null() {
                thread.metadata.remove(&key);
            } else {
                thread.metadata.insert(key, value);
            }
        }
        thread.updated = now;
        Some(thread.clone())
    }

    pub(super) fn copy(&mut self, from: ThreadId, to: NewThread) -> Result<bool, Error> {
        if self.threads.contains_key(&to.id) {
            return Err(Error::Refused(format!("there is a thread {} already", to.id)));
        }
        let from = self.threads.get(&from).filter(|held| held.thread.tenant == to.tenant);
        let Some(from) = from else { return Ok(false) };
        let copy = from.copy(to);
        self.threads.insert(copy.thread.id, copy);
        Ok(true)
    }

    pub(super) fn delete(&mut self, thread: ThreadId) -> bool {
        let Some(held) = self.threads.remove(&thread) else { return false };
        self.index.retain(|_, of| *of != thread);
        let gone = |id: &RunId| held.runs.iter().any(|run| run.id == *id);
        self.keys.retain(|_, id| !gone(id));
        true
    }

    pub(super) fn sweep(&mut self, now: Timestamp, max: usize) -> u64 {
        let over = |held: &&Held| {
            let thread = &held.thread;
            let rests = match thread.status {
                Status::Idle | Status::Interrupted | Status::Failed => true,
                Status::Ready | Status::Waiting => false,
            };
            let old = thread.keep_for.is_some_and(|span| thread.updated.plus(span) <= now);
            rests && old && held.worker.is_none() && !held.has_unfinished()
        };
        let over: Vec<_> =
            self.threads.values().filter(over).map(|held| held.thread.id).take(max).collect();
        for thread in &over {
            self.delete(*thread);
        }
        over.len() as u64
    }

    pub(super) fn retire(&mut self, before: Timestamp, max: usize) -> u64 {
        let over = |held: &&Held| {
            let thread = &held.thread;
            let rests = match thread.status {
                Status::Idle | Status::Failed => true,
                Status::Ready | Status::Waiting | Status::Interrupted => false,
            };
            let old = thread.keep_for.is_none() && thread.updated < before;
            rests && old && held.worker.is_none() && !held.has_unfinished()
        };
        let over = self.threads.values().filter(over);
        let mut over: Vec<_> = over.map(|held| (held.thread.updated, held.thread.id)).collect();
        over.sort_unstable();
        over.truncate(max);
        for (_, thread) in &over {
            self.delete(*thread);
        }
        over.len() as u64
    }

    pub(super) fn runs(&self, query: &RunQuery) -> Vec<Run> {
        let RunQuery { tenant, thread, graph, status, metadata, before, offset, max } = query;
        let matches = |run: &&Run| {
            let tenant = tenant.as_ref().is_none_or(|tenant| *tenant == run.tenant);
            let thread = thread.is_none_or(|thread| thread == run.thread);
            let graph = graph.as_ref().is_none_or(|graph| *graph == run.program.graph);
            let status = status.is_none_or(|status| status == run.status);
            let before = before.is_none_or(|before| run.id < before);
            tenant && thread && graph && status && before && has(&run.metadata, metadata)
        };
        let runs = self.index.keys().rev().filter_map(|id| self.run(*id));
        runs.filter(matches).skip(*offset).take(*max).cloned().collect()
    }

    pub(super) fn delete_run(&mut self, id: RunId) -> bool {
        if self.run(id).is_some_and(|run| !run.status.is_over()) {
            return false;
        }
        let of = self.index.get(&id).copied();
        let mut found = false;
        for held in self.threads.values_mut() {
            if of.is_none_or(|thread| thread == held.thread.id) {
                found |= held.forget_run(id);
            }
        }
        self.index.remove(&id);
        self.keys.retain(|_, of| *of != id);
        found
    }

    pub(super) fn questions(&self, thread: Option<ThreadId>, max: usize) -> Vec<Interrupt> {
        let threads = self.threads.values();
        let threads = threads.filter(|held| thread.is_none_or(|id| id == held.thread.id));
        let open = threads.flat_map(Held::open);
        let mut found: Vec<_> =
            open.filter(|it| it.question.is_some() && it.answer.is_none()).cloned().collect();
        found.sort_by(|a, b| (a.opened, a.thread, &a.id).cmp(&(b.opened, b.thread, &b.id)));
        found.truncate(max);
        found
    }
}

/// What was there before an intake, to go back to.
#[derive(Default)]
struct Before {
    threads: BTreeMap<ThreadId, Option<Held>>,
    made: Vec<(RunId, Option<(String, String)>)>,
}

fn thread_for(run: &NewRun) -> NewThread {
    NewThread {
        id: run.thread,
        tenant: run.tenant.clone(),
        metadata: Map::new(),
        created: run.created,
        keep_for: None,
    }
}

fn has(members: &Map<String, Value>, wanted: &Map<String, Value>) -> bool {
    wanted.iter().all(|(key, value)| members.get(key) == Some(value))
}
