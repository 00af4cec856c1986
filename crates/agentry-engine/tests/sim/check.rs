//! What must be true in the end.

use agentry_core::run::Answer;
use agentry_core::thread::{Run, RunStatus};
use agentry_core::threads::{At, From, Threads as _};
use agentry_core::{Clock as _, ThreadId};
use agentry_engine::durable::{Settings, Worker};
use agentry_engine::machine::Mail;
use agentry_engine::{Local, Program, Request, Rests};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::graphs::{Stage, act_of, alone};
use crate::history::History;
use crate::outside::Outside;
use crate::process::{Common, JumpyClock};
use crate::story::{Cast, everything as every_run};

/// Longer than any reference takes to come to rest.
const ROUNDS_MAX: usize = 2_000;

pub(crate) async fn everything(seed: u64, cast: &Cast, common: &Common, stage: &Stage) {
    commits(common).await;
    let mut runs = common.store.runs(every_run()).await.unwrap();
    runs.sort_by_key(|run| run.base);
    let submitted = common.history.facts().submitted.clone();
    for (run, thread) in submitted {
        if !runs.iter().any(|known| known.id == run && known.thread == thread) {
            common.history.wrong(format!("run {run} was submitted and is lost"));
        }
    }
    for (thread, graph) in &cast.alone {
        let of_thread: Vec<_> = runs.iter().filter(|run| run.thread == *thread).collect();
        let Some(state) = state(common, *thread).await else { continue };
        settled(&of_thread, &state, (*thread, common), stage);
        let cancelled = of_thread.iter().any(|run| run.cancel.is_some());
        if !cancelled && of_thread.last().is_some_and(|run| run.status == RunStatus::Success) {
            let program = |stage: &Stage| alone(seed, graph, stage);
            compare(program, &state, &common.history).await;
        }
    }
    for (thread, _) in &cast.shared {
        let of_thread: Vec<_> = runs.iter().filter(|run| run.thread == *thread).collect();
        let Some(state) = state(common, *thread).await else { continue };
        for run in of_thread {
            of_shared(run, &state, (common, stage));
        }
    }
}

/// Every acknowledged commit is there, as it was.
async fn commits(common: &Common) {
    let acknowledged = std::mem::take(&mut common.history.facts().acknowledged);
    let mut lines: BTreeMap<ThreadId, BTreeMap<u64, _>> = BTreeMap::new();
    for ((thread, seq), entry) in acknowledged.iter().rev() {
        let known = lines.entry(*thread).or_default();
        if !known.contains_key(seq) {
            // The newest first: one line has most of the others.
            let line = common.store.line(*thread, At::Seq(entry.seq), From::Root).await.unwrap();
            let entries = line.map(|line| line.entries).unwrap_or_default();
            known.extend(entries.into_iter().map(|entry| (entry.seq.0, entry)));
        }
        if known.get(seq) != Some(entry) {
            common.history.wrong(format!("commit {seq} of {thread} was stored and is lost"));
        }
    }
}

async fn state(common: &Common, thread: ThreadId) -> Option<Map<String, Value>> {
    let registry = common.registry.clone();
    let clock = Arc::new(JumpyClock::new());
    let worker = Worker::new(Arc::clone(&common.store), registry, clock, Settings::default());
    let view = worker.handle().state(thread, "", At::Head).await;
    match view {
        Ok(view) => Some(view?.values.into_iter().collect()),
        Err(problem) => {
            common.history.wrong(format!("the state of {thread} cannot be read: {problem}"));
            None
        }
    }
}

/// A thread that went through one graph once.
fn settled(
    runs: &[&Run],
    state: &Map<String, Value>,
    (thread, common): (ThreadId, &Common),
    stage: &Stage,
) {
    let history = &common.history;
    for run in runs {
        let fine = match run.status {
            RunStatus::Success | RunStatus::Interrupted => true,
            RunStatus::Cancelled | RunStatus::RolledBack => run.cancel.is_some(),
            // What it was to go on from was taken back.
            RunStatus::Error => runs.iter().any(|run| run.status == RunStatus::RolledBack),
            RunStatus::Pending | RunStatus::Running | RunStatus::Timeout => false,
        };
        if !fine {
            let Run { id, status, reason, .. } = run;
            history.wrong(format!("run {id} alone on {thread} is {status:?}: {reason:?}"));
        }
    }
    if runs.iter().any(|run| run.cancel.is_some()) {
        return;
    }
    if let Some(last) = runs.last()
        && last.status != RunStatus::Success
    {
        history.wrong(format!("the last run {} on {thread} is {:?}", last.id, last.status));
    }
    let answers = history.facts().answers.clone();
    for ((of, _), (question, answer)) in answers {
        let found = state.get("answers").and_then(|answers| answers.get(&question));
        if of == thread && found != Some(&answer) {
            let found = found.unwrap_or(&Value::Null);
            history.wrong(format!("{question} was answered {answer} and the node got {found}"));
        }
    }
    for (name, outcome) in members(state, "acts") {
        performed(name, outcome, stage);
    }
}

