//! Questions, moments and messages that park a run.

use std::time::Duration;

use agentry_core::run::Answer;
use agentry_core::threads::{Signal, Signalled, Submitted};
use agentry_core::{Clock as _, Code, Failure as _, RunId};
use agentry_engine::durable::Wish;
use agentry_engine::node::from_fn;
use agentry_engine::{
    Ask, Command, END, Graph, GraphBuilder, Node, NodeOutput, Reducer, Request, Resume, START,
};
use serde_json::{Value, json};

use crate::world::{Backend, Loaded, Process, Status, World, over_both_stores};

over_both_stores! {
    an_answer_goes_to_the_node_that_asked
    a_node_hears_who_brought_the_answer
    who_answers_late_without_naming_the_question_hears_what_counts
    a_question_expires
    an_answer_beats_an_expiry_that_is_not_stored_yet
    a_plain_wait_ends_with_its_moment
    a_message_wakes_who_waits_for_one
    a_message_does_not_wake_who_waits_for_a_person
    a_message_that_comes_while_the_node_runs_is_not_missed
    questions_of_siblings_are_answered_one_by_one
    asking_again_withdraws_the_first_question
    an_answer_beats_a_question_that_was_to_replace_it
    what_was_answered_cannot_be_asked_again
    an_answer_that_does_not_fit_is_refused_and_the_question_stays
    a_run_that_brings_an_answer_that_does_not_fit_is_refused
    what_cannot_be_held_to_is_not_asked
}

const HOUR: Duration = Duration::from_secs(3_600);

fn single(node: impl Node + 'static) -> GraphBuilder {
    Graph::builder("g")
        .channel("result", Reducer::Last)
        .channel("alerts", Reducer::Append)
        .node("a", node)
        .edge(START, "a")
        .edge("a", END)
}

/// Asks for an hour, then writes what came of it.
fn approve() -> impl Node + 'static {
    from_fn(|cx, _| {
        Box::pin(async move {
            let Some(reply) = cx.answer("ok") else {
                let ask = Ask::question("ok", json!({ "restart": "cart" }));
                return Ok(NodeOutput::ask(ask.deadline(cx.now().plus(HOUR), "reject")));
            };
            let result = json!([reply.value, reply.actor, reply.expired()]);
            Ok(NodeOutput::done().set("result", result))
        })
    })
}

async fn answer(process: &Process, run: RunId, interrupt: &str, value: Value) -> Signalled {
    process.answer(run, interrupt, value).await
}

fn open(loaded: &Loaded) -> Vec<&str> {
    loaded.interrupts.iter().map(|interrupt| interrupt.id.as_str()).collect()
}

async fn an_answer_goes_to_the_node_that_asked(backend: Backend) {
    let process = World::new(backend).start(&single(approve()).build().unwrap());
    let run = process.submit("k").await;
    let parked = process.until_parked(run).await;
    let question = &process.world.questions().await[0];
    assert_eq!((question.run, &question.question), (run, &Some(json!({ "restart": "cart" }))));
    assert_eq!(parked.row.wake_at, Some(process.world.clock.now().plus(HOUR)));
    let accepted = answer(&process, run, &question.id, json!("approve")).await;
    assert_eq!(accepted, Signalled::Accepted);
    let expected = json!({ "result": ["approve", "person:ada", false] });
    assert_eq!(process.values(run).await, expected);
    let again = answer(&process, run, &question.id, json!("reject")).await;
    assert!(matches!(again, Signalled::AlreadyAnswered(first) if first.value == "approve"));
    process.stop().await;
}

async fn a_node_hears_who_brought_the_answer(backend: Backend) {
    let process = World::new(backend).start(&single(approve()).build().unwrap());
    let run = process.submit("k").await;
    let thread = process.until_parked(run).await.run.thread;
    let (now, resume) = (process.world.clock.now(), Some(Resume::One(json!("approve"))));
    let request = Request::Command(Command { resume, ..Command::default() });
    let wish = Wish::new(RunId::new(now, [1; 10]), thread, "g", request, now);
    let wish = Wish { actor: "key:ann".to_owned(), ..wish };
    let Submitted::Created(run) = process.handle.submit(wish).await.unwrap() else { panic!() };
    assert_eq!(process.values(run).await, json!({ "result": ["approve", "key:ann", false] }));
    process.stop().await;
}

