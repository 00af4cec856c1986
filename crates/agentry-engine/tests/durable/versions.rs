//! What becomes of threads when there is another version of their graph.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentry_core::thread::Status as Thread;
use agentry_core::threads::{At, CheckpointQuery, Submitted};
use agentry_core::{Clock as _, Failure as _, RunId, Timestamp};
use agentry_engine::durable::{Settings, Wish};
use agentry_engine::effect::Class;
use agentry_engine::node::from_fn;
use agentry_engine::version::{Change, Policy, Verdict, schema_of};
use agentry_engine::{
    Ask, END, Graph, GraphBuilder, Node, NodeOutput, Program, Reducer, Registry, Request, START,
};
use serde_json::{Map, Value, json};

use crate::world::{Backend, Process, Status, World, over_both_stores, patiently};

over_both_stores! {
    a_thread_that_waits_for_a_person_is_moved_with_its_state
    what_was_before_is_read_and_gone_on_from
    a_thread_that_does_not_fit_says_why_and_stays_as_it_is
    a_key_that_its_reducer_cannot_add_to_is_named
    a_thread_that_was_interrupted_by_a_crash_is_moved_by_a_worker
    a_thread_inside_of_a_graph_is_moved_where_its_version_is
    a_pinned_thread_goes_on_with_its_own_version_or_not_at_all
    a_graph_that_refuses_lets_nobody_go_on
    two_instances_do_not_move_a_thread_to_and_fro
    a_thread_that_never_began_begins_on_the_version_that_is_there
}

/// How often `draft` was written outside.
type Count = Arc<AtomicUsize>;

fn write(count: &Count, key: &'static str) -> impl Node + 'static {
    let count = Arc::clone(count);
    from_fn(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { Ok(NodeOutput::done().set(key, "once upon a time")) })
    })
}

/// Does something outside before it asks.
fn asks(count: &Count) -> impl Node + 'static {
    let count = Arc::clone(count);
    from_fn(move |cx, _| {
        let count = Arc::clone(&count);
        Box::pin(async move {
            let mail = |_| async {
                count.fetch_add(1, Ordering::Relaxed);
                Ok::<_, agentry_core::outbound::Error>(json!("sent"))
            };
            cx.effect("mail", Class::Idempotent, mail).await?;
            let Some(reply) = cx.answer("ok") else {
                return Ok(NodeOutput::ask(Ask::question("ok", json!("publish?"))));
            };
            Ok(NodeOutput::done().set("decision", reply.value.clone()))
        })
    })
}

fn graph(policy: Policy) -> GraphBuilder {
    Graph::builder("g").channel("decision", Reducer::Last).on_change(policy)
}

/// `write` and then `approve`, which asks.
fn first(policy: Policy, count: &Count) -> Program {
    graph(policy)
        .channel("draft", Reducer::Last)
        .channel("notes", Reducer::Append)
        .node("write", write(count, "draft"))
        .node("approve", asks(count))
        .edge(START, "write")
        .edge("write", "approve")
        .edge("approve", END)
        .build()
        .unwrap()
}

/// The same in other words, and one node more.
fn second(policy: Policy, count: &Count) -> Program {
    graph(policy)
        .channel("text", Reducer::Last)
        .channel("language", Reducer::Last)
        .channel("done", Reducer::Last)
        .node("compose", write(count, "text"))
        .node("review", asks(count))
        .node(
            "publish",
            from_fn(|_, _| Box::pin(async { Ok(NodeOutput::done().set("done", true)) })),
        )
        .edge(START, "compose")
        .edge("compose", "review")
        .edge("review", "publish")
        .edge("publish", END)
        .migration("a draft is a text", |thread| {
            thread.rename("draft", "text");
            thread.rename_node("write", "compose");
            Ok(())
        })
        .migration("texts have a language", |thread| {
            thread.provide("language", "en");
            thread.drop("scratch");
            thread.rename_node("approve", "review");
            Ok(())
        })
        .build()
        .unwrap()
}

/// `write` alone: nobody asks.
fn without(policy: Policy, count: &Count) -> Program {
    graph(policy)
        .channel("draft", Reducer::Last)
        .node("write", write(count, "draft"))
        .edge(START, "write")
        .edge("write", END)
        .build()
        .unwrap()
}

fn start(world: &World, programs: &[&Program]) -> Process {
    let registry = programs.iter().fold(Registry::new(), |all, one| all.with((*one).clone()));
    world.start_among(registry, "g", Settings::default())
}

