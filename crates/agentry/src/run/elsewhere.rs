//! A run on the instance that has the database: begun, watched and answered over HTTP.

use std::time::Duration;

use agentry_backends::sqlite::OpenError;
use agentry_graphs::Graphs;
use anyhow::{Context as _, anyhow};
use serde_json::{Map, Value, json};

use super::question;
use super::report::Report;
use crate::agent::Agent;
use crate::cli::{Context, Ended, Exit};
use crate::operate::{self, Target};
use crate::terminal::{Terminal, harmless};

/// How often it is looked what has become of a run.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Whether somebody else has the database.
pub(super) fn is_taken(ended: &Ended) -> bool {
    matches!(ended.error.downcast_ref::<OpenError>(), Some(OpenError::InUse { .. }))
}

/// `taken` is what is said when nobody answers there.
pub(super) async fn run(
    cx: &Context,
    (graphs, graph): (&Graphs, &str),
    (input, settings): (Value, Map<String, Value>),
    taken: Ended,
) -> Result<Exit, Ended> {
    let agent = operate::agent(cx, &Target { url: None })?;
    let thread = match agent.post("/threads", &json!({ "metadata": { "graph_id": graph } })).await {
        Ok(thread) => thread,
        Err(problem) => {
            let Ended { exit, error } = taken;
            let error = anyhow!(
                "{error}, and no instance could be asked ({problem:#}); if it serves somewhere else, begin the run there \
                 (POST /threads/ID/runs), else stop what has the database, or keep nothing: --ephemeral"
            );
            return Err(Ended { exit, error });
        }
    };
    cx.terminal.note("an instance has the database: it runs there");
    let thread = text(&thread, "thread_id").context("read the thread")?;
    let there = There { terminal: cx.terminal, agent, graphs, graph, thread, settings };
    there.run(input).await.map_err(operate::ended)
}

struct There<'a> {
    terminal: Terminal,
    agent: Agent,
    graphs: &'a Graphs,
    graph: &'a str,
    thread: String,
    settings: Map<String, Value>,
}

impl There<'_> {
    async fn run(&self, input: Value) -> anyhow::Result<Exit> {
        let (thread, graph) = (&self.thread, self.graph);
        let config = json!({ "configurable": self.settings });
        let mut body = json!({ "assistant_id": graph, "input": input, "config": config });
        loop {
            let begun = self.agent.post(&format!("/threads/{thread}/runs"), &body).await?;
            let run = text(&begun, "run_id").context("read the run")?;
            let status = self.over(&run).await?;
            let state = self.agent.get(&format!("/threads/{thread}/state")).await?;
            match status.as_str() {
                "success" => {
                    let values = state.get("values").and_then(Value::as_object).cloned();
                    return self.report(run).done(&values.into_iter().flatten().collect());
                }
                "interrupted" => {
                    let asked = question::told(&state);
                    let Some(answers) = question::ask(self.terminal, &asked).await else {
                        let report = self.report(run);
                        report.asks(&asked);
                        report.waits(&asked, "answer with");
                        return Ok(Exit::Done);
                    };
                    let command = json!({ "resume": answers });
                    body = json!({ "assistant_id": graph, "command": command, "config": config });
                }
                status => {
                    let why = state.pointer("/tasks/0/error").and_then(Value::as_str);
                    let why = why.map_or_else(|| status.to_owned(), harmless);
                    self.report(run).failed(&why);
                    return Err(anyhow!("{graph} came to nothing: {why}"));
                }
            }
        }
    }

    /// What has become of a run, once it neither waits its turn nor is under way.
    async fn over(&self, run: &str) -> anyhow::Result<String> {
        let path = format!("/threads/{}/runs/{run}", self.thread);
        loop {
            let status = text(&self.agent.get(&path).await?, "status").unwrap_or_default();
            if !["pending", "running"].contains(&status.as_str()) {
                return Ok(status);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn report(&self, run: String) -> Report<'_> {
        let Self { terminal, graphs, graph, .. } = *self;
        Report { terminal, graphs, graph, thread: self.thread.clone(), run }
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(str::to_owned)
}
