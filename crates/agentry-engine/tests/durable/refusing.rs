//! Threads that nobody can go on with: they say so, keep nobody busy, and are there when things are in order again.

use agentry_core::run::{Committed, Seq};
use agentry_core::thread::{Commit, Entry, Next, Rest, RunStatus, Status as ThreadStatus};
use agentry_core::threads::{At, Claim, From, Submitted, Taken};
use agentry_core::{Clock as _, Failure as _, RunId};
use agentry_engine::durable::{Settings, Wish};
use agentry_engine::effect::Undone;
use agentry_engine::node::from_fn;
use agentry_engine::{Class, END, Graph, NodeOutput, Program, Reducer, Request, START};
use agentry_testkit::Crash;
use serde_json::{Value, json};

use crate::world::{Backend, Process, Status, World, over_both_stores};

over_both_stores! {
    a_thread_that_cannot_be_read_fails_its_runs
    a_run_that_cannot_be_stored_fails_and_the_next_one_goes_on
    an_effect_that_cannot_be_stored_fails_its_run
    what_could_not_be_read_again_is_not_stored
}

fn program() -> Program {
    let acts = from_fn(|cx, _| {
        Box::pin(async move {
            let act = async |_| Ok::<_, Undone>(json!("done"));
            cx.effect("act", Class::Idempotent, act).await?;
            Ok(NodeOutput::done().append("seen", "a"))
        })
    });
    let build = Graph::builder("g").channel("seen", Reducer::Append).node("a", acts);
    build.edge(START, "a").edge("a", END).build().unwrap()
}

async fn more(process: &Process, first: RunId, name: &str) -> RunId {
    let (now, request) = (process.world.clock.now(), Request::Input(serde_json::Map::new()));
    let wish = Wish::new(RunId::derived(now, name), first.own_thread(), "g", request, now);
    match process.handle.submit(wish).await.unwrap() {
        Submitted::Created(run) => run,
        other => panic!("{other:?}"),
    }
}

/// Stores an entry in words that nobody understands.
async fn spoil(process: &Process, run: RunId) {
    let (disk, now) = (&process.world.disk, process.world.clock.now());
    let lease_until = now.plus(std::time::Duration::from_secs(60));
    let worker = "vandal".to_owned();
    let claim = Claim { worker, now, lease_until, threads_max: 1, programs: Vec::new() };
    let Taken::Yours(taken) = disk.take(run.own_thread(), claim).await.unwrap() else {
        panic!("it rests")
    };
    let (fence, parent) = (taken.fence, taken.loaded.thread.seq);
    let entry = Entry {
        seq: Seq(parent.0 + 1),
        parent,
        run: None,
        at: now,
        checkpoints: Vec::new(),
        writes: Vec::new(),
        body: json!({ "version": "77" }),
    };
    let commit = Commit {
        thread: run.own_thread(),
        fence,
        entry,
        next: Next::Rest { status: Rest::Idle, wake_at: None },
        runs: Vec::new(),
        opened: Vec::new(),
        closed: Vec::new(),
        postponed: Vec::new(),
        consumed: Vec::new(),
        forgotten: Vec::new(),
        events: Vec::new(),
        snapshot: None,
        audit: Vec::new(),
        program: None,
    };
    assert!(matches!(disk.commit(commit).await, Ok(Committed::Applied { .. })));
}

async fn a_thread_that_cannot_be_read_fails_its_runs(backend: Backend) {
    let process = World::new(backend).start(&program());
    let first = process.submit("k").await;
    process.values(first).await;
    spoil(&process, first).await;
    for name in ["second", "third"] {
        let run = more(&process, first, name).await;
        let (status, reason) = process.reason(run).await;
        assert_eq!(status, Status::Failed);
        assert!(reason.contains("cannot be read"), "{reason}");
    }
    let thread = process.world.archive.thread(first.own_thread()).await.unwrap().unwrap();
    assert_eq!((thread.status, thread.wake_at), (ThreadStatus::Failed, None));
    let other = process.submit("other").await;
    assert_eq!(process.values(other).await, json!({ "seen": ["a"] }));
    process.stop().await;
}

async fn a_run_that_cannot_be_stored_fails_and_the_next_one_goes_on(backend: Backend) {
    // The first write begins the run, the second is the effect, the third what came of it.
    let crash = Crash::Refused(3);
    let process = World::new(backend).start_with(&program(), crash, Settings::default());
    let first = process.submit("k").await;
    let (status, reason) = process.reason(first).await;
    assert_eq!(
        (status, reason.as_str()),
        (Status::Failed, "the store refuses this: it is too large")
    );
    let second = more(&process, first, "second").await;
    let ended = process.finished(second).await;
    assert_eq!(
        (ended.run.status, json!(ended.values)),
        (RunStatus::Success, json!({ "seen": ["a"] }))
    );
    process.stop().await;
}

async fn an_effect_that_cannot_be_stored_fails_its_run(backend: Backend) {
    let crash = Crash::Refused(2);
    let process = World::new(backend).start_with(&program(), crash, Settings::default());
    let first = process.submit("k").await;
    let (status, reason) = process.reason(first).await;
    assert_eq!(
        (status, reason.as_str()),
        (Status::Failed, "the store refuses this: it is too large")
    );
    process.stop().await;
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inner, _| json!([inner]))
}

async fn what_could_not_be_read_again_is_not_stored(backend: Backend) {
    let deeper = from_fn(|_, state| {
        let inner = state.get("tower").cloned().unwrap_or_default();
        Box::pin(async move { Ok(NodeOutput::done().set("tower", json!([inner]))) })
    });
    check_too_deep(backend, tower(deeper), "what is written to `tower`").await;
    let found = from_fn(|cx, _| {
        Box::pin(async move {
            let act = async |_| Ok::<_, Undone>(nested(120));
            let found = cx.effect("act", Class::Once, act).await?;
            Ok(NodeOutput::done().set("tower", found))
        })
    });
    check_too_deep(backend, tower(found), "what came of an effect").await;
}

fn tower(node: impl agentry_engine::Node + 'static) -> Program {
    let done = from_fn(|_, _| Box::pin(async { Ok(NodeOutput::done()) }));
    let graph = Graph::builder("g").channel("tower", Reducer::Last).node("a", node);
    let graph = graph.node("b", done).edge(START, "a").edge("a", "a").edge("a", "b");
    graph.edge("b", END).build().unwrap()
}

async fn check_too_deep(backend: Backend, program: Program, reason: &str) {
    let world = World::new(backend);
    let process = world.start(&program);
    let run = process.submit("k").await;
    let (status, told) = process.reason(run).await;
    assert_eq!(status, Status::Failed);
    assert!(told.contains(reason) && told.contains("deeper than 112 levels"), "{told}");
    let line = world.archive.line(run.own_thread(), At::Head, From::Root).await;
    assert!(line.unwrap().is_some(), "it can be read");

    let (now, deep) = (world.clock.now(), json!({ "tower": nested(112) }));
    let request = Request::Input(deep.as_object().cloned().unwrap());
    let wish = Wish::new(RunId::derived(now, "deep"), run.own_thread(), "g", request, now);
    let refused = process.handle.submit(wish).await.unwrap_err();
    assert_eq!(refused.code().0, "update_unfit");
    process.stop().await;
}
