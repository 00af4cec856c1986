//! Threads and histories that were kept for long enough.

use std::time::Duration;

use agentry_core::threads::{At, CheckpointQuery};
use agentry_core::{Clock as _, RunId, Timestamp};
use agentry_engine::durable::{Place, Retention, Tidied, Wish};
use agentry_engine::node::from_fn;
use agentry_engine::{Ask, END, Graph, NodeOutput, Program, Reducer, Request, START};
use serde_json::json;

use crate::world::{Backend, Process, World, over_both_stores};

over_both_stores! {
    what_was_not_used_for_long_enough_goes
    one_process_tidies_up_at_a_time
    a_run_to_come_finds_the_checkpoint_that_it_begins_at
}

const DAY: Duration = Duration::from_secs(86_400);

/// Runs that are asked for by `ask` wait for a person.
fn program(ask: bool) -> Program {
    let node = from_fn(move |_, _| {
        Box::pin(async move {
            Ok(match ask {
                true => NodeOutput::ask(Ask::question("ok", json!("?"))),
                false => NodeOutput::done().update("log", json!(["b"])),
            })
        })
    });
    let a = from_fn(|_, _| Box::pin(async { Ok(NodeOutput::done().update("log", json!(["a"]))) }));
    Graph::builder("g")
        .channel_from("log", Reducer::Append, json!([]))
        .node("a", a)
        .node("b", node)
        .edge(START, "a")
        .edge("a", "b")
        .edge("b", END)
        .build()
        .unwrap()
}

async fn checkpoints(process: &Process, run: RunId) -> usize {
    let query = CheckpointQuery { max: 99, ..CheckpointQuery::default() };
    process.world.archive.checkpoints(run.own_thread(), query).await.unwrap().len()
}

async fn what_was_not_used_for_long_enough_goes(backend: Backend) {
    let world = World::new(backend);
    let process = world.start(&program(true));
    let waits = process.submit("waits").await;
    process.until_parked(waits).await;
    process.stop().await;
    let process = world.start(&program(false));
    let run = process.submit("k").await;
    let state = process.values(run).await;
    let retention = Retention { threads: Some(10 * DAY), history: Some(2 * DAY) };
    let mut place = Place::default();
    let mut tidy = async || process.handle.tidy(retention, &mut place).await.unwrap();
    assert_eq!(tidy().await, Tidied::default(), "nothing is old");

    process.advance(3 * DAY);
    let before = checkpoints(&process, run).await;
    let cut = tidy().await;
    assert_eq!((cut.threads, cut.cut, cut.more), (0, 1, false), "{cut:?}");
    assert!(cut.entries > 0 && before > 1);
    assert_eq!(checkpoints(&process, run).await, 1);
    let view = process.handle.state(run.own_thread(), "", At::Head).await.unwrap().unwrap();
    assert_eq!(json!(view.values), state);
    assert_eq!(tidy().await, Tidied::default(), "there is nothing more to cut");

    // It was used eleven days ago, whenever its history was cut.
    process.advance(8 * DAY);
    let removed = tidy().await;
    assert_eq!((removed.threads, removed.cut), (1, 0));
    assert_eq!(world.archive.thread(run.own_thread()).await.unwrap(), None);
    let asked = world.archive.thread(waits.own_thread()).await.unwrap();
    assert!(asked.is_some(), "whoever waits for a person is not done");
    process.stop().await;
}

async fn one_process_tidies_up_at_a_time(backend: Backend) {
    let world = World::new(backend);
    let process = world.start(&program(false));
    let run = process.submit("k").await;
    process.values(run).await;
    let retention = Retention { threads: Some(DAY), history: None };
    let mut place = Place::default();
    process.handle.tidy(retention, &mut place).await.unwrap();
    process.advance(2 * DAY);
    // Another one has the token.
    let token = agentry_core::ThreadId::derived(Timestamp::from_micros(0), "retention");
    let now = world.clock.now();
    let claim = agentry_core::threads::Claim {
        worker: "another".to_owned(),
        now,
        lease_until: now.plus(Duration::from_secs(10)),
        threads_max: 1,
        programs: Vec::new(),
    };
    world.disk.take(token, claim).await.unwrap();
    assert_eq!(process.handle.tidy(retention, &mut place).await.unwrap(), Tidied::default());
    process.advance(Duration::from_secs(11));
    assert_eq!(process.handle.tidy(retention, &mut place).await.unwrap().threads, 1);
    process.stop().await;
}

async fn a_run_to_come_finds_the_checkpoint_that_it_begins_at(backend: Backend) {
    let world = World::new(backend);
    let process = world.start(&program(false));
    let run = process.submit("k").await;
    process.values(run).await;
    let thread = run.own_thread();
    let query = CheckpointQuery { max: 99, ..CheckpointQuery::default() };
    let all = world.archive.checkpoints(thread, query).await.unwrap();
    // The state before `a` has said anything.
    let first = all.last().map(|found| found.checkpoint.id);
    let now = world.clock.now();
    let later = RunId::derived(now, "later");
    let wish = Wish {
        from: first,
        not_before: Some(now.plus(3 * DAY)),
        ..Wish::new(later, thread, "g", Request::GoOn, now)
    };
    process.handle.submit(wish).await.unwrap();
    let retention = Retention { threads: Some(DAY), history: Some(DAY) };
    let mut place = Place::default();
    process.advance(2 * DAY);
    let tidied = process.handle.tidy(retention, &mut place).await.unwrap();
    assert_eq!(tidied, Tidied::default(), "the run to come needs it");
    assert_eq!(process.handle.compact(thread).await.unwrap(), 0);
    process.advance(2 * DAY);
    process.values(later).await;
    let after = world
        .archive
        .checkpoints(thread, CheckpointQuery { max: 99, ..CheckpointQuery::default() });
    assert!(after.await.unwrap().len() > all.len(), "it has gone on from there");
    assert!(process.handle.compact(thread).await.unwrap() > 0, "nothing is to come any more");
    process.stop().await;
}