async fn parked(world: &World, program: &Program) -> RunId {
    let process = start(world, &[program]);
    let run = process.submit("k").await;
    process.until_parked(run).await;
    process.stop().await;
    run
}

async fn values(process: &Process, run: RunId) -> Value {
    let view = process.handle.state(run.own_thread(), "", At::Head).await.unwrap().unwrap();
    json!(view.values)
}

async fn verdict(process: &Process, run: RunId) -> Verdict {
    process.handle.outlook(run.own_thread()).await.unwrap().unwrap().verdict
}

fn later(number: i64) -> RunId {
    RunId::new(Timestamp::from_millis(1_800_000_000_000 + number), [9; 10])
}

async fn go_on(process: &Process, run: RunId, number: i64) -> Result<RunId, &'static str> {
    let now = process.world.clock.now();
    let wish = Wish::new(later(number), run.own_thread(), "g", Request::GoOn, now);
    match process.handle.submit(wish).await {
        Ok(Submitted::Created(run)) => Ok(run),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code().0),
    }
}

async fn a_thread_that_waits_for_a_person_is_moved_with_its_state(backend: Backend) {
    let (world, count) = (World::new(backend), Count::default());
    let old = first(Policy::Pin, &count);
    let run = parked(&world, &old).await;
    let new = second(Policy::Migrate, &count);
    assert_eq!((schema_of(old.version()), schema_of(new.version())), (1, 3));

    let process = start(&world, &[&new]);
    let expected = Verdict::Migrates {
        steps: vec!["a draft is a text".to_owned(), "texts have a language".to_owned()],
        changes: vec![
            Change::Removed("draft".to_owned()),
            Change::Added("language".to_owned()),
            Change::Added("text".to_owned()),
        ],
    };
    assert_eq!(verdict(&process, run).await, expected);
    let untouched = world.archive.thread(run.own_thread()).await.unwrap().unwrap();
    assert_eq!(untouched.program, Some(old.pinned()), "a dry run moves nothing");

    let question = world.questions().await.remove(0);
    process.answer(run, &question.id, json!("yes")).await;
    let loaded = process.finished(run).await;
    assert_eq!(loaded.row.status, Status::Succeeded, "{:?}", loaded.row.reason);
    let told = json!({
        "decision": "yes", "done": true, "language": "en", "text": "once upon a time",
    });
    assert_eq!(values(&process, run).await, told);
    assert_eq!(count.load(Ordering::Relaxed), 2, "written once, mailed once");
    let moved = world.archive.thread(run.own_thread()).await.unwrap().unwrap();
    assert_eq!((moved.program, moved.status), (Some(new.pinned()), Thread::Idle));
    assert_eq!(verdict(&process, run).await, Verdict::Current);
    process.stop().await;

    // It is loaded again from what is stored, and compacted.
    let process = start(&world, &[&new]);
    assert_eq!(values(&process, run).await, told);
    process.handle.compact(run.own_thread()).await.unwrap();
    assert_eq!(values(&process, run).await, told);
    process.stop().await;
}

async fn what_was_before_is_read_and_gone_on_from(backend: Backend) {
    let (world, count) = (World::new(backend), Count::default());
    let run = parked(&world, &first(Policy::Pin, &count)).await;
    let process = start(&world, &[&second(Policy::Migrate, &count)]);
    let moved = process.handle.migrate(run.own_thread()).await.unwrap().unwrap();
    assert!(matches!(moved.verdict, Verdict::Migrates { .. }), "{moved:?}");

    let all = CheckpointQuery { max: 99, ..CheckpointQuery::default() };
    let history = process.handle.history(run.own_thread(), all).await.unwrap();
    let told = history.iter().map(|(found, view)| {
        let moved = found.checkpoint.metadata.contains_key("migration");
        (moved, view.next.clone(), json!(view.values))
    });
    let expected = [
        (true, vec!["review".to_owned()], json!({ "language": "en", "text": "once upon a time" })),
        (false, vec!["approve".to_owned()], json!({ "draft": "once upon a time" })),
        (false, vec!["write".to_owned()], json!({})),
        (false, vec!["__start__".to_owned()], json!({})),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);

    // From before the draft was written, on today's version.
    let before = history[2].0.checkpoint.id;
    let now = world.clock.now();
    let wish = Wish::new(later(1), run.own_thread(), "g", Request::GoOn, now);
    let wish = Wish { from: Some(before), ..wish };
    let Ok(Submitted::Created(forked)) = process.handle.submit(wish).await else { panic!() };
    let over = |status| {
        !matches!(
            status,
            agentry_core::thread::RunStatus::Pending | agentry_core::thread::RunStatus::Running
        )
    };
    let loaded = process.until(forked, |it| over(it.run.status)).await;
    assert_eq!(loaded.run.reason, None);
    let expected = json!({ "language": "en", "text": "once upon a time" });
    assert_eq!(values(&process, run).await, expected);
    assert_eq!(count.load(Ordering::Relaxed), 4, "a branch of its own writes and mails anew");
    process.stop().await;
}

