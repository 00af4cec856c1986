//! How a run ended, for whoever waits for it.

use agentry_core::run::Values;
use agentry_core::thread::{EventId, Run, RunStatus};
use futures_util::StreamExt as _;
use serde_json::{Map, Value, json};

use super::engine::{Engine, Follow, InterruptView, Place, Subgraphs, Wanted, What};
use super::wish::Words;
use super::{Threading, frames, messages, show};
use crate::Refusal;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// The thread's state when the run ended.
    pub(crate) values: Values,
    pub(crate) interrupts: Vec<InterruptView>,
    pub(crate) status: RunStatus,
    pub(crate) reason: Option<String>,
}

/// Waits for the end of a run.
pub(crate) async fn of(engine: &dyn Engine, run: &Run) -> Result<Outcome, Refusal> {
    let follow = Follow {
        thread: run.thread,
        run: Some(run.id),
        after: EventId::default(),
        wanted: Wanted { values: true, ..Wanted::default() },
    };
    let mut parts = engine.follow(follow).await?;
    let (mut values, mut interrupts) = (Values::new(), Vec::new());
    while let Some(part) = parts.next().await {
        let part = part?;
        match part.what {
            What::Values { values: newer, interrupts: asked } if part.ns.is_empty() => {
                (values, interrupts) = (newer, asked);
            }
            What::Ended { status, reason } => {
                if status == RunStatus::Interrupted && interrupts.is_empty() {
                    interrupts = open(engine, run).await?;
                }
                return Ok(Outcome { values, interrupts, status, reason });
            }
            What::Began | What::Values { .. } | What::Message { .. } | What::Told { .. } => {}
        }
    }
    let message = "the run's events ended before the run did: ask again";
    Err(Refusal::new(http::StatusCode::SERVICE_UNAVAILABLE, "run_unobserved", message))
}

/// How a run that was cancelled has ended. One that waits for a person is over, and still has to hear of it. `None` when it is
/// gone.
pub(crate) async fn for_good(threading: &Threading, run: &Run) -> Result<Option<Run>, Refusal> {
    loop {
        let Some(thread) = threading.archive.thread(run.thread).await? else { return Ok(None) };
        let Some(known) = threading.archive.run(run.id).await? else { return Ok(None) };
        if known.status.is_over() && known.status != RunStatus::Interrupted {
            return Ok(Some(known));
        }
        let follow = Follow {
            thread: run.thread,
            run: None,
            after: EventId { seq: thread.seq, index: u32::MAX },
            wanted: Wanted::default(),
        };
        let mut parts = threading.engine.follow(follow).await?;
        loop {
            let Some(part) = parts.next().await.transpose()? else { return Ok(None) };
            if part.run == Some(run.id) && matches!(part.what, What::Ended { .. }) {
                break;
            }
        }
    }
}

/// What the thread asks now.
async fn open(engine: &dyn Engine, run: &Run) -> Result<Vec<InterruptView>, Refusal> {
    let state = engine.state(run.thread, Place::head(), Subgraphs::Closed).await?;
    let tasks = state.map(|state| state.tasks).unwrap_or_default();
    Ok(tasks.into_iter().flat_map(|task| task.interrupts).collect())
}

impl Outcome {
    pub(crate) fn shown(&self, words: Words, run: &Run) -> Value {
        match words {
            Words::LangGraph => self.langgraph(),
            Words::AgentProtocol => self.agent_protocol(run),
        }
    }

    /// The state, or why there is none.
    fn langgraph(&self) -> Value {
        if let Some(failure) = frames::failure(self.status, self.reason.as_deref()) {
            return json!({ "__error__": failure });
        }
        let mut shown = json!(self.values);
        if let (false, Some(members)) = (self.interrupts.is_empty(), shown.as_object_mut()) {
            members.insert(frames::INTERRUPT.to_owned(), show::interrupts(&self.interrupts));
        }
        shown
    }

    /// The run, the state, and apart from it what was said.
    fn agent_protocol(&self, run: &Run) -> Value {
        let mut values: Map<String, Value> =
            self.values.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let said = match values.get("messages") {
            Some(Value::Array(said)) => Some(said.iter().map(messages::with_role).collect()),
            Some(_) | None => None::<Value>,
        };
        let run = Run { status: self.status, reason: self.reason.clone(), ..run.clone() };
        let mut shown = json!({ "run": show::run(&run) });
        if let Some(members) = shown.as_object_mut() {
            if let Some(said) = said {
                values.shift_remove("messages");
                members.insert("messages".to_owned(), said);
            }
            members.insert("values".to_owned(), values.into());
        }
        shown
    }
}
