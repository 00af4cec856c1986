//! A process may end at any write; the next one goes on, and nothing that was done is done again.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::Clock as _;
use agentry_core::run::Answer;
use agentry_core::thread::RunStatus;
use agentry_engine::durable::Settings;
use agentry_engine::effect::{self, Undone};
use agentry_engine::node::from_fn;
use agentry_engine::{
    Ask, Class, END, Graph, Node, NodeError, NodeOutput, NodeSettings, Program, Reducer, START,
};
use agentry_testkit::{Crash, Effects};
use serde_json::{Value, json};

use crate::world::{Backend, Process, Status, World, over_both_stores, patiently};

over_both_stores! {
    a_store_that_does_not_confirm_is_asked_again
    a_crash_at_any_write_changes_nothing_in_the_end
    an_effect_that_was_refused_is_tried_again
}

fn act(effects: &Arc<Effects>, class: Class) -> impl Node + 'static {
    let effects = Arc::clone(effects);
    from_fn(move |cx, _| {
        let effects = Arc::clone(&effects);
        Box::pin(async move {
            let name = cx.node();
            let world = async |key: String| {
                effects.perform(name, &key);
                Ok::<_, Undone>(json!(key.len()))
            };
            let outcome = match cx.effect("do", class, world).await {
                Ok(value) => value,
                Err(effect::Error::Ambiguous { .. }) => json!("ambiguous"),
                Err(other) => return Err(NodeError::from(other)),
            };
            Ok(NodeOutput::done().set(name, outcome).append("seen", name))
        })
    })
}

/// Fails once, then asks a person, then writes what was answered.
fn approve() -> impl Node + 'static {
    from_fn(|cx, _| {
        Box::pin(async move {
            if cx.attempt() == 1 {
                return Err(NodeError::transient("not at once"));
            }
            let Some(reply) = cx.answer("ok") else {
                let deadline = cx.now().plus(Duration::from_secs(60));
                return Ok(NodeOutput::ask(Ask::question("ok", "?").deadline(deadline, "reject")));
            };
            Ok(NodeOutput::done().set("approve", reply.value.clone()).append("seen", "approve"))
        })
    })
}

fn program(effects: &Arc<Effects>) -> Program {
    let names = ["ticket", "message", "approve", "act", "report"];
    names
        .into_iter()
        .fold(Graph::builder("g"), |builder, name| builder.channel(name, Reducer::Last))
        .channel("seen", Reducer::Append)
        .node("ticket", act(effects, Class::Idempotent))
        .node("message", act(effects, Class::Once))
        .node_with("approve", NodeSettings::default().attempts(2, Duration::ZERO), approve())
        .node("act", act(effects, Class::Once))
        .node("report", act(effects, Class::Idempotent))
        .fan_out(START, ["ticket", "message"])
        .join(["ticket", "message"], "approve")
        .edge("approve", "act")
        .edge("act", "report")
        .edge("report", END)
        .build()
        .unwrap()
}

/// Answers the question whenever it stands, until the run is over or the process is.
async fn live(process: &Process, run: agentry_core::RunId) -> bool {
    let mut changes = process.store.changes();
    loop {
        changes.mark_unchanged();
        if process.store.is_dead() {
            return false;
        }
        let loaded = process.world.load(run).await;
        if loaded.run.status.is_over() && loaded.run.status != RunStatus::Interrupted {
            assert_eq!(loaded.row.status, Status::Succeeded, "{:?}", loaded.row.reason);
            return true;
        }
        let asked = loaded.interrupts.iter().find(|interrupt| interrupt.answer.is_none());
        if let Some(asked) = asked.filter(|_| loaded.row.status == Status::Parked) {
            let at = process.world.clock.now();
            let answer = Answer { value: json!("yes"), actor: "person:ada".to_owned(), at };
            let thread = run.own_thread();
            let _ = process.handle.answer(thread, &asked.id, answer, Vec::new()).await;
        }
        // A death before a write changes nothing that would be told, so look again from time to time.
        let _ = tokio::time::timeout(Duration::from_millis(5), changes.changed()).await;
    }
}

