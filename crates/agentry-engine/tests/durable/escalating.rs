//! Questions that nobody answers in time: the next one is asked, then what was agreed on happens.

use std::time::Duration;

use agentry_core::Clock as _;
use agentry_core::RunId;
use agentry_core::run::Answer;
use agentry_core::store::Log;
use agentry_core::thread::{EventId, RunStatus};
use agentry_core::threads::{At, Signal, Signalled};
use agentry_engine::durable::Settings;
use agentry_engine::node::from_fn;
use agentry_engine::{
    Ask, AtEnd, END, Graph, NodeContext, NodeOutput, NodeSettings, Program, Reducer, START,
};
use agentry_testkit::Crash;
use serde_json::{Value, json};

use crate::world::{Backend, Loaded, Process, Status, World, over_both_stores, patiently};

over_both_stores! {
    the_next_person_is_asked_and_answers
    after_the_last_person_the_answer_that_was_agreed_on_counts
    without_an_answer_the_node_fails
    without_an_answer_another_node_runs
    an_escalation_survives_a_restart
    an_answer_beats_an_escalation_that_is_not_stored_yet
    a_crash_at_any_write_changes_nothing_of_an_escalation
    a_question_that_leads_nowhere_is_not_asked
}

const HOUR: Duration = Duration::from_secs(3_600);

/// Asks `first` for an hour, then ada for two, then bob for three.
fn question(cx: &NodeContext, end: &AtEnd) -> Ask {
    let ask = Ask::question("ok", "deploy?").deadline(cx.now().plus(HOUR), "reject");
    let ask = ask.escalate("ada", HOUR * 2).escalate("bob", HOUR * 3);
    Ask { at_end: end.clone(), ..ask }
}

fn program(end: AtEnd) -> Program {
    let asks = from_fn(move |cx, _| {
        let end = end.clone();
        Box::pin(async move {
            let Some(reply) = cx.answer("ok") else {
                return Ok(NodeOutput::ask(question(cx, &end)));
            };
            Ok(NodeOutput::done().set("result", json!([reply.value, reply.actor])))
        })
    });
    let mends = from_fn(|cx, _| {
        Box::pin(async move {
            let why = cx.failure().map(|failure| failure.message.clone());
            Ok(NodeOutput::done().set("result", json!(["mended", why])))
        })
    });
    Graph::builder("g")
        .channel("result", Reducer::Last)
        .node_with("a", NodeSettings::default().on_error("m"), asks)
        .node("m", mends)
        .edge(START, "a")
        .edge("a", END)
        .open_ended()
        .build()
        .unwrap()
}

async fn escalated(process: &Process, run: RunId, times: u32) -> Loaded {
    let handed_on = |it: &Loaded| {
        it.row.status == Status::Parked
            && it.interrupts.first().is_some_and(|open| open.escalations == times)
    };
    process.until(run, handed_on).await
}

async fn asked(backend: Backend, end: AtEnd) -> (Process, RunId, String) {
    let process = World::new(backend).start(&program(end));
    let run = process.submit("k").await;
    let id = process.until_parked(run).await.interrupts[0].id.clone();
    (process, run, id)
}

async fn the_next_person_is_asked_and_answers(backend: Backend) {
    let (process, run, id) = asked(backend, AtEnd::Answer).await;
    process.advance(HOUR);
    let now = process.world.clock.now();
    let loaded = escalated(&process, run, 1).await;
    let open = &loaded.interrupts[0];
    assert_eq!((&open.id, open.deadline), (&id, Some(now.plus(HOUR * 2))));
    assert_eq!(loaded.row.wake_at, Some(now.plus(HOUR * 2)));
    let thread = run.own_thread();
    let view = process.handle.state(thread, "", At::Head).await.unwrap().unwrap();
    let shown = view.interrupts()[0].clone();
    assert_eq!((shown.escalations, shown.to.as_deref()), (1, Some("ada")));
    let told = process.world.archive.events(thread, Some(run), EventId::default(), 99).await;
    let told = told.unwrap().into_iter().find(|told| told.event.kind == "interrupt.escalated");
    let detail = told.unwrap().event.detail;
    assert_eq!(
        json!([detail["interrupt"], detail["to"], detail["question"], detail["deadline"]]),
        json!([id, "ada", "deploy?", now.plus(HOUR * 2)])
    );
    assert_eq!(process.answer(run, &id, json!("approve")).await, Signalled::Accepted);
    assert_eq!(process.values(run).await, json!({ "result": ["approve", "person:ada"] }));
    process.stop().await;
}

async fn after_the_last_person_the_answer_that_was_agreed_on_counts(backend: Backend) {
    let (process, run, id) = asked(backend, AtEnd::Answer).await;
    process.advance(HOUR);
    escalated(&process, run, 1).await;
    process.advance(HOUR * 2);
    escalated(&process, run, 2).await;
    process.advance(HOUR * 3);
    assert_eq!(process.values(run).await, json!({ "result": ["reject", null] }));
    assert_eq!(process.answer(run, &id, json!("late")).await, Signalled::Expired);
    let kinds = process.event_kinds(run).await;
    assert_eq!((kinds["interrupt.escalated"], kinds["interrupt.expired"]), (2, 1));
    process.stop().await;
}

async fn pass_all(process: &Process, run: RunId) {
    for (times, span) in [(1, HOUR), (2, HOUR * 2)] {
        process.advance(span);
        escalated(process, run, times).await;
    }
    process.advance(HOUR * 3);
}