async fn who_answers_late_without_naming_the_question_hears_what_counts(backend: Backend) {
    let process = World::new(backend).start(&single(approve()).build().unwrap());
    let run = process.submit("k").await;
    let thread = process.until_parked(run).await.run.thread;
    let resume = |number: u8, value: &str| {
        let (now, resume) = (process.world.clock.now(), Some(Resume::One(json!(value))));
        let request = Request::Command(Command { resume, ..Command::default() });
        let id = RunId::new(now, [number; 10]);
        process.handle.submit(Wish::new(id, thread, "g", request, now))
    };
    let interrupt = process.world.questions().await[0].id.clone();
    answer(&process, run, &interrupt, json!("approve")).await;
    process.finished(run).await;
    let late = resume(1, "reject").await.unwrap();
    let Submitted::AlreadyAnswered { interrupt: which, answer } = late else { panic!("{late:?}") };
    assert_eq!(
        (which, answer.value, answer.actor.as_str()),
        (interrupt, json!("approve"), "person:ada")
    );

    let process = World::new(backend).start(&single(approve()).build().unwrap());
    let idle = process.submit("k").await;
    process.cancel(idle, false).await;
    let thread = process.finished(idle).await.run.thread;
    let (now, resume) = (process.world.clock.now(), Some(Resume::One(json!("yes"))));
    let request = Request::Command(Command { resume, ..Command::default() });
    let wish = Wish::new(RunId::new(now, [2; 10]), thread, "g", request, now);
    let nothing = process.handle.submit(wish).await.unwrap();
    assert!(matches!(nothing, Submitted::NoInterrupt { .. }), "{nothing:?}");
}

async fn a_question_expires(backend: Backend) {
    let process = World::new(backend).start(&single(approve()).build().unwrap());
    let run = process.submit("k").await;
    let interrupt = process.until_parked(run).await.interrupts[0].id.clone();
    process.advance(HOUR);
    assert_eq!(answer(&process, run, &interrupt, json!("approve")).await, Signalled::Expired);
    assert_eq!(process.values(run).await, json!({ "result": ["reject", null, true] }));
    process.stop().await;
}

async fn an_answer_beats_an_expiry_that_is_not_stored_yet(backend: Backend) {
    const SOON: Duration = Duration::from_millis(900);
    let node = from_fn(|cx, _| {
        Box::pin(async move {
            let Some(reply) = cx.answer("ok") else {
                let ask = Ask::question("ok", "?").deadline(cx.now().plus(SOON), "late");
                return Ok(NodeOutput::ask(ask));
            };
            Ok(NodeOutput::done().set("result", reply.value.clone()))
        })
    });
    let world = World::new(backend);
    let process = world.start(&single(node).build().unwrap());
    let run = process.submit("k").await;
    let loaded = process.until_parked(run).await;
    let (value, actor) = (json!("in time"), "person:ada".to_owned());
    let answer = Answer { value, actor, at: world.clock.now() };
    let interrupt = loaded.interrupts[0].id.clone();
    // Behind the worker's back, so that its own clock is the first thing to tell it anything.
    world.clock.advance(SOON);
    let signal = Signal::Answer { interrupt, answer, audit: Vec::new() };
    assert_eq!(world.disk.signal(run.own_thread(), signal).await, Ok(Signalled::Accepted));
    process.handle.nudge();
    assert_eq!(process.values(run).await, json!({ "result": "in time" }));
    process.stop().await;
}