fn performed(name: &str, outcome: &Value, stage: &Stage) {
    let times = stage.outside.performed(name);
    let fine = if outcome == "ambiguous" { times <= 1 } else { times >= 1 };
    if !fine {
        stage.history.wrong(format!("{name} is {outcome} and was done {times} times"));
    }
}

fn members<'a>(
    state: &'a Map<String, Value>,
    channel: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    state.get(channel).and_then(Value::as_object).into_iter().flatten()
}

/// One run of several on a thread: what it added is there as often as its end says.
fn of_shared(run: &Run, state: &Map<String, Value>, (common, stage): (&Common, &Stage)) {
    let id = run.id.to_string();
    let count = |channel: &str| {
        let list = state.get(channel).and_then(Value::as_array);
        list.map_or(0, |list| list.iter().filter(|one| **one == json!(id)).count())
    };
    let (seen, done) = (count("seen"), count("done"));
    let allowed = match run.status {
        RunStatus::Success => (seen, done) == (1, 1),
        RunStatus::RolledBack => run.cancel.is_some() && (seen, done) == (0, 0),
        RunStatus::Cancelled => run.cancel.is_some() && seen <= 1 && done <= seen,
        RunStatus::Timeout => run.deadline.is_some() && seen <= 1 && done <= seen,
        RunStatus::Pending | RunStatus::Running | RunStatus::Interrupted | RunStatus::Error => {
            false
        }
    };
    if !allowed {
        let Run { status, reason, .. } = run;
        let what = format!("run {id} is {status:?} ({reason:?}), seen {seen}, done {done}");
        common.history.wrong(what);
    }
    if run.status == RunStatus::Success {
        let outcome = state.get("acts").and_then(|acts| acts.get(&id)).cloned().unwrap_or_default();
        performed(&act_of(&id), &outcome, stage);
    }
}

/// Where nothing goes wrong, the same graph with the same answers comes to the same.
async fn compare(
    program: impl Fn(&Stage) -> Program,
    state: &Map<String, Value>,
    history: &History,
) {
    let (outside, seen) = (Arc::new(Outside::default()), Arc::new(History::new()));
    let stage = Stage { outside, history: seen, hurries: false };
    let clock = Arc::new(JumpyClock::new());
    let mut local = Local::new(program(&stage), Arc::clone(&clock) as _);
    if let Err(refused) = local.run(Request::Input(Map::new())).await {
        return history.wrong(format!("the reference cannot begin: {refused}"));
    }
    for _ in 0..ROUNDS_MAX {
        match local.machine().rests() {
            Rests::Running | Rests::Waiting | Rests::Interrupted => {}
            Rests::Idle => break,
            Rests::Failed(_) | Rests::Cancelled { .. } | Rests::TimedOut => {
                return history.wrong(format!("the reference {:?}", local.machine().rests()));
            }
        }
        let view = local.machine().view("").unwrap();
        let answers = view.interrupts().into_iter().filter_map(|question| {
            let value = state.get("answers")?.get(question.value.as_str()?)?.clone();
            Some((
                question.id.clone(),
                Answer { value, actor: "nobody".to_owned(), at: clock.now() },
            ))
        });
        let mail = Mail { answers: answers.collect(), ..Mail::default() };
        if mail == Mail::default() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        local.tell(mail).await;
    }
    let expected: Map<String, Value> = local.machine().values().clone().into_iter().collect();
    let (found, expected) = (certain(state), certain(&expected));
    if found != expected {
        history.wrong(format!("the state is\n{found:#}\nand without trouble it is\n{expected:#}"));
    }
}

/// The state as it would be had no effect been left in doubt.
fn certain(state: &Map<String, Value>) -> Value {
    let mut state = state.clone();
    for outcome in state.get_mut("acts").and_then(Value::as_object_mut).into_iter().flatten() {
        *outcome.1 = json!("done");
    }
    Value::Object(state)
}
