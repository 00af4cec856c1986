//! Where threads stand and stood, as the server shows it.

use agentry_core::run::Fence;
use agentry_core::thread::{Checkpoint, Entry, Source};
use agentry_core::threads::{At, CheckpointQuery, Found, From};
use agentry_core::{CheckpointId, ThreadId};
use agentry_engine::Machine;
use agentry_engine::machine::view::{Question, TaskView as Task, View};
use agentry_engine::machine::{Home, Record};
use agentry_server::Refusal;
use agentry_server::engine::{
    CheckpointRef, HistoryQuery, InterruptView, Place, StateView, Subgraphs, TaskView,
};
use serde_json::{Map, Value};

use super::Durable;

/// Subgraphs in subgraphs are opened so far.
const DEPTH_MAX: usize = 8;

impl Durable {
    pub(super) async fn state_at(
        &self,
        thread: ThreadId,
        place: Place,
        subgraphs: Subgraphs,
    ) -> Result<Option<StateView>, Refusal> {
        let Place { ns, at } = place;
        let Some(view) = self.view(thread, &ns, at).await? else { return Ok(None) };
        let Some(id) = view.checkpoint else { return Ok(None) };
        let Some(found) = self.found(thread, (&ns, at), id).await? else { return Ok(None) };
        let mut state = shown(found, view, &ns);
        if subgraphs == Subgraphs::Open {
            self.open(thread, (&mut state, at), DEPTH_MAX).await?;
        }
        Ok(Some(state))
    }

    async fn view(&self, thread: ThreadId, ns: &str, at: At) -> Result<Option<View>, Refusal> {
        if let Some(view) = self.handle.state(thread, ns, at).await? {
            return Ok(Some(view));
        }
        let archive = self.handle.archive();
        let Some(known) = archive.thread(thread).await? else { return Ok(None) };
        // What was written by hand before any run is of the graph that the thread is meant for.
        let graph = known.metadata.get("graph_id").and_then(Value::as_str);
        let program = graph.filter(|_| known.program.is_none());
        let Some(program) = program.and_then(|it| self.handle.registry().current(it).ok()) else {
            return Ok(None);
        };
        let Some(line) = archive.line(thread, at, From::Root).await? else { return Ok(None) };
        let home = Home { thread, fence: Fence(0), head: known.seq };
        let machine = match at {
            At::Checkpoint(id) => Machine::load_at(program.clone(), home, &line, id),
            At::Head | At::Seq(_) => Machine::load(program.clone(), home, Record::Nothing, &line),
        };
        Ok(machine.map_err(agentry_engine::Error::from)?.view(ns))
    }

    /// A checkpoint and the entry that made it.
    async fn found(
        &self,
        thread: ThreadId,
        (ns, at): (&str, At),
        id: CheckpointId,
    ) -> Result<Option<Found>, Refusal> {
        let archive = self.handle.archive();
        let query =
            CheckpointQuery { ns: Some(ns.to_owned()), max: 1, ..CheckpointQuery::default() };
        let newest = archive.checkpoints(thread, query).await?.pop();
        if newest.as_ref().is_some_and(|newest| newest.checkpoint.id == id) {
            return Ok(newest);
        }
        for from in [From::Snapshot, From::Root] {
            let line = archive.line(thread, at, from).await?;
            let entries = line.map(|line| line.entries).unwrap_or_default();
            let found = entries.into_iter().rev().find_map(|entry| made(entry, id));
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Shows the states of the graphs inside tasks.
    async fn open(
        &self,
        thread: ThreadId,
        (state, at): (&mut StateView, At),
        depth: usize,
    ) -> Result<(), Refusal> {
        let Some(depth) = depth.checked_sub(1) else { return Ok(()) };
        for task in &mut state.tasks {
            let Some(inner) = task.checkpoint.as_ref().map(|inner| inner.ns.clone()) else {
                continue;
            };
            let place = Place { ns: inner, at };
            let opened = Box::pin(self.state_at(thread, place, Subgraphs::Closed)).await?;
            let Some(mut opened) = opened else { continue };
            Box::pin(self.open(thread, (&mut opened, at), depth)).await?;
            task.checkpoint = Some(opened.checkpoint.clone());
            task.state = Some(Box::new(opened));
        }
        Ok(())
    }

    pub(super) async fn states(
        &self,
        thread: ThreadId,
        query: HistoryQuery,
    ) -> Result<Vec<StateView>, Refusal> {
        let HistoryQuery { ns, before, mut metadata, max } = query;
        let source = match metadata.shift_remove("source").as_ref().and_then(Value::as_str) {
            None => None,
            Some("input") => Some(Source::Input),
            Some("loop") => Some(Source::Loop),
            Some("update") => Some(Source::Update),
            Some("fork") => Some(Source::Fork),
            // Nothing comes from there.
            Some(_) => return Ok(Vec::new()),
        };
        let step = metadata.shift_remove("step");
        let query = CheckpointQuery { ns: Some(ns.clone()), source, metadata, before, max };
        let mut states = Vec::new();
        for found in self.handle.archive().checkpoints(thread, query).await? {
            if step.as_ref().is_some_and(|step| *step != found.checkpoint.step) {
                continue;
            }
            let at = At::Checkpoint(found.checkpoint.id);
            if let Some(view) = self.view(thread, &ns, at).await? {
                states.push(shown(found, view, &ns));
            }
        }
        Ok(states)
    }
}

fn made(entry: Entry, id: CheckpointId) -> Option<Found> {
    let Entry { seq, run, at, checkpoints, .. } = entry;
    let checkpoint = checkpoints.into_iter().find(|checkpoint| checkpoint.id == id)?;
    Some(Found { seq, run, at, checkpoint })
}

fn shown(found: Found, view: View, ns: &str) -> StateView {
    let Found { seq: _, run, at, checkpoint } = found;
    let Checkpoint { id, ns: _, parent, step, source, metadata } = checkpoint;
    let place = |id| CheckpointRef { ns: ns.to_owned(), id: Some(id) };
    StateView {
        values: view.values,
        next: view.next,
        checkpoint: place(id),
        parent: parent.map(place),
        step,
        source,
        metadata,
        run,
        created: at,
        tasks: view.tasks.into_iter().map(task).collect(),
    }
}

fn task(task: Task) -> TaskView {
    let Task { id, name, error, interrupts, result, inner } = task;
    TaskView {
        id,
        name,
        error,
        result: result.map(Map::into),
        interrupts: interrupts.into_iter().map(question).collect(),
        checkpoint: inner.map(|ns| CheckpointRef { ns, id: None }),
        state: None,
    }
}

fn question(question: Question) -> InterruptView {
    let Question { id, value, ns: _, schema, deadline, escalations, to } = question;
    InterruptView { id, value, schema, deadline, escalations, to }
}