async fn a_plain_wait_ends_with_its_moment(backend: Backend) {
    let node = from_fn(|cx, _| {
        Box::pin(async move {
            let Some(reply) = cx.answer("calm") else {
                return Ok(NodeOutput::ask(Ask::until("calm", cx.now().plus(HOUR))));
            };
            Ok(NodeOutput::done().set("result", reply.expired()))
        })
    });
    let process = World::new(backend).start(&single(node).build().unwrap());
    let run = process.submit("k").await;
    let interrupt = process.until_parked(run).await.interrupts[0].id.clone();
    assert_eq!(process.world.questions().await, vec![]);
    assert_eq!(answer(&process, run, &interrupt, json!(1)).await, Signalled::NotFound);
    process.advance(HOUR);
    assert_eq!(process.values(run).await, json!({ "result": true }));
    process.stop().await;
}

fn count(state: &agentry_core::run::Values) -> usize {
    state.get("alerts").and_then(Value::as_array).map_or(0, Vec::len)
}

/// Waits until three alerts have come or an hour has passed; each alert wakes it.
fn gather() -> impl Node + 'static {
    from_fn(|cx, state| {
        Box::pin(async move {
            if count(state) < 3 && cx.answer("more").is_none() {
                let ask = Ask::until("more", cx.now().plus(HOUR)).wake_on_message();
                return Ok(NodeOutput::ask(ask));
            }
            Ok(NodeOutput::done().set("result", count(state)))
        })
    })
}

async fn a_message_wakes_who_waits_for_one(backend: Backend) {
    let process = World::new(backend).start(&single(gather()).build().unwrap());
    let run = process.submit("k").await;
    process.until_parked(run).await;
    process.send(run, "1", "alerts", "one").await;
    process.until(run, |it| count(&it.values) == 1 && it.row.status == Status::Parked).await;
    process.send(run, "1", "alerts", "one").await;
    process.send(run, "2", "alerts", "two").await;
    process.send(run, "x", "nowhere", "lost").await;
    process.until(run, |it| count(&it.values) == 2 && it.row.status == Status::Parked).await;
    process.send(run, "3", "alerts", "three").await;
    let expected = json!({ "alerts": ["one", "two", "three"], "result": 3 });
    assert_eq!(process.values(run).await, expected);
    assert_eq!(process.event_kinds(run).await["message.refused"], 1);
    process.stop().await;
}

async fn a_message_does_not_wake_who_waits_for_a_person(backend: Backend) {
    let process = World::new(backend).start(&single(approve()).build().unwrap());
    let run = process.submit("k").await;
    let interrupt = process.until_parked(run).await.interrupts[0].id.clone();
    process.send(run, "1", "alerts", "one").await;
    let parked = |it: &Loaded| count(&it.values) == 1 && it.row.status == Status::Parked;
    let loaded = process.until(run, parked).await;
    assert_eq!(open(&loaded), [interrupt.as_str()]);
    assert_eq!(process.event_kinds(run).await["task.started"], 1);
    answer(&process, run, &interrupt, json!("approve")).await;
    process.values(run).await;
    process.stop().await;
}

async fn a_message_that_comes_while_the_node_runs_is_not_missed(backend: Backend) {
    let (started, mut starts) = tokio::sync::mpsc::channel(8);
    let (release, gate) = tokio::sync::watch::channel(false);
    let node = from_fn(move |_, state| {
        let (started, mut gate) = (started.clone(), gate.clone());
        Box::pin(async move {
            if count(state) == 1 {
                return Ok(NodeOutput::done().set("result", "seen"));
            }
            started.send(()).await.unwrap();
            gate.wait_for(|open| *open).await.unwrap();
            Ok(NodeOutput::ask(Ask::message("more")))
        })
    });
    let process = World::new(backend).start(&single(node).build().unwrap());
    let run = process.submit("k").await;
    starts.recv().await.unwrap();
    process.send(run, "1", "alerts", "one").await;
    process.until(run, |it| count(&it.values) == 1).await;
    release.send_replace(true);
    let expected = json!({ "alerts": ["one"], "result": "seen" });
    assert_eq!(process.values(run).await, expected);
    process.stop().await;
}

