//! What is said of a run at its end, wherever it ran.

use agentry_core::run::Values;
use agentry_graphs::Graphs;
use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::question::Question;
use crate::cli::Exit;
use crate::terminal::Terminal;

pub(super) struct Report<'a> {
    pub(super) terminal: Terminal,
    pub(super) graphs: &'a Graphs,
    pub(super) graph: &'a str,
    pub(super) thread: String,
    pub(super) run: String,
}

impl Report<'_> {
    pub(super) fn done(&self, values: &Values) -> anyhow::Result<Exit> {
        let output = match self.graphs.get(self.graph) {
            Some(_) => self.graphs.output(self.graph, values).context("read the result")?,
            None => said_last(values),
        };
        match (self.terminal.json, &output) {
            (true, _) => self.object("success", ("output", output)),
            (false, Value::String(text)) => self.terminal.piece(&format!("{text}\n")),
            (false, output) => self.terminal.piece(&format!("{output:#}\n")),
        }
        Ok(Exit::Done)
    }

    pub(super) fn failed(&self, why: &str) {
        if self.terminal.json {
            self.object("error", ("reason", json!(why)));
        }
    }

    pub(super) fn asks(&self, asked: &[Question]) {
        if self.terminal.json {
            let interrupts: Value = asked.iter().map(Question::shown).collect();
            self.object("interrupted", ("interrupts", interrupts));
        }
        for question in asked {
            self.terminal.note(question);
        }
    }

    /// Where answers are taken; `first` is what to do before.
    pub(super) fn waits(&self, asked: &[Question], first: &str) {
        if self.terminal.json {
            return;
        }
        let Self { run, thread, .. } = self;
        let example = asked.first().map_or_else(|| "JSON".to_owned(), Question::example);
        self.terminal.data(format_args!("run {run} of thread {thread} waits"));
        self.terminal.note(format_args!("{first}: agentry runs resume {run} --answer {example}"));
    }

    fn object(&self, status: &str, (name, value): (&str, Value)) {
        self.terminal.object(&Map::from_iter([
            ("graph".to_owned(), json!(self.graph)),
            ("run_id".to_owned(), json!(self.run)),
            ("thread_id".to_owned(), json!(self.thread)),
            ("status".to_owned(), json!(status)),
            (name.to_owned(), value),
        ]));
    }
}

/// By the agent.
fn said_last(values: &Values) -> Value {
    let messages = values.get("messages").and_then(Value::as_array);
    let last = messages.and_then(|messages| messages.last()?.get("content"));
    last.cloned().unwrap_or_default()
}
