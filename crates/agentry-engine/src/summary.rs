//! What a run was like: where its time went, what it tried again, what it waited for, and what could be better.
//!
//! Everything here is read from the thread's log, so it is the same again whenever it is asked for, also long after.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::meter::Metered;
use agentry_core::run::Event;
use agentry_core::thread::{Entry, RunStatus, Write};
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use crate::machine::op::{Body, Op, Planned, TurnOp, Wrote};
use crate::plan::INPUT;

mod advice;
mod read;
mod spans;

pub use advice::Advice;
use spans::Spans;

/// Larger changes than this of one channel are named.
const LARGE: usize = 64 * 1024;
const LARGE_MAX: usize = 10;

/// Where a task stands, in the words of people who watch work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    #[default]
    Pending,
    InProgress,
    Completed,
    Failed,
    /// It waits for a person.
    Escalated,
}

impl From<RunStatus> for Standing {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Pending => Self::Pending,
            RunStatus::Running => Self::InProgress,
            RunStatus::Interrupted => Self::Escalated,
            RunStatus::Success => Self::Completed,
            RunStatus::Error
            | RunStatus::Timeout
            | RunStatus::Cancelled
            | RunStatus::RolledBack => Self::Failed,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    pub progress: Standing,
    /// False when the run is so long that only its beginning is summed up.
    pub is_whole: bool,
    pub began: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    /// From the first event to the last.
    pub wall_ms: u64,
    /// What all tasks took together.
    pub work_ms: u64,
    /// When nothing ran and somebody was asked, or a pause had to pass.
    pub waited_ms: u64,
    /// Work for each hundred parts of wall time; more than a hundred when tasks ran side by side.
    pub efficiency_percent: u64,
    pub tasks: Tasks,
    /// What models took, as far as the log knows: an attempt that was cut off has not told.
    pub spent: Metered,
    /// Those that took most first.
    pub nodes: Vec<Node>,
    /// The largest first.
    pub large_changes: Vec<Change>,
    pub advice: Vec<Advice>,
}

/// How far the work has come that is known by now; a graph may find more on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tasks {
    pub known: usize,
    pub pending: usize,
    pub in_progress: usize,
    pub completed: usize,
    pub failed: usize,
    /// They wait for a person, or for a moment.
    pub escalated: usize,
    /// Completed ones of a hundred that are known.
    pub done_percent: usize,
}

/// All visits of one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Node {
    /// The way of subgraphs to it, and its name: `research/search`.
    pub node: String,
    pub progress: Standing,
    pub visits: usize,
    pub attempts: usize,
    pub failures: usize,
    /// Visits that the node's cache answered.
    pub cached: usize,
    pub questions: usize,
    pub work_ms: u64,
    pub longest_ms: u64,
    /// Between a question and its answer.
    pub waited_ms: u64,
    pub written_bytes: usize,
    /// By channel: how many bytes it has written there.
    pub written: BTreeMap<String, usize>,
    pub spent: Metered,
    pub last_error: Option<String>,
}

/// A change of the state that is large enough to be worth a thought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub entry: u64,
    pub channel: String,
    pub bytes: usize,
}

/// Reads a run's part of the log, oldest first.
#[derive(Debug, Default)]
pub struct Summing {
    summary: Summary,
    nodes: BTreeMap<String, Node>,
    open: BTreeMap<Place, Open>,
    /// Who was last in each place.
    names: BTreeMap<Place, String>,
    /// Tasks that were decided on, and those of them that began or were given up.
    planned: usize,
    begun: usize,
    failed: usize,
    spans: Spans,
    last: Option<Timestamp>,
}

/// A task among all tasks of the run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    ns: String,
    slot: u64,
}

#[derive(Debug)]
struct Open {
    node: String,
    /// Since when it runs, or is asked about.
    since: Timestamp,
    asking: bool,
}

