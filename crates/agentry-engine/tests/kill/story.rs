//! What is to be done: effects that happen once or again with the same key, a moment to wait for, a question; and many
//! runs on one thread.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::audit;
use agentry_engine::effect::{self, Undone};
use agentry_engine::node::from_fn;
use agentry_engine::{
    Ask, Class, END, Graph, Node, NodeError, NodeOutput, Program, Reducer, START,
};
use serde_json::{Value, json};

use crate::noting::Diary;

const PAUSE: Duration = Duration::from_millis(50);

fn act(diary: &Arc<Diary>, class: Class) -> impl Node + 'static {
    let diary = Arc::clone(diary);
    from_fn(move |cx, _| {
        let diary = Arc::clone(&diary);
        Box::pin(async move {
            let (name, run) = (cx.node(), cx.run());
            let world = async |key: String| {
                diary.note(&format!("performed {run}/{name} {key}"));
                tokio::task::yield_now().await;
                Ok::<_, Undone>(json!("done"))
            };
            let outcome = match cx.effect("do", class, world).await {
                Ok(value) => {
                    diary.note(&format!("finished {run}/{name}"));
                    value
                }
                Err(effect::Error::Ambiguous { .. }) => json!("ambiguous"),
                Err(other) => return Err(NodeError::from(other)),
            };
            let entry = audit::Entry {
                at: cx.now(),
                actor: "agent".to_owned(),
                action: name.to_owned(),
                subject: run.to_string(),
                detail: Value::Null,
            };
            Ok(NodeOutput::done().set(name, outcome).audit(entry))
        })
    })
}

/// Waits for a moment, then does nothing.
fn pause() -> impl Node + 'static {
    from_fn(|cx, _| {
        Box::pin(async move {
            if cx.answer("pause").is_some() {
                return Ok(NodeOutput::done());
            }
            Ok(NodeOutput::ask(Ask::until("pause", cx.now().plus(PAUSE))))
        })
    })
}

fn approve() -> impl Node + 'static {
    from_fn(|cx, _| {
        Box::pin(async move {
            let Some(reply) = cx.answer("ok") else {
                return Ok(NodeOutput::ask(Ask::question("ok", "?")));
            };
            Ok(NodeOutput::done().set("approve", reply.value.clone()))
        })
    })
}

pub(crate) fn program(diary: &Arc<Diary>) -> Program {
    ["ticket", "message", "approve", "act", "report"]
        .into_iter()
        .fold(Graph::builder("g"), |builder, name| builder.channel(name, Reducer::Last))
        .node("ticket", act(diary, Class::Idempotent))
        .node("message", act(diary, Class::Once))
        .node("pause", pause())
        .node("approve", approve())
        .node("act", act(diary, Class::Once))
        .node("report", act(diary, Class::Idempotent))
        .fan_out(START, ["ticket", "message"])
        .join(["ticket", "message"], "pause")
        .edge("pause", "approve")
        .edge("approve", "act")
        .edge("act", "report")
        .edge("report", END)
        .build()
        .unwrap()
}

/// For many runs on one thread: each says that it is there, acts, and says that it is done.
pub(crate) fn crowded(diary: &Arc<Diary>) -> Program {
    let done = from_fn(|cx, _| {
        Box::pin(async move { Ok(NodeOutput::done().append("done", cx.run().to_string())) })
    });
    Graph::builder("crowded")
        .channel("seen", Reducer::Append)
        .channel("done", Reducer::Append)
        .channel("pay", Reducer::Last)
        .node("pay", act(diary, Class::Once))
        .node("done", done)
        .edge(START, "pay")
        .edge("pay", "done")
        .edge("done", END)
        .build()
        .unwrap()
}
