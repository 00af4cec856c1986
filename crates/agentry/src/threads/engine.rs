//! The server's questions in the engine's words, and its answers in the server's.

use std::sync::Arc;

use agentry_core::run::Seq;
use agentry_core::thread::Cancel;
use agentry_core::threads::{At, Signalled, Submitted};
use agentry_core::{RunId, ThreadId, audit};
use agentry_engine::durable::Wish;
use agentry_engine::graph::{END, Reducer, START};
use agentry_engine::machine::Update as Change;
use agentry_engine::{Command, Goto as Way, Request, Resume as Answers};
use agentry_graphs::Graphs;
use agentry_server::Refusal;
use agentry_server::engine::{
    Breakpoints, CheckpointRef, Cut, Cutting, Engine, Follow, Goto, GraphInfo, HistoryQuery,
    Migrate, Migrated, Parts, Place, Resume, StateView, Subgraphs, Submission, Update, Work,
};
use async_trait::async_trait;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Durable, message_id, messages, outside_id};

#[async_trait]
impl Engine for Durable {
    fn graphs(&self) -> Vec<Arc<GraphInfo>> {
        self.known.now().infos.clone()
    }

    async fn submit(&self, submission: Submission) -> Result<Submitted, Refusal> {
        self.check_graph(&submission).await?;
        let wish = self.wish(submission).await?;
        Ok(self.handle.submit(wish).await?)
    }

    async fn cancel(
        &self,
        thread: ThreadId,
        run: RunId,
        cancel: Cancel,
    ) -> Result<Signalled, Refusal> {
        let entry = audit::Entry {
            at: cancel.at,
            actor: "engine".to_owned(),
            action: "run.cancelled".to_owned(),
            subject: run.to_string(),
            detail: json!({ "reason": cancel.reason, "rollback": cancel.rollback }),
        };
        Ok(self.handle.cancel((thread, run), cancel, vec![entry]).await?)
    }

    async fn state(
        &self,
        thread: ThreadId,
        place: Place,
        subgraphs: Subgraphs,
    ) -> Result<Option<StateView>, Refusal> {
        self.state_at(thread, place, subgraphs).await
    }

    async fn history(
        &self,
        thread: ThreadId,
        query: HistoryQuery,
    ) -> Result<Vec<StateView>, Refusal> {
        self.states(thread, query).await
    }

    async fn update(&self, thread: ThreadId, update: Update) -> Result<CheckpointRef, Refusal> {
        let Update { tenant: _, actor: _, graph, from, as_node, values, now } = update;
        let checkpoint = match from.at {
            At::Head => None,
            At::Checkpoint(id) => Some(id),
            At::Seq(_) => return Err(unfit("checkpoint", "name a checkpoint by its id")),
        };
        if !from.ns.is_empty() {
            let reason = "only the thread's own graph can be changed from outside";
            return Err(unfit("checkpoint.checkpoint_ns", reason));
        }
        let mut values = match values {
            None | Some(Value::Null) => None,
            Some(Value::Object(values)) => Some(values),
            Some(_) => return Err(unfit("values", "it is an object of channels, or null")),
        };
        if let (Some(values), Some(graph)) = (&mut values, &graph) {
            self.normalize(graph, values, |number| outside_id(thread, now, number));
        }
        let change = Change { values, as_node: as_node.as_deref().map(node) };
        let updated = self.handle.update((thread, graph.as_deref()), checkpoint, vec![change]);
        Ok(CheckpointRef { ns: String::new(), id: updated.await?.checkpoint })
    }

    async fn summary(&self, run: RunId) -> Result<Option<Value>, Refusal> {
        Ok(self.handle.summary(run).await?.map(|summary| json!(summary)))
    }

    async fn compact(&self, thread: ThreadId) -> Result<u64, Refusal> {
        Ok(self.handle.compact(thread).await?)
    }

    async fn migrate(&self, migrate: Migrate) -> Result<Migrated, Refusal> {
        self.move_threads(migrate).await
    }

    async fn cut(&self, cut: Cut) -> Result<Cutting, Refusal> {
        self.cut_histories(cut).await
    }

    async fn follow(&self, follow: Follow) -> Result<Parts, Refusal> {
        self.parts(follow).await
    }
}

pub(super) fn unfit(param: &str, reason: &str) -> Refusal {
    Refusal::bad_request("parameter_invalid", format!("{param}: {reason}")).param(param)
}

/// The clients have other names for the ends of a graph.
fn node(name: &str) -> String {
    match name {
        "__start__" => START.to_owned(),
        "__end__" => END.to_owned(),
        name => name.to_owned(),
    }
}