impl Summing {
    /// One event, whatever its kind.
    pub fn hear(&mut self, event: &Event) {
        self.summary.began.get_or_insert(event.at);
        self.last = Some(event.at);
        let text = |name: &str| event.detail.get(name).and_then(Value::as_str);
        let ns = text("ns").unwrap_or_default();
        match event.kind.as_str() {
            "run.started" => self.summary.progress = Standing::InProgress,
            "run.rests" | "run.ended" => self.rests(event),
            _ => {
                let Some(node) = text("node") else { return };
                let slot = event.detail.get("slot").and_then(Value::as_u64).unwrap_or_default();
                let place = Place { ns: ns.to_owned(), slot };
                self.task(place, &way(ns, node), event);
            }
        }
    }

    /// What an entry has changed. To be told before its events: they name who stands in a place from then on.
    pub fn read(&mut self, entry: &Entry) {
        for write in &entry.writes {
            let bytes = size(write);
            if bytes >= LARGE {
                let channel = write.channel.clone();
                self.summary.large_changes.push(Change { entry: entry.seq.0, channel, bytes });
            }
        }
        let Ok(Body::V1 { ops, .. }) = Body::deserialize(&entry.body) else { return };
        let mut from = 0;
        for op in ops {
            match op {
                Op::Wrote(Wrote { at, n, .. }) => {
                    let place = Place { ns: at.ns.to_string(), slot: at.slot as u64 };
                    let writes = entry.writes.iter().skip(from).take(n);
                    self.wrote(&place, writes);
                    from += n;
                }
                Op::Writes(n) => from += n,
                Op::Turn(turn) => self.plans(&turn),
                _ => {}
            }
        }
    }

