//! `agentry runs`: what agents are doing on a running instance, over its public face.

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::agent::Agent;
use crate::cli::{Context, Ended, Exit};
use crate::operate::{Target, agent, block};
use crate::terminal::Terminal;
use crate::versions;

mod summary;

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Runs {
    /// Newest first
    List {
        /// Only runs of this thread
        #[arg(long, value_name = "ID")]
        thread: Option<String>,
        /// pending, running, interrupted, success, error or timeout
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// One run: where its thread stands, what it asks, where its time and money went
    Show { run: String },
    /// Answer what a run asks, or let it go on from a breakpoint
    Resume {
        run: String,
        /// The answer, as JSON or as plain text; none at a breakpoint
        #[arg(long, value_name = "JSON")]
        answer: Option<String>,
        /// Which question is answered, when several are open
        #[arg(long, value_name = "ID", requires = "answer")]
        interrupt: Option<String>,
    },
    /// End a run
    Cancel {
        run: String,
        /// Take back what it did to its thread's state, and delete it
        #[arg(long)]
        rollback: bool,
    },
    /// Copy a run's thread; with a checkpoint, let the copy go on from there
    Fork {
        run: String,
        /// One of the thread's history
        #[arg(long, value_name = "ID")]
        checkpoint: Option<String>,
    },
    /// Move threads to the version of their graph that is here; in the database, without an instance
    Migrate(versions::Options),
    /// Keep of threads that were not used for long only where they stand; in the database, without an instance
    Compact(versions::Compact),
}

pub(crate) fn runs(cx: &Context, target: &Target, what: Runs) -> Result<Exit, Ended> {
    if let Runs::Migrate(options) = &what {
        return versions::migrate(cx, options);
    }
    if let Runs::Compact(options) = &what {
        return versions::compact(cx, options);
    }
    let agent = agent(cx, target)?;
    let terminal = cx.terminal;
    block(async {
        match what {
            Runs::List { thread, status, limit } => {
                list(terminal, &agent, (thread, status, limit)).await?;
            }
            Runs::Show { run } => show(terminal, &agent, &run).await?,
            Runs::Resume { run, answer, interrupt } => {
                resume(terminal, &agent, (&run, answer, interrupt)).await?;
            }
            Runs::Cancel { run, rollback } => cancel(terminal, &agent, &run, rollback).await?,
            Runs::Fork { run, checkpoint } => fork(terminal, &agent, (&run, checkpoint)).await?,
            Runs::Migrate(_) | Runs::Compact(_) => {}
        }
        Ok(Exit::Done)
    })
}

async fn list(
    terminal: Terminal,
    agent: &Agent,
    (thread, status, limit): (Option<String>, Option<String>, usize),
) -> anyhow::Result<()> {
    let place =
        thread.map_or_else(|| "/runs".to_owned(), |id| format!("/threads/{}/runs", part(&id)));
    let status = status.map(|status| format!("&status={}", part(&status))).unwrap_or_default();
    let runs = agent.get(&format!("{place}?limit={limit}{status}")).await?;
    if terminal.json {
        terminal.object(&runs);
        return Ok(());
    }
    let runs = runs.as_array().map(Vec::as_slice).unwrap_or_default();
    if runs.is_empty() {
        terminal.note("no runs: POST /threads/{thread_id}/runs begins one");
    }
    for run in runs {
        let text = |name: &str| run.get(name).and_then(Value::as_str).unwrap_or("-");
        let created = text("created_at").get(..19).unwrap_or("-");
        let (id, status) = (text("run_id"), text("status"));
        let graph = run.pointer("/metadata/graph_id").and_then(Value::as_str).unwrap_or("-");
        terminal.data(format_args!(
            "{id}  {status:<11}  {created}  {graph:<16}  {}",
            text("thread_id")
        ));
    }
    Ok(())
}

/// A name as one part of a path.
fn part(name: &str) -> String {
    name.bytes().fold(String::new(), |mut part, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                part.push(char::from(byte));
            }
            other => part.push_str(&format!("%{other:02X}")),
        }
        part
    })
}

async fn find(agent: &Agent, run: &str) -> anyhow::Result<(Value, String)> {
    let found = agent.get(&format!("/runs/{}", part(run))).await?;
    let thread = found.get("thread_id").and_then(Value::as_str).context("the run has no thread")?;
    let thread = thread.to_owned();
    Ok((found, thread))
}