async fn questions_of_siblings_are_answered_one_by_one(backend: Backend) {
    let program = single(approve())
        .channel("other", Reducer::Last)
        .node(
            "b",
            from_fn(|cx, _| {
                Box::pin(async move {
                    let Some(reply) = cx.answer("ok") else {
                        return Ok(NodeOutput::ask(Ask::question("ok", "?")));
                    };
                    Ok(NodeOutput::done().set("other", reply.value.clone()))
                })
            }),
        )
        .edge(START, "b")
        .edge("b", END)
        .build();
    let process = World::new(backend).start(&program.unwrap());
    let run = process.submit("k").await;
    let parked = process.until_parked(run).await;
    assert_eq!(parked.interrupts.len(), 2);
    for interrupt in open(&parked) {
        answer(&process, run, interrupt, json!(interrupt)).await;
    }
    let id = |node: &str| {
        let asked = parked.interrupts.iter().find(|interrupt| interrupt.node == node);
        asked.unwrap().id.clone()
    };
    let expected = json!({ "result": [id("a"), "person:ada", false], "other": id("b") });
    assert_eq!(process.values(run).await, expected);
    process.stop().await;
}

async fn asking_again_withdraws_the_first_question(backend: Backend) {
    let node = from_fn(|cx, state| {
        Box::pin(async move {
            let seen = count(state);
            let Some(reply) = cx.answer(&format!("after {seen}")) else {
                let ask = Ask::question(&format!("after {seen}"), seen);
                return Ok(NodeOutput::ask(ask.wake_on_message()));
            };
            Ok(NodeOutput::done().set("result", reply.value.clone()))
        })
    });
    let process = World::new(backend).start(&single(node).build().unwrap());
    let run = process.submit("k").await;
    let first = process.until_parked(run).await.interrupts[0].id.clone();
    process.send(run, "1", "alerts", "one").await;
    let asked_anew = |it: &Loaded| it.row.status == Status::Parked && open(it) != [first.as_str()];
    let loaded = process.until(run, asked_anew).await;
    assert_eq!(open(&loaded).len(), 1);
    assert_eq!(answer(&process, run, &first, json!("stale")).await, Signalled::NotFound);
    answer(&process, run, open(&loaded)[0], json!("fresh")).await;
    assert_eq!(process.values(run).await["result"], "fresh");
    process.stop().await;
}

/// Asks anew for each alert, but takes any answer. The second question waits for the gate.
async fn an_answer_beats_a_question_that_was_to_replace_it(backend: Backend) {
    let (started, mut starts) = tokio::sync::mpsc::channel(8);
    let (release, gate) = tokio::sync::watch::channel(false);
    let node = from_fn(move |cx, state| {
        let (started, mut gate) = (started.clone(), gate.clone());
        Box::pin(async move {
            if let Some(reply) = cx.answer("after 0") {
                return Ok(NodeOutput::done().set("result", reply.value.clone()));
            }
            let seen = count(state);
            if seen == 1 {
                started.send(()).await.unwrap();
                gate.wait_for(|open| *open).await.unwrap();
            }
            let ask = Ask::question(&format!("after {seen}"), seen);
            Ok(NodeOutput::ask(ask.wake_on_message()))
        })
    });
    let world = World::new(backend);
    let process = world.start(&single(node).build().unwrap());
    let run = process.submit("k").await;
    let interrupt = process.until_parked(run).await.interrupts[0].id.clone();
    process.send(run, "1", "alerts", "one").await;
    starts.recv().await.unwrap();
    // Behind the worker's back: the task that runs is the first thing to tell it anything.
    let (value, actor) = (json!("yes"), "person:ada".to_owned());
    let answer = Answer { value, actor, at: world.clock.now() };
    let signal = Signal::Answer { interrupt, answer, audit: Vec::new() };
    assert_eq!(world.disk.signal(run.own_thread(), signal).await, Ok(Signalled::Accepted));
    release.send_replace(true);
    assert_eq!(process.values(run).await["result"], "yes");
    process.stop().await;
}

