//! A run on the instance that has the database: begun, watched and answered over HTTP.

use std::time::Duration;

use agentry_backends::sqlite::OpenError;
use agentry_core::run::Values;
use agentry_graphs::Graphs;
use anyhow::{Context as _, anyhow};
use serde_json::{Map, Value, json};

use super::question::{self, Question};
use super::said_last;
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
    input: Value,
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
    let there = There { terminal: cx.terminal, agent, graphs, graph, thread };
    there.run(input).await.map_err(operate::ended)
}

struct There<'a> {
    terminal: Terminal,
    agent: Agent,
    graphs: &'a Graphs,
    graph: &'a str,
    thread: String,
}

impl There<'_> {
    async fn run(&self, input: Value) -> anyhow::Result<Exit> {
        let (thread, graph) = (&self.thread, self.graph);
        let mut body = json!({ "assistant_id": graph, "input": input });
        loop {
            let begun = self.agent.post(&format!("/threads/{thread}/runs"), &body).await?;
            let run = text(&begun, "run_id").context("read the run")?;
            let status = self.over(&run).await?;
            let state = self.agent.get(&format!("/threads/{thread}/state")).await?;
            match status.as_str() {
                "success" => return self.result(&run, &state),
                "interrupted" => {
                    let asked = question::told(&state);
                    let Some(answers) = question::ask(self.terminal, &asked).await else {
                        return Ok(self.leave(&run, &asked));
                    };
                    body = json!({ "assistant_id": graph, "command": { "resume": answers } });
                }
                status => {
                    let why = state.pointer("/tasks/0/error").and_then(Value::as_str);
                    let why = why.map_or_else(|| status.to_owned(), harmless);
                    self.tell(&run, "error", &[("reason", json!(why))]);
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

    fn result(&self, run: &str, state: &Value) -> anyhow::Result<Exit> {
        let values = state.get("values").and_then(Value::as_object).cloned().unwrap_or_default();
        let values: Values = values.into_iter().collect();
        let output = match self.graphs.get(self.graph) {
            Some(_) => self.graphs.output(self.graph, &values).context("read the result")?,
            None => said_last(&values),
        };
        match (self.terminal.json, &output) {
            (true, _) => self.tell(run, "success", &[("output", output)]),
            (false, Value::String(text)) => self.terminal.piece(&format!("{text}\n")),
            (false, output) => self.terminal.piece(&format!("{output:#}\n")),
        }
        Ok(Exit::Done)
    }

    fn leave(&self, run: &str, asked: &[Question]) -> Exit {
        if self.terminal.json {
            let interrupts: Value = asked.iter().map(Question::shown).collect();
            self.tell(run, "interrupted", &[("interrupts", interrupts)]);
            return Exit::Done;
        }
        for question in asked {
            self.terminal.note(question);
        }
        let example = asked.first().map_or_else(|| "JSON".to_owned(), Question::example);
        self.terminal.data(format_args!("run {run} of thread {} waits", self.thread));
        self.terminal
            .note(format_args!("answer with: agentry runs resume {run} --answer {example}"));
        Exit::Done
    }

    fn tell(&self, run: &str, status: &str, more: &[(&str, Value)]) {
        if !self.terminal.json {
            return;
        }
        let mut told = Map::from_iter([
            ("graph".to_owned(), json!(self.graph)),
            ("run_id".to_owned(), json!(run)),
            ("thread_id".to_owned(), json!(self.thread)),
            ("status".to_owned(), json!(status)),
        ]);
        told.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.terminal.object(&told);
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(str::to_owned)
}
