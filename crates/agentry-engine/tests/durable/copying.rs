//! A copy of a thread that waits for a person.

use std::time::Duration;

use agentry_core::run::Answer;
use agentry_core::thread::{NewThread, Status as ThreadStatus};
use agentry_core::threads::{At, Signalled};
use agentry_core::{Clock as _, ThreadId};
use agentry_engine::node::from_fn;
use agentry_engine::{Ask, END, Graph, NodeOutput, Program, Reducer, START};
use serde_json::{Value, json};

use crate::world::{Backend, Process, World, over_both_stores, patiently};

over_both_stores! {
    nobody_answers_a_copy_and_its_own_deadline_counts
    a_copy_is_answered_by_itself
}

const HOUR: Duration = Duration::from_secs(3_600);

fn program() -> Program {
    let node = from_fn(|cx, _| {
        Box::pin(async move {
            let Some(reply) = cx.answer("ok") else {
                let by = cx.now().plus(HOUR);
                return Ok(NodeOutput::ask(Ask::question("ok", json!("?")).deadline(by, "nobody")));
            };
            Ok(NodeOutput::done().set("said", reply.value.clone()))
        })
    });
    let graph = Graph::builder("g").channel("said", Reducer::Last);
    graph.node("a", node).edge(START, "a").edge("a", END).build().unwrap()
}

async fn copied(process: &Process) -> ThreadId {
    let run = process.submit("k").await;
    process.until_parked(run).await;
    let copy = ThreadId::from_bytes([9; 16]);
    let thread = process.world.archive.thread(run.own_thread()).await.unwrap().unwrap();
    let to = NewThread {
        id: copy,
        tenant: thread.tenant,
        metadata: Default::default(),
        created: process.world.clock.now(),
        keep_for: None,
    };
    assert_eq!(process.world.archive.copy(run.own_thread(), to).await, Ok(true));
    copy
}

/// What the copy comes to.
async fn said(process: &Process, copy: ThreadId) -> Value {
    let mut changes = process.store.changes();
    let settled = async {
        loop {
            changes.mark_unchanged();
            let thread = process.world.archive.thread(copy).await.unwrap().unwrap();
            match thread.status {
                ThreadStatus::Idle => return,
                ThreadStatus::Failed => panic!("it cannot go on"),
                ThreadStatus::Ready | ThreadStatus::Waiting | ThreadStatus::Interrupted => {}
            }
            changes.changed().await.unwrap();
        }
    };
    patiently(settled).await;
    let view = process.handle.state(copy, "", At::Head).await.unwrap().unwrap();
    json!(view.values)["said"].clone()
}

async fn nobody_answers_a_copy_and_its_own_deadline_counts(backend: Backend) {
    let process = World::new(backend).start(&program());
    let copy = copied(&process).await;
    process.advance(HOUR);
    assert_eq!(said(&process, copy).await, "nobody");
    process.stop().await;
}

async fn a_copy_is_answered_by_itself(backend: Backend) {
    let process = World::new(backend).start(&program());
    let copy = copied(&process).await;
    let asked = process.world.archive.questions(Some(copy), 9).await.unwrap();
    let at = process.world.clock.now();
    let answer = Answer { value: json!("yes"), actor: "person:ada".to_owned(), at };
    let answered = process.handle.answer(copy, &asked[0].id, answer, Vec::new()).await.unwrap();
    assert_eq!(answered, Signalled::Accepted);
    assert_eq!(said(&process, copy).await, "yes");
    assert_eq!(process.world.questions().await.len(), 1, "the other one is still asked");
    process.stop().await;
}