async fn without_an_answer_the_node_fails(backend: Backend) {
    let (process, run, _) = asked(backend, AtEnd::Fail).await;
    pass_all(&process, run).await;
    let expected = json!({ "result": ["mended", "nobody answered `ok` in time"] });
    assert_eq!(process.values(run).await, expected);
    process.stop().await;
}

async fn without_an_answer_another_node_runs(backend: Backend) {
    let (process, run, _) = asked(backend, AtEnd::Route("m".to_owned())).await;
    pass_all(&process, run).await;
    let expected = json!({ "result": ["mended", "nobody answered `ok` in time"] });
    assert_eq!(process.values(run).await, expected);
    process.stop().await;
}

async fn an_escalation_survives_a_restart(backend: Backend) {
    let (process, run, id) = asked(backend, AtEnd::Answer).await;
    process.advance(HOUR);
    escalated(&process, run, 1).await;
    let world = process.world.clone();
    process.kill().await;
    let process = world.start(&program(AtEnd::Answer));
    process.advance(HOUR * 2);
    let loaded = escalated(&process, run, 2).await;
    assert_eq!(loaded.interrupts[0].id, id);
    process.advance(HOUR * 3);
    assert_eq!(process.values(run).await, json!({ "result": ["reject", null] }));
    process.stop().await;
}

async fn an_answer_beats_an_escalation_that_is_not_stored_yet(backend: Backend) {
    let (process, run, interrupt) = asked(backend, AtEnd::Answer).await;
    let world = process.world.clone();
    let (value, actor) = (json!("in time"), "person:ada".to_owned());
    let answer = Answer { value, actor, at: world.clock.now() };
    // Behind the worker's back, so that its own clock is the first thing to tell it anything.
    world.clock.advance(HOUR);
    let signal = Signal::Answer { interrupt, answer, audit: Vec::new() };
    assert_eq!(world.disk.signal(run.own_thread(), signal).await, Ok(Signalled::Accepted));
    process.handle.nudge();
    assert_eq!(process.values(run).await, json!({ "result": ["in time", "person:ada"] }));
    assert!(!process.event_kinds(run).await.contains_key("interrupt.escalated"));
    process.stop().await;
}

/// Lets time pass whenever the question stands, until the run is over or the process is.
async fn live(process: &Process, run: RunId) -> bool {
    let mut changes = process.store.changes();
    loop {
        changes.mark_unchanged();
        if process.store.is_dead() {
            return false;
        }
        let loaded = process.world.load(run).await;
        if loaded.run.status.is_over() && loaded.run.status != RunStatus::Interrupted {
            return true;
        }
        let due = loaded.interrupts.first().and_then(|open| open.deadline);
        if let Some(due) = due.filter(|due| *due > process.world.clock.now()) {
            process.advance(due.since(process.world.clock.now()));
        }
        // A death before a write changes nothing that would be told, so look again from time to time.
        let _ = tokio::time::timeout(Duration::from_millis(5), changes.changed()).await;
    }
}

async fn survive(backend: Backend, crash: Crash) -> (Value, bool) {
    let (world, program) = (World::new(backend), program(AtEnd::Answer));
    let process = world.start_with(&program, crash, Settings::default());
    let run = process.submit("k").await;
    let lived = patiently(live(&process, run)).await;
    process.kill().await;
    let process = world.start(&program);
    assert!(patiently(live(&process, run)).await);
    let kinds = process.event_kinds(run).await;
    let values = process.values(run).await;
    process.stop().await;
    (json!([values, kinds["interrupt.escalated"], kinds["interrupt.expired"]]), lived)
}

async fn a_crash_at_any_write_changes_nothing_of_an_escalation(backend: Backend) {
    let expected = json!([{ "result": ["reject", null] }, 2, 1]);
    let mut crashes = 0;
    for write in 1.. {
        let (before, lived) = survive(backend, Crash::Before(write)).await;
        assert_eq!(before, expected, "before write {write}");
        let (after, _) = survive(backend, Crash::After(write)).await;
        assert_eq!(after, expected, "after write {write}");
        if lived {
            break;
        }
        crashes += 1;
    }
    assert!(crashes >= 4, "{crashes}");
}

async fn a_question_that_leads_nowhere_is_not_asked(backend: Backend) {
    let process = World::new(backend).start(&program(AtEnd::Route("nowhere".to_owned())));
    let run = process.submit("k").await;
    let problem = "what it asked with `ok` leads to `nowhere`, which the graph does not have";
    assert_eq!(process.values(run).await, json!({ "result": ["mended", problem] }));
    process.stop().await;
}

/// What happened to a question is answered for, as what people decide is.
#[tokio::test]
async fn escalations_are_in_the_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = agentry_backends::sqlite::SqliteStore::open(folder.path().join("a.db")).unwrap();
    let store = std::sync::Arc::new(store);
    let world = World::over(folder, std::sync::Arc::clone(&store));
    let process = world.start(&program(AtEnd::Answer));
    let run = process.submit("k").await;
    let id = process.until_parked(run).await.interrupts[0].id.clone();
    pass_all(&process, run).await;
    process.values(run).await;
    process.stop().await;
    let records = store.audit(0, 99).await.unwrap();
    let entries =
        records.iter().map(|record| serde_json::from_str::<Value>(&record.entry).unwrap());
    let entries: Vec<_> = entries
        .map(|it| {
            json!([
                it["action"],
                it["subject"],
                it["actor"],
                it["detail"]["to"],
                it["detail"]["tenant"]
            ])
        })
        .collect();
    assert_eq!(
        json!(entries),
        json!([
            ["interrupt.escalated", id, "system", "ada", "main"],
            ["interrupt.escalated", id, "system", "bob", "main"],
            ["interrupt.expired", id, "system", null, "main"],
        ])
    );
}
