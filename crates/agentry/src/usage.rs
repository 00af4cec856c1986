//! `agentry usage`: what was used and what it cost.

use anyhow::Context as _;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use crate::cli::{Context, Ended, Exit};
use crate::operate::{Target, agent, block};
use crate::terminal::Terminal;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) target: Target,
    /// One row for each: model, target, key, day, tenant, team, user, session or run
    #[arg(long, value_name = "WHAT", default_value = "model")]
    by: String,
    /// The first day or moment, as in 2026-01-31 [default: 30 days before the end]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Up to this day or moment, without it [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Another tenant, or * for all; for operators
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[arg(long, value_name = "NAME")]
    team: Option<String>,
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// How many rows at most [default: 100]
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

pub(crate) fn run(cx: &Context, options: Options) -> Result<Exit, Ended> {
    let agent = agent(cx, &options.target)?;
    let terminal = cx.terminal;
    let path = format!("/v1/usage?{}", query(options));
    block(async {
        let usage = agent.get(&path).await?;
        match terminal.json {
            true => terminal.object(&usage),
            false => table(terminal, &usage)?,
        }
        Ok(Exit::Done)
    })
}

fn query(options: Options) -> String {
    let Options { target: _, by, from, to, tenant, key, user, team, session, run, model, limit } =
        options;
    let mut query = Serializer::new(String::new());
    query.append_pair("by", &by);
    let limit = limit.map(|limit| limit.to_string());
    for (name, value) in [
        ("from", from),
        ("to", to),
        ("tenant", tenant),
        ("key", key),
        ("user", user),
        ("team", team),
        ("session", session),
        ("run", run),
        ("model", model),
        ("limit", limit),
    ] {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    query.finish()
}

fn table(terminal: Terminal, usage: &Value) -> anyhow::Result<()> {
    let rows = usage.get("rows").and_then(Value::as_array).context("the answer has no rows")?;
    let by = usage.get("by").and_then(Value::as_str).unwrap_or("name");
    if rows.is_empty() {
        terminal.note("nothing was used in that time");
        return Ok(());
    }
    let name = |row: &Value| row.get("name").and_then(Value::as_str).unwrap_or("-").to_owned();
    let width = rows.iter().map(|row| name(row).chars().count()).max().unwrap_or(0).max(by.len());
    terminal.data(format_args!(
        "{by:<width$} {:>9} {:>7} {:>7} {:>12} {:>12} {:>12} {:>12}",
        "calls", "failed", "cached", "tokens in", "tokens out", "USD", "USD saved"
    ));
    for row in rows {
        terminal.data(line(&name(row), width, row));
    }
    if let Some(totals) = usage.get("totals") {
        terminal.data(line("all", width, totals));
    }
    Ok(())
}

fn line(name: &str, width: usize, sums: &Value) -> String {
    let count = |pointer: &str| sums.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let dollars = |name: &str| sums.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let (cost, saved) = (dollars("cost_usd"), dollars("saved_usd"));
    format!(
        "{name:<width$} {:>9} {:>7} {:>7} {:>12} {:>12} {cost:>12.6} {saved:>12.6}",
        count("/calls"),
        count("/failed"),
        count("/from_cache"),
        count("/tokens/input"),
        count("/tokens/output"),
    )
}