/// What the run has come to, and whether the first process lived to its end.
async fn survive(backend: Backend, crash: Crash) -> (Value, Arc<Effects>, bool) {
    let effects = Arc::new(Effects::new());
    let (world, program) = (World::new(backend), program(&effects));
    let process = world.start_with(&program, crash, Settings::default());
    let run = process.submit("k").await;
    let lived = patiently(live(&process, run)).await;
    process.kill().await;
    if !lived {
        let process = world.start(&program);
        assert!(patiently(live(&process, run)).await);
        process.stop().await;
    }
    let loaded = world.load(run).await;
    (json!(loaded.values), effects, lived)
}

async fn a_crash_at_any_write_changes_nothing_in_the_end(backend: Backend) {
    let (whole, effects, lived) = survive(backend, Crash::Never).await;
    assert!(lived);
    assert_eq!(effects.counts().into_values().collect::<Vec<_>>(), [1, 1, 1, 1]);
    let mut survived = 0;
    for crash in (1..).flat_map(|at| [Crash::Before(at), Crash::After(at)]) {
        let (mut values, effects, lived) = survive(backend, crash).await;
        for once in ["message", "act"] {
            let done = effects.count(once);
            // What was begun and not seen to end is never repeated: it may have happened or not.
            if values[once] == "ambiguous" {
                assert!(done <= 1, "{crash:?}: {once} was done {done} times");
                values[once] = whole[once].clone();
            } else {
                assert_eq!(done, 1, "{crash:?}: {once}");
            }
        }
        for idempotent in ["ticket", "report"] {
            assert_eq!(effects.keys(idempotent), 1, "{crash:?}: {idempotent}");
        }
        // Alone in its superstep, it is only repeated when its result was not stored.
        let repeats = usize::from(matches!(crash, Crash::Before(_)));
        assert!(effects.count("report") <= 1 + repeats, "{crash:?}");
        assert_eq!(values, whole, "{crash:?}");
        if lived {
            break;
        }
        survived += 1;
    }
    assert!(survived > 20, "only {survived} writes were tried");
}

async fn a_store_that_does_not_confirm_is_asked_again(backend: Backend) {
    let (whole, ..) = survive(backend, Crash::Never).await;
    for every in [3, 4, 7] {
        let (values, effects, lived) = survive(backend, Crash::Doubt(every)).await;
        assert!(lived);
        assert_eq!(values, whole, "one write of {every} is in doubt");
        let counts: Vec<_> = effects.counts().into_values().collect();
        assert_eq!(counts, [1, 1, 1, 1], "one write of {every} is in doubt");
    }
}

async fn an_effect_that_was_refused_is_tried_again(backend: Backend) {
    let effects = Arc::new(Effects::new());
    let world_effects = Arc::clone(&effects);
    let node = from_fn(move |cx, _| {
        let effects = Arc::clone(&world_effects);
        Box::pin(async move {
            let world = async |key: String| {
                if effects.perform("pay", &key) == 0 {
                    return Err(Undone::NotDone("the bank is closed".to_owned()));
                }
                Ok(json!("paid"))
            };
            let paid = cx.effect("pay", Class::Once, world).await?;
            let again = async |_: String| Err(Undone::Refused("not asked".to_owned()));
            assert_eq!(cx.effect("pay", Class::Once, again).await, Ok(paid.clone()));
            Ok(NodeOutput::done().set("result", paid))
        })
    });
    let program = Graph::builder("g")
        .channel("result", Reducer::Last)
        .node_with("a", NodeSettings::default().attempts(2, Duration::ZERO), node)
        .edge(START, "a")
        .edge("a", END)
        .build();
    let process = World::new(backend).start(&program.unwrap());
    let run = process.submit("k").await;
    assert_eq!(process.values(run).await, json!({ "result": "paid" }));
    assert_eq!(effects.count("pay"), 2);
    process.stop().await;
}