impl Durable {
    /// A thread's state is that of one graph.
    async fn check_graph(&self, submission: &Submission) -> Result<(), Refusal> {
        let known = self.handle.archive().thread(submission.thread).await?;
        let begun =
            known.filter(|thread| thread.tenant == submission.tenant && thread.seq > Seq(0));
        let graph = begun.and_then(|thread| thread.program).map(|program| program.graph);
        match graph {
            Some(graph) if graph != submission.graph => {
                let message = format!(
                    "the thread is one of the graph `{graph}`: begin another thread for `{}`",
                    submission.graph
                );
                let param = "assistant_id";
                Err(Refusal::new(StatusCode::CONFLICT, "thread_of_another_graph", message)
                    .param(param))
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn wish(&self, submission: Submission) -> Result<Wish, Refusal> {
        let (run, config) = (submission.run, submission.config());
        let known = self.known.now();
        let definitions = &known.definitions;
        check_config(definitions, &submission, &config)?;
        let request = match submission.work {
            Work::Continue => Request::GoOn,
            Work::Input(input) if definitions.get(&submission.graph).is_some() => {
                let begun = definitions.begin(&submission.graph, input);
                let begun = begun.map_err(|problem| unfit("input", &problem.to_string()))?;
                Request::Input(begun.into_iter().collect())
            }
            Work::Input(Value::Object(mut input)) => {
                self.normalize(&submission.graph, &mut input, |number| message_id(run, number));
                Request::Input(input)
            }
            Work::Input(_) => {
                let reason = "it is an object with what is written to each channel of the graph";
                return Err(unfit("input", reason));
            }
            Work::Command(command) => {
                let mut update = Map::new();
                for (channel, value) in command.update {
                    if update.insert(channel.clone(), value).is_some() {
                        let reason = format!("`{channel}` is written twice: write it once");
                        return Err(unfit("command.update", &reason));
                    }
                }
                self.normalize(&submission.graph, &mut update, |number| message_id(run, number));
                let resume = match command.resume {
                    None => None,
                    Some(Resume::One(value)) => Some(Answers::One(value)),
                    Some(Resume::Named(named)) => Some(self.named(submission.thread, named).await?),
                };
                let goto = command.goto.into_iter().map(way).collect();
                Request::Command(Command { update, goto, resume })
            }
        };
        let from = match submission.from {
            None => None,
            Some(Place { at: At::Checkpoint(id), ns }) if ns.is_empty() => Some(id),
            Some(Place { at: At::Head, .. }) => None,
            Some(Place { .. }) => {
                return Err(unfit(
                    "checkpoint",
                    "go on from a checkpoint of the thread's own graph",
                ));
            }
        };
        Ok(Wish {
            config,
            tenant: submission.tenant,
            key: submission.key,
            from,
            steps_max: submission.steps_max,
            before: breakpoints(submission.interrupt_before),
            after: breakpoints(submission.interrupt_after),
            multitask: submission.multitask,
            priority: submission.priority,
            absent: submission.absent,
            metadata: submission.metadata,
            not_before: submission.not_before,
            deadline: submission.deadline,
            actor: submission.actor,
            ..Wish::new(run, submission.thread, &submission.graph, request, submission.created)
        })
    }

    /// An object of answers by interrupt, unless it is the answer to the only question itself.
    async fn named(&self, thread: ThreadId, named: Map<String, Value>) -> Result<Answers, Refusal> {
        let open = self.handle.archive().questions(Some(thread), QUESTIONS_MAX).await?;
        let is_open = |name: &String| open.iter().any(|question| question.id == *name);
        // Ids of questions that are over look like ids, too.
        let looks_like_ids = named.keys().all(|name| is_open(name) || looks_like_id(name));
        Ok(match looks_like_ids {
            true => Answers::Each(named.into_iter().collect()),
            false => Answers::One(Value::Object(named)),
        })
    }

    /// Brings messages into one shape where a graph's channel is a conversation.
    fn normalize(
        &self,
        graph: &str,
        values: &mut Map<String, Value>,
        id: impl Fn(usize) -> String,
    ) {
        let Ok(program) = self.handle.registry().current(graph) else { return };
        for (name, value) in values.iter_mut() {
            if program.graph().channels.get(name) == Some(&Reducer::Messages) {
                *value = messages::normal(value.take(), &id);
            }
        }
    }
}

/// A graph that is data says what its runs go by.
fn check_config(
    definitions: &Graphs,
    submission: &Submission,
    config: &Map<String, Value>,
) -> Result<(), Refusal> {
    if definitions.get(&submission.graph).is_none() {
        return Ok(());
    }
    let begins = matches!(submission.work, Work::Input(_));
    let fits = definitions.check_config(&submission.graph, config, begins);
    fits.map_err(|problem| unfit("config", &problem.to_string()))
}

const QUESTIONS_MAX: usize = 1_000;

/// 32 digits of base 16, with or without hyphens: no word of a person's answer.
fn looks_like_id(name: &str) -> bool {
    let digits = name.chars().filter(char::is_ascii_hexdigit).count();
    digits >= 32 && name.chars().all(|c| c.is_ascii_hexdigit() || "-|".contains(c))
}

fn way(goto: Goto) -> Way {
    match goto {
        Goto::Node(name) => Way::Node(node(&name)),
        Goto::Send { node: name, input } => Way::Send { node: node(&name), arg: input },
    }
}

fn breakpoints(wanted: Breakpoints) -> Vec<String> {
    match wanted {
        Breakpoints::Nowhere => Vec::new(),
        Breakpoints::Everywhere => vec!["*".to_owned()],
        Breakpoints::Nodes(nodes) => nodes,
    }
}