    fn wrote<'a>(&mut self, place: &Place, writes: impl Iterator<Item = &'a Write>) {
        let Some(node) = self.names.get(place).cloned() else { return };
        for write in writes {
            let bytes = size(write);
            let known = self.node(&node);
            known.written_bytes += bytes;
            *known.written.entry(write.channel.clone()).or_default() += bytes;
        }
    }

    fn plans(&mut self, turn: &TurnOp) {
        for task in &turn.tasks {
            let (Planned::Node(node) | Planned::Sent { node, .. }) = task;
            if node == INPUT {
                continue;
            }
            self.planned += 1;
            self.node(&way(&turn.ns, node));
        }
    }

    #[must_use]
    pub fn finish(mut self, now: Timestamp) -> Summary {
        let end = self.summary.ended.unwrap_or(now).max(self.last.unwrap_or(now));
        let still_open = std::mem::take(&mut self.open);
        let asking = still_open.values().filter(|open| open.asking).count();
        let over = self.summary.ended.is_some();
        let tasks = &mut self.summary.tasks;
        tasks.failed = self.failed;
        tasks.escalated = if over { 0 } else { asking };
        tasks.in_progress = if over { 0 } else { still_open.len() - asking };
        tasks.pending = if over { 0 } else { self.planned.saturating_sub(self.begun) };
        tasks.known =
            tasks.completed + tasks.failed + tasks.escalated + tasks.in_progress + tasks.pending;
        tasks.done_percent = (tasks.completed * 100).checked_div(tasks.known).unwrap_or(0);
        for open in still_open.into_values() {
            self.close(&open, end);
        }
        let Self { mut summary, nodes, spans, .. } = self;
        let wall = summary.began.map_or(Duration::ZERO, |began| end.since(began));
        let work: u64 = nodes.values().map(|node| node.work_ms).sum();
        summary.wall_ms = millis(wall);
        summary.work_ms = work;
        summary.waited_ms = millis(spans.waited());
        summary.efficiency_percent = (work * 100)
            .checked_div(summary.wall_ms.saturating_sub(summary.waited_ms))
            .unwrap_or(100);
        nodes.values().for_each(|node| summary.spent.add(node.spent));
        summary.nodes = nodes.into_values().collect();
        summary.nodes.sort_by(|a, b| (b.work_ms, &a.node).cmp(&(a.work_ms, &b.node)));
        summary.large_changes.sort_by_key(|change| std::cmp::Reverse(change.bytes));
        summary.large_changes.truncate(LARGE_MAX);
        summary.advice = advice::on(&summary);
        summary
    }

    fn rests(&mut self, event: &Event) {
        let status = event.detail.get("status").cloned().unwrap_or_default();
        let status: Option<RunStatus> = serde_json::from_value(status).ok();
        self.summary.progress = status.map_or(Standing::InProgress, Standing::from);
        if event.kind == "run.ended" {
            self.summary.ended = Some(event.at);
        }
    }

    fn task(&mut self, place: Place, node: &str, event: &Event) {
        match event.kind.as_str() {
            "task.started" => {
                self.begun += 1;
                self.names.insert(place.clone(), node.to_owned());
                let known = self.node(node);
                known.visits += 1;
                known.attempts += 1;
                known.progress = Standing::InProgress;
                self.begin(place, node, event.at);
            }
            "task.finished" => {
                let cached = event.detail.get("cached").is_some_and(|cached| cached == true);
                let known = self.node(node);
                known.cached += usize::from(cached);
                known.progress = Standing::Completed;
                self.summary.tasks.completed += 1;
                self.end(&place, event.at);
            }
            "task.retried" => {
                self.fails(node, event);
                self.node(node).attempts += 1;
                self.end(&place, event.at);
                self.begin(place, node, event.at);
            }
            "task.failed" => {
                self.fails(node, event);
                self.failed += 1;
                self.node(node).progress = Standing::Failed;
                self.end(&place, event.at);
            }
            "task.interrupted" => {
                let known = self.node(node);
                known.questions += 1;
                known.progress = Standing::Escalated;
                self.end(&place, event.at);
                let open = Open { node: node.to_owned(), since: event.at, asking: true };
                self.open.insert(place, open);
                self.spans.asks(event.at);
            }
            "task.answered" => {
                self.node(node).progress = Standing::InProgress;
                self.end(&place, event.at);
                self.begin(place, node, event.at);
            }
            "task.spent" => {
                let spent = Metered::deserialize(&event.detail).unwrap_or_default();
                self.node(node).spent.add(spent);
            }
            _ => {}
        }
    }

    fn fails(&mut self, node: &str, event: &Event) {
        let error = event.detail.get("error").and_then(Value::as_str).map(str::to_owned);
        let known = self.node(node);
        known.failures += 1;
        known.last_error = error.or_else(|| known.last_error.take());
    }

    fn begin(&mut self, place: Place, node: &str, at: Timestamp) {
        self.spans.begins(at);
        self.open.insert(place, Open { node: node.to_owned(), since: at, asking: false });
    }

    fn end(&mut self, place: &Place, at: Timestamp) {
        if let Some(open) = self.open.remove(place) {
            self.close(&open, at);
        }
    }

    fn close(&mut self, open: &Open, at: Timestamp) {
        let took = millis(at.since(open.since));
        let known = self.node(&open.node);
        if open.asking {
            known.waited_ms += took;
            self.spans.answered(at);
        } else {
            known.work_ms += took;
            known.longest_ms = known.longest_ms.max(took);
            self.spans.ends(at);
        }
    }

    fn node(&mut self, node: &str) -> &mut Node {
        let new = || Node { node: node.to_owned(), ..Node::default() };
        self.nodes.entry(node.to_owned()).or_insert_with(new)
    }
}

fn size(write: &Write) -> usize {
    serde_json::to_vec(&write.delta).map_or(0, |text| text.len())
}

/// Names the node without the ids of the tasks around it.
fn way(ns: &str, node: &str) -> String {
    let outer = ns.split('|').filter_map(|part| part.split(':').next());
    let mut way: Vec<_> = outer.filter(|part| !part.is_empty()).collect();
    way.push(node);
    way.join("/")
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
