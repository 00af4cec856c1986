//! Looking at a thread from outside: its state, its history, what happens to it.

use std::time::Duration;

use agentry_core::thread::{EventId, Multitask, RunStatus};
use agentry_core::threads::{At, CheckpointQuery, Submitted};
use agentry_core::{Clock as _, RunId, ThreadId};
use agentry_engine::durable::{Heard, Wish};
use agentry_engine::machine::{Request, Update};
use agentry_engine::node::from_fn;
use agentry_engine::{END, Graph, NodeOutput, Program, Reducer, START};
use serde_json::{Map, json};

use crate::world::{Backend, Process, World, over_both_stores, patiently};

over_both_stores! {
    a_long_thread_is_loaded_from_a_snapshot
    a_run_goes_on_from_an_old_checkpoint
    a_state_is_changed_from_outside
    a_follower_hears_everything_once
    a_compacted_thread_keeps_its_state
}

fn program() -> Program {
    let mark = || {
        from_fn(|cx, _| {
            let name = cx.node().to_owned();
            cx.tell("custom", json!({ "of": name }));
            Box::pin(async move { Ok(NodeOutput::done().append("seen", name)) })
        })
    };
    Graph::builder("g")
        .channel("seen", Reducer::Append)
        .node("a", mark())
        .node("b", mark())
        .edge(START, "a")
        .edge("a", "b")
        .edge("b", END)
        .build()
        .unwrap()
}

fn thread() -> ThreadId {
    ThreadId::from_bytes([7; 16])
}

fn wish(process: &Process, number: u8) -> Wish {
    let now = process.world.clock.now();
    let input = Map::from_iter([("seen".to_owned(), json!([number]))]);
    let run = RunId::new(now, [number; 10]);
    Wish::new(run, thread(), "g", Request::Input(input), now)
}

async fn run(process: &Process, wish: Wish) -> RunId {
    let Submitted::Created(run) = process.handle.submit(wish).await.unwrap() else {
        panic!("it is new")
    };
    let ended = patiently(process.handle.wait(run)).await.unwrap().unwrap();
    assert_eq!(ended.status, RunStatus::Success, "{:?}", ended.reason);
    run
}

async fn seen(process: &Process, at: At) -> serde_json::Value {
    let view = process.handle.state(thread(), "", at).await.unwrap().unwrap();
    view.values["seen"].clone()
}

async fn a_long_thread_is_loaded_from_a_snapshot(backend: Backend) {
    let world = World::new(backend);
    let process = world.start(&program());
    for number in 0..40 {
        run(&process, wish(&process, number)).await;
    }
    let loaded = world.disk.load(thread()).await.unwrap().unwrap();
    assert!(loaded.line.entries.len() < 80, "{}", loaded.line.entries.len());
    assert!(loaded.line.snapshot.is_some());
    let whole = world.archive.line(thread(), At::Head, agentry_core::threads::From::Root).await;
    assert!(whole.unwrap().unwrap().entries.len() > 100);
    process.stop().await;
    let process = world.start(&program());
    run(&process, wish(&process, 41)).await;
    let seen = seen(&process, At::Head).await;
    assert_eq!(seen.as_array().unwrap().len(), 41 * 3);
    process.stop().await;
}

async fn a_run_goes_on_from_an_old_checkpoint(backend: Backend) {
    let process = World::new(backend).start(&program());
    run(&process, wish(&process, 1)).await;
    run(&process, wish(&process, 2)).await;
    assert_eq!(seen(&process, At::Head).await, json!([1, "a", "b", 2, "a", "b"]));
    let all = CheckpointQuery { ns: Some(String::new()), max: 99, ..Default::default() };
    let history = process.handle.history(thread(), all).await.unwrap();
    let after_a = history.iter().rev().find(|(_, view)| view.next == ["b"]).unwrap();
    assert_eq!(after_a.1.values["seen"], json!([1, "a"]));
    let from = Some(after_a.0.checkpoint.id);
    run(&process, Wish { from, request: Request::GoOn, ..wish(&process, 3) }).await;
    assert_eq!(seen(&process, At::Head).await, json!([1, "a", "b"]), "a branch of its own");
    run(&process, Wish { multitask: Multitask::Reject, ..wish(&process, 4) }).await;
    assert_eq!(seen(&process, At::Head).await, json!([1, "a", "b", 4, "a", "b"]));
    process.stop().await;
}

async fn a_state_is_changed_from_outside(backend: Backend) {
    let process = World::new(backend).start(&program());
    run(&process, wish(&process, 1)).await;
    let values = Map::from_iter([("seen".to_owned(), json!(["x"]))]);
    let update = Update { values: Some(values), as_node: Some("a".to_owned()) };
    let updated = process.handle.update((thread(), None), None, vec![update]).await.unwrap();
    assert_eq!(updated.view.unwrap().next, ["b"]);
    assert_eq!(seen(&process, At::Head).await, json!([1, "a", "b", "x"]));
    run(&process, Wish { request: Request::GoOn, ..wish(&process, 2) }).await;
    assert_eq!(seen(&process, At::Head).await, json!([1, "a", "b", "x", "b"]));
    process.stop().await;
}

async fn a_follower_hears_everything_once(backend: Backend) {
    let process = World::new(backend).start(&program());
    run(&process, wish(&process, 1)).await;
    let mut follower = process.handle.follow(thread(), None, EventId::default());
    let mut told = Vec::new();
    let second = wish(&process, 2).run;
    let listening = async {
        let mut live = 0;
        loop {
            match follower.next().await.unwrap().unwrap() {
                Heard::Stored(event) => {
                    let over = event.event.kind == "run.ended" && event.run == Some(second);
                    told.push(event);
                    if over {
                        return live;
                    }
                }
                Heard::Live { .. } => live += 1,
            }
        }
    };
    let (live, _) = tokio::join!(patiently(listening), run(&process, wish(&process, 2)));
    assert!(live <= 2, "{live}");
    let stored = process.world.archive.events(thread(), None, EventId::default(), 999).await;
    assert_eq!(told, stored.unwrap());
    process.stop().await;
}

async fn a_compacted_thread_keeps_its_state(backend: Backend) {
    let process = World::new(backend).start(&program());
    run(&process, wish(&process, 1)).await;
    let before = process.handle.state(thread(), "", At::Head).await.unwrap().unwrap();
    let patience = async {
        // The worker may not have let go of it yet.
        loop {
            let removed = process.handle.compact(thread()).await.unwrap();
            if removed > 0 {
                return removed;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(patiently(patience).await >= 2);
    let after = process.handle.state(thread(), "", At::Head).await.unwrap().unwrap();
    assert_eq!((after.values, after.next), (before.values, before.next));
    run(&process, wish(&process, 2)).await;
    assert_eq!(seen(&process, At::Head).await, json!([1, "a", "b", 2, "a", "b"]));
    process.stop().await;
}