async fn a_thread_that_does_not_fit_says_why_and_stays_as_it_is(backend: Backend) {
    let (world, count) = (World::new(backend), Count::default());
    let old = first(Policy::Pin, &count);
    let run = parked(&world, &old).await;
    let process = start(&world, &[&without(Policy::Migrate, &count)]);
    let Verdict::Refused { why } = verdict(&process, run).await else { panic!("it fits") };
    assert!(why[0].contains("`approve`") && why.len() == 1, "{why:?}");
    let question = world.questions().await.remove(0);
    let answer = agentry_core::run::Answer {
        value: json!("yes"),
        actor: "ada".to_owned(),
        at: world.clock.now(),
    };
    let thread = run.own_thread();
    let refused = process.handle.answer(thread, &question.id, answer, Vec::new()).await;
    assert_eq!(refused.unwrap_err().code().0, "thread_unmovable");
    assert_eq!(go_on(&process, run, 1).await, Err("thread_unmovable"));
    let draft = json!({ "draft": "once upon a time" });
    assert_eq!(values(&process, run).await, draft, "it can be looked at all the same");
    process.stop().await;

    let process = start(&world, &[&old]);
    process.answer(run, &question.id, json!("yes")).await;
    process.values(run).await;
    process.stop().await;
}

async fn a_key_that_its_reducer_cannot_add_to_is_named(backend: Backend) {
    let (world, count) = (World::new(backend), Count::default());
    let run = parked(&world, &first(Policy::Pin, &count)).await;
    let changed = |builder: GraphBuilder| {
        builder
            .channel("draft", Reducer::Append)
            .node("approve", asks(&count))
            .edge(START, "approve")
            .edge("approve", END)
    };
    let process = start(&world, &[&changed(graph(Policy::Migrate)).build().unwrap()]);
    let Verdict::Refused { why } = verdict(&process, run).await else { panic!("it fits") };
    assert!(why[0].contains("`draft` holds a text") && why[0].contains("`append`"), "{why:?}");
    process.stop().await;
    let mended = changed(graph(Policy::Migrate)).migration("drafts are lists", |thread| {
        let draft = thread.values.remove("draft").ok_or("there is no draft")?;
        thread.values.insert("draft".to_owned(), json!([draft]));
        Ok(())
    });
    let process = start(&world, &[&mended.build().unwrap()]);
    let draft = vec![Change::Changed("draft".to_owned())];
    let steps = vec!["drafts are lists".to_owned()];
    assert_eq!(verdict(&process, run).await, Verdict::Migrates { steps, changes: draft });
    process.stop().await;
}

async fn a_thread_that_was_interrupted_by_a_crash_is_moved_by_a_worker(backend: Backend) {
    let (world, count) = (World::new(backend), Count::default());
    let (open, gate) = tokio::sync::watch::channel(false);
    let slow = |name: &'static str| {
        let gate = gate.clone();
        from_fn(move |_, _| {
            let mut gate = gate.clone();
            Box::pin(async move {
                gate.wait_for(|open| *open).await.unwrap();
                Ok(NodeOutput::done().set("decision", name))
            })
        })
    };
    let old = graph(Policy::Pin)
        .channel("draft", Reducer::Last)
        .node("write", write(&count, "draft"))
        .node("slow", slow("old"))
        .edge(START, "write")
        .edge("write", "slow")
        .edge("slow", END)
        .build()
        .unwrap();
    let process = start(&world, &[&old]);
    let run = process.submit("k").await;
    let written = |it: &crate::world::Loaded| it.values.contains_key("draft");
    process.until(run, written).await;
    process.kill().await;
    open.send_replace(true);
    let new = graph(Policy::Migrate)
        .channel("draft", Reducer::Last)
        .node("write", write(&count, "draft"))
        .node("slow", slow("new"))
        .edge(START, "write")
        .edge("write", "slow")
        .edge("slow", END)
        .steps_max(7)
        .build()
        .unwrap();
    let process = start(&world, &[&new]);
    let expected = json!({ "decision": "new", "draft": "once upon a time" });
    assert_eq!(process.values(run).await, expected);
    assert_eq!(count.load(Ordering::Relaxed), 1);
    process.stop().await;
}

