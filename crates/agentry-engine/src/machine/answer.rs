//! What comes from outside while a run has the thread: answers, messages, moments, the wish that it ends.

use agentry_core::Timestamp;
use agentry_core::run::{Answer, Closing, Message};
use serde_json::{Value, json};

use super::op::Op;
use super::rest::Rests;
use super::scope::{Done, Phase, ROOT_IX, ScopeIx, Slot};
use super::start::Ended;
use super::{Decision, Machine};
use crate::node::{NodeError, Reply};

/// What was seen of a thread since the last decision.
#[derive(Debug)]
pub enum Happened {
    /// A worker has taken the thread: what can run is to run.
    Claimed,
    /// Tasks have ended.
    Ended(Vec<Ended>),
    /// Something has come.
    Mail(Mail),
    /// Time has passed.
    Tick,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mail {
    pub messages: Vec<Message>,
    /// By interrupt. Those that nobody asked, or asks any more, are closed without effect.
    pub answers: Vec<(String, Answer)>,
    /// Why the run is to end, when it is.
    pub cancel: Option<String>,
}

impl Machine {
    /// Decides how the thread goes on. Store the commit before performing the actions.
    pub fn step(&mut self, happened: Happened, now: Timestamp) -> Decision {
        self.now = now;
        match happened {
            Happened::Claimed => self.claimed(),
            Happened::Tick => {}
            Happened::Ended(tasks) => {
                for ended in tasks {
                    self.ended(ended);
                }
            }
            Happened::Mail(Mail { messages, answers, cancel }) => {
                self.fold_messages(messages);
                for (interrupt, answer) in answers {
                    self.answer(&interrupt, answer);
                }
                if let Some(reason) = cancel {
                    self.end_with(Rests::Cancelled { reason });
                }
            }
        }
        self.pass_time();
        self.decide()
    }

    /// Follows everything that follows.
    pub(super) fn decide(&mut self) -> Decision {
        self.cut_short();
        while !self.complete.is_empty() || !self.ready.is_empty() {
            while let Some(ix) = self.complete.pop() {
                self.barrier(ix);
            }
            self.start_ready();
        }
        for (ix, slot) in std::mem::take(&mut self.fresh) {
            self.note_done(ix, slot);
        }
        if self.running == 0 && self.run.as_ref().is_some_and(|run| run.ending.is_some()) {
            self.withdraw_within(ROOT_IX);
        }
        self.come_to_rest();
        self.conclude()
    }

    /// Everything that is ready, and nothing of it runs: as after loading.
    pub(super) fn claimed(&mut self) {
        let ready = self.scopes.all().flat_map(|(ix, scope)| {
            let halted = scope.halt.is_some();
            let slots = scope.tasks.iter().enumerate();
            let ready = slots.filter(move |(_, task)| {
                !halted && task.phase == Phase::Ready && task.running.is_none()
            });
            ready.map(move |(slot, _)| (ix, slot))
        });
        self.ready = ready.collect();
        if self.run.is_some() {
            let settled: Vec<_> = self.scopes.all().map(|(ix, _)| ix).collect();
            settled.into_iter().rev().for_each(|ix| self.settled(ix));
        }
    }

    fn pass_time(&mut self) {
        let now = self.now;
        while let Some((moment, ix, slot)) = self.timers.first().copied() {
            if moment > now {
                break;
            }
            self.timers.remove(&(moment, ix, slot));
            self.due((ix, slot));
        }
        let deadline = self.run.as_ref().and_then(|run| run.deadline);
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.end_with(Rests::TimedOut);
        }
    }

    fn due(&mut self, at: (ScopeIx, Slot)) {
        let now = self.now;
        let Some(task) = self.scopes.task(at.0, at.1) else { return };
        if let Some(running) = &task.running {
            if running.deadline.is_some_and(|deadline| deadline <= now) {
                let key = super::Key { scope: at.0, slot: at.1, turn: running.turn };
                let ms = self.settings(at.0, at.1).deadline_ms.unwrap_or_default();
                self.abort(key);
                let problem = format!("it took longer than {ms} ms");
                self.failed(at, &NodeError::transient(problem));
            }
            return;
        }
        match &task.phase {
            Phase::Backoff { .. } => self.again(at),
            Phase::Asking => self.expired(at),
            Phase::Inside | Phase::Stuck => self.late(at),
            Phase::Ready | Phase::Failed { .. } | Phase::Replaced | Phase::Done(_) => {}
        }
    }