async fn what_was_answered_cannot_be_asked_again(backend: Backend) {
    let node = from_fn(|_, _| Box::pin(async { Ok(NodeOutput::ask(Ask::question("same", "?"))) }));
    let process = World::new(backend).start(&single(node).build().unwrap());
    let run = process.submit("k").await;
    let interrupt = process.until_parked(run).await.interrupts[0].id.clone();
    answer(&process, run, &interrupt, json!(1)).await;
    let reason = "`a` failed: it asked `same` again after it was answered; use another id";
    assert_eq!(process.reason(run).await, (Status::Failed, reason.to_owned()));
    process.stop().await;
}

/// Asks for a number from one to five.
fn rate(schema: Value) -> impl Node + 'static {
    from_fn(move |cx, _| {
        let schema = schema.clone();
        Box::pin(async move {
            let Some(reply) = cx.answer("ok") else {
                return Ok(NodeOutput::ask(Ask::question("ok", "how good?").schema(schema)));
            };
            Ok(NodeOutput::done().set("result", reply.value.clone()))
        })
    })
}

fn stars() -> Value {
    let stars = json!({ "type": "integer", "minimum": 1, "maximum": 5 });
    json!({ "type": "object", "properties": { "stars": stars }, "required": ["stars"] })
}

async fn an_answer_that_does_not_fit_is_refused_and_the_question_stays(backend: Backend) {
    let process = World::new(backend).start(&single(rate(stars())).build().unwrap());
    let run = process.submit("k").await;
    let interrupt = process.until_parked(run).await.interrupts[0].id.clone();
    let wrong = async |value: Value| {
        let (actor, at) = ("person:ada".to_owned(), process.world.clock.now());
        let answer = Answer { value, actor, at };
        let given = process.handle.answer(run.own_thread(), &interrupt, answer, Vec::new()).await;
        let error = given.unwrap_err();
        assert_eq!(error.code(), Code("answer_unfit"));
        error.to_string()
    };
    let of = format!("the answer to `{interrupt}` does not fit:");
    assert_eq!(wrong(json!({ "stars": 6 })).await, format!("{of} `stars` must be at most 5"));
    assert_eq!(wrong(json!({})).await, format!("{of} it needs `stars`"));
    assert_eq!(process.world.questions().await.len(), 1);
    answer(&process, run, &interrupt, json!({ "stars": 5 })).await;
    assert_eq!(process.values(run).await, json!({ "result": { "stars": 5 } }));
    process.stop().await;
}

async fn a_run_that_brings_an_answer_that_does_not_fit_is_refused(backend: Backend) {
    let process = World::new(backend).start(&single(rate(stars())).build().unwrap());
    let run = process.submit("k").await;
    process.until_parked(run).await;
    let wish = |value: Value| {
        let command = Command { resume: Some(Resume::One(value)), ..Command::default() };
        let now = process.world.clock.now();
        let id = RunId::derived(now, "second");
        Wish::new(id, run.own_thread(), "g", Request::Command(command), now)
    };
    let refused = process.handle.submit(wish(json!({ "stars": "many" }))).await.unwrap_err();
    assert_eq!(refused.code(), Code("answer_unfit"));
    assert!(refused.to_string().ends_with("`stars` must be an integer"), "{refused}");
    let Submitted::Created(second) =
        process.handle.submit(wish(json!({ "stars": 2 }))).await.unwrap()
    else {
        panic!("it fits")
    };
    process.until(second, |it| it.row.status == Status::Succeeded).await;
    process.stop().await;
}

async fn what_cannot_be_held_to_is_not_asked(backend: Backend) {
    let process = World::new(backend).start(&single(rate(json!({ "if": {} }))).build().unwrap());
    let run = process.submit("k").await;
    let reason = "`a` failed: what it asked with `ok` cannot be held to: the schema uses `if`, which is not supported";
    assert_eq!(process.reason(run).await, (Status::Failed, reason.to_owned()));
    process.stop().await;
}