async fn a_thread_inside_of_a_graph_is_moved_where_its_version_is(backend: Backend) {
    let (world, count) = (World::new(backend), Count::default());
    let outer = |policy, steps_max| {
        let inner = graph(Policy::Pin)
            .node("approve", asks(&count))
            .edge(START, "approve")
            .edge("approve", END)
            .build()
            .unwrap();
        graph(policy)
            .subgraph("inside", inner)
            .edge(START, "inside")
            .edge("inside", END)
            .steps_max(steps_max)
            .build()
            .unwrap()
    };
    let (old, new) = (outer(Policy::Pin, 7), outer(Policy::Migrate, 8));
    let run = parked(&world, &old).await;
    let process = start(&world, &[&new]);
    let Verdict::Refused { why } = verdict(&process, run).await else { panic!("it fits") };
    assert!(why[0].contains("inside of a graph"), "{why:?}");
    process.stop().await;
    let process = start(&world, &[&old, &new]);
    assert_eq!(verdict(&process, run).await, Verdict::Fits);
    let question = world.questions().await.remove(0);
    process.answer(run, &question.id, json!("yes")).await;
    assert_eq!(process.values(run).await, json!({ "decision": "yes" }));
    let moved = world.archive.thread(run.own_thread()).await.unwrap().unwrap();
    assert_eq!(moved.program, Some(new.pinned()));
    process.stop().await;
}

async fn a_pinned_thread_goes_on_with_its_own_version_or_not_at_all(backend: Backend) {
    let (world, count) = (World::new(backend), Count::default());
    let (old, new) = (first(Policy::Pin, &count), second(Policy::Pin, &count));
    let run = parked(&world, &old).await;
    let process = start(&world, &[&new]);
    assert_eq!(go_on(&process, run, 1).await, Err("graph_version_unknown"));
    process.stop().await;
    let process = start(&world, &[&old, &new]);
    let question = world.questions().await.remove(0);
    process.answer(run, &question.id, json!("yes")).await;
    let expected = json!({ "decision": "yes", "draft": "once upon a time" });
    assert_eq!(process.values(run).await, expected);
    process.stop().await;
}

async fn a_graph_that_refuses_lets_nobody_go_on(backend: Backend) {
    let (world, count) = (World::new(backend), Count::default());
    let (old, new) = (first(Policy::Pin, &count), second(Policy::Refuse, &count));
    let run = parked(&world, &old).await;
    let process = start(&world, &[&old, &new]);
    assert_eq!(go_on(&process, run, 1).await, Err("thread_unmovable"));
    // Whoever moves it by hand knows what he does.
    let moved = process.handle.migrate(run.own_thread()).await.unwrap().unwrap();
    assert!(matches!(moved.verdict, Verdict::Migrates { .. }), "{moved:?}");
    process.stop().await;
}

async fn two_instances_do_not_move_a_thread_to_and_fro(backend: Backend) {
    let (world, count) = (World::new(backend), Count::default());
    let of = |steps_max| {
        graph(Policy::Migrate)
            .node("approve", asks(&count))
            .edge(START, "approve")
            .edge("approve", END)
            .steps_max(steps_max)
            .build()
            .unwrap()
    };
    let (one, other) = (of(7), of(8));
    let run = parked(&world, &one).await;
    let process = start(&world, &[&other]);
    process.handle.migrate(run.own_thread()).await.unwrap();
    process.stop().await;
    let process = start(&world, &[&one]);
    assert_eq!(go_on(&process, run, 1).await, Err("thread_unmovable"));
    let back = process.handle.migrate(run.own_thread()).await.unwrap().unwrap();
    assert_eq!(back.verdict, Verdict::Fits, "by hand it goes back");
    process.stop().await;
}

async fn a_thread_that_never_began_begins_on_the_version_that_is_there(backend: Backend) {
    let (world, count) = (World::new(backend), Count::default());
    let (old, new) = (without(Policy::Pin, &count), second(Policy::Migrate, &count));
    let submitted = old.single_run("k", Map::new(), world.clock.now());
    let run = submitted.id;
    world.disk.submit(submitted).await.unwrap();
    let process = start(&world, &[&new]);
    process.until_parked(run).await;
    assert_eq!(patiently(values(&process, run)).await, json!({ "text": "once upon a time" }));
    process.stop().await;
}