    pub(super) fn answer(&mut self, interrupt: &str, answer: Answer) {
        let Some(at) = self.who_asked(interrupt) else {
            // Else the thread would be woken for it again and again.
            return self.trace.closed.push((interrupt.to_owned(), Closing::Withdrawn));
        };
        let reply = Reply { value: answer.value, actor: Some(answer.actor), at: answer.at };
        self.reply(at, reply, Closing::Answered);
    }

    pub(super) fn who_asked(&self, interrupt: &str) -> Option<(ScopeIx, Slot)> {
        self.scopes.all().find_map(|(ix, scope)| {
            let asks = |task: &super::scope::Task| {
                task.question().is_some_and(|open| open.interrupt == interrupt)
            };
            scope.tasks.iter().position(asks).map(|slot| (ix, slot))
        })
    }

    pub(super) fn reply(&mut self, at: (ScopeIx, Slot), reply: Reply, closing: Closing) {
        let Some(task) = self.scopes.task_mut(at.0, at.1) else { return };
        let Some(open) = task.question() else { return };
        let (by_order, id) = (open.by_order, open.ask.id.clone());
        let detail = json!({ "interrupt": open.interrupt, "ask": id, "actor": reply.actor });
        let more = task.more();
        if by_order {
            more.answers.push(reply.value);
        } else {
            more.replies.insert(id, reply);
        }
        let running = task.running.is_some();
        self.close(at, closing);
        self.tell("task.answered", at, detail);
        if running { self.note_task(at.0, at.1) } else { self.again(at) }
    }

    fn fold_messages(&mut self, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        for Message { id, channel, payload, at: _ } in messages {
            self.trace.consumed.push(id);
            self.folded += 1;
            if let Err(problem) = self.fold_message(&channel, payload) {
                self.tell_scope("message.refused", ROOT_IX, json!({ "problem": problem }));
            }
        }
        for at in self.await_message() {
            self.again(at);
        }
    }

    fn fold_message(&mut self, name: &str, payload: Value) -> Result<(), String> {
        let root = self.scopes.root();
        let channel = root.plan.channels.get(name);
        let channel = channel.ok_or_else(|| format!("the graph has no channel `{name}`"))?;
        let reducer = &channel.reducer;
        let put = reducer.message(payload);
        let reduced = reducer.reduce(&root.plan.folds, root.values.get(name), put);
        let delta = reduced.map_err(|problem| format!("channel `{name}`: {problem}"))?;
        if self.is_recorded() {
            let channel = name.to_owned();
            let write =
                agentry_core::thread::Write { ns: String::new(), channel, delta: delta.clone() };
            self.trace.writes.push(write);
            self.trace.ops.push(Op::Writes(1));
        }
        self.scopes.root_mut().change(name, delta);
        Ok(())
    }

    /// Nobody needs to answer any more what is asked in a scope; its tasks may ask again.
    pub(super) fn withdraw_within(&mut self, ix: ScopeIx) {
        let asking: Vec<_> = self.asking.iter().copied().collect();
        for at in asking {
            if self.is_within(at.0, ix) {
                self.close(at, Closing::Withdrawn);
                self.came_to(at, Phase::Ready);
            }
        }
    }

    pub(super) fn finished_puts(&self, ix: ScopeIx) -> Vec<(Slot, Done)> {
        let Some(scope) = self.scopes.get(ix) else { return Vec::new() };
        let tasks = scope.tasks.iter().enumerate();
        let done = tasks.filter_map(|(slot, task)| match &task.phase {
            // Input that was not taken in yet is not anybody's work.
            Phase::Done(done) if task.node != crate::plan::START_IX => {
                Some((slot, Done { puts: done.puts.clone(), goto: Vec::new() }))
            }
            _ => None,
        });
        done.collect()
    }
}