async fn show(terminal: Terminal, agent: &Agent, run: &str) -> anyhow::Result<()> {
    let (mut found, thread) = find(agent, run).await?;
    let state = agent.get(&format!("/threads/{thread}/state")).await?;
    let summary = format!("/threads/{thread}/runs/{}/summary", part(run));
    let summary = agent.get(&summary).await?;
    if terminal.json {
        if let Some(members) = found.as_object_mut() {
            members.insert("state".to_owned(), state);
            members.insert("summary".to_owned(), summary);
        }
        terminal.object(&found);
        return Ok(());
    }
    let text = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let next = state.get("next").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let next: Vec<&str> = next.iter().filter_map(Value::as_str).collect();
    let why = ["reason", "cancel_reason"].iter().find_map(|name| found.get(*name)?.as_str());
    let rows = [
        ("run", text("run_id")),
        ("thread", thread),
        ("status", text("status")),
        ("because", why.unwrap_or("-").to_owned()),
        ("begun", text("created_at")),
        ("changed", text("updated_at")),
        ("next", if next.is_empty() { "-".to_owned() } else { next.join(", ") }),
    ];
    for (name, value) in rows.iter().filter(|(_, value)| value != "-") {
        terminal.data(format_args!("{name:<8} {value}"));
    }
    let asked = state.get("interrupts").and_then(Value::as_array);
    for question in asked.into_iter().flatten() {
        let id = question.get("id").and_then(Value::as_str).unwrap_or("-");
        let value = question.get("value").unwrap_or(&Value::Null);
        terminal.data(format_args!("asks     {id}  {value}"));
    }
    if let Some(values) = state.get("values").and_then(Value::as_object) {
        for (channel, value) in values {
            terminal.data(format_args!("  {channel:<14} {}", short(value)));
        }
    }
    summary::tell(terminal, &summary);
    Ok(())
}

/// So much of a value that it fits a line.
fn short(value: &Value) -> String {
    const CHARS_MAX: usize = 100;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

async fn resume(
    terminal: Terminal,
    agent: &Agent,
    (run, answer, interrupt): (&str, Option<String>, Option<String>),
) -> anyhow::Result<()> {
    let (found, thread) = find(agent, run).await?;
    let assistant = found.get("assistant_id").cloned().unwrap_or_default();
    // What is no JSON is meant as it stands.
    let answer =
        answer.map(|answer| serde_json::from_str(&answer).unwrap_or(Value::String(answer)));
    let body = match (answer, interrupt) {
        (None, _) => json!({ "assistant_id": assistant, "input": null }),
        (Some(answer), None) => {
            json!({ "assistant_id": assistant, "command": { "resume": answer } })
        }
        (Some(answer), Some(interrupt)) => {
            let named = Map::from_iter([(interrupt, answer)]);
            json!({ "assistant_id": assistant, "command": { "resume": named } })
        }
    };
    let begun = agent.post(&format!("/threads/{thread}/runs"), &body).await?;
    told(terminal, &begun, "goes on as");
    Ok(())
}

fn told(terminal: Terminal, run: &Value, how: &str) {
    match terminal.json {
        true => terminal.object(run),
        false => {
            let id = run.get("run_id").and_then(Value::as_str).unwrap_or("-");
            terminal.data(format_args!("{how} {id}"));
        }
    }
}

async fn cancel(
    terminal: Terminal,
    agent: &Agent,
    run: &str,
    rollback: bool,
) -> anyhow::Result<()> {
    let (_, thread) = find(agent, run).await?;
    let action = if rollback { "rollback" } else { "interrupt" };
    let path = format!("/threads/{thread}/runs/{}/cancel?wait=1&action={action}", part(run));
    agent.ask(&path, &Value::Null).await?;
    match terminal.json {
        true => terminal.object(&json!({ "run_id": run, "cancelled": true, "action": action })),
        false => terminal.data(format_args!("cancelled {run}")),
    }
    Ok(())
}

async fn fork(
    terminal: Terminal,
    agent: &Agent,
    (run, checkpoint): (&str, Option<String>),
) -> anyhow::Result<()> {
    let (found, thread) = find(agent, run).await?;
    let copy = agent.post(&format!("/threads/{thread}/copy"), &json!({})).await?;
    let id = copy.get("thread_id").and_then(Value::as_str).context("the copy has no id")?;
    let Some(checkpoint) = checkpoint else {
        match terminal.json {
            true => terminal.object(&copy),
            false => terminal.data(format_args!("copied to thread {id}")),
        }
        return Ok(());
    };
    let assistant = found.get("assistant_id").cloned().unwrap_or_default();
    let body = json!({ "assistant_id": assistant, "input": null, "checkpoint_id": checkpoint });
    let begun = agent.post(&format!("/threads/{id}/runs"), &body).await?;
    if !terminal.json {
        terminal.note(format_args!("copied to thread {id}"));
    }
    told(terminal, &begun, "goes on as");
    Ok(())
}
