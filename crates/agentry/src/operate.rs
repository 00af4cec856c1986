//! Commands that talk to a running instance: incidents, approvals, audit.

use agentry_backends::sqlite::{OpenError, SqliteStore};
use agentry_core::audit::Digest;
use anyhow::bail;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::audit::{Audited, Source};
use crate::cli::{Context, Ended, Exit};
use crate::config::{self, Storage};
use crate::terminal::Terminal;
use crate::wiring::storage;

/// Where the instance is; the configuration's address by default.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Target {
    /// The instance to talk to [default: http:// and server.listen of the configuration]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
}

/// Whose key commands present to the instance.
const KEY: &str = "AGENTRY_API_KEY";

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Incidents {
    /// Newest first
    List,
    /// The report of one incident, such as INC-7
    Show { id: String },
}

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Approvals {
    /// What waits for a person
    List,
    /// Exactly what would run, why, and what it rests on
    Show { id: String },
    /// Let it run, as it is shown now
    Approve(Verdict),
    /// Do not let it run
    Reject(Verdict),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Verdict {
    id: String,
    /// Who decides; goes into the audit log
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// The digest that `approvals show` printed: a changed order is then refused
    #[arg(long, value_name = "DIGEST")]
    digest: Option<String>,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Audit {
    /// Walk the whole chain; exits with 1 where it is broken
    Verify {
        /// Which log: keys have one of their own when [ledger] is a database that instances share
        #[arg(long, value_enum, default_value = "runs")]
        of: Of,
        /// A head noted down earlier: the log must still contain it
        #[arg(long, value_name = "DIGEST")]
        head: Option<Digest>,
    },
    /// Every record, oldest first
    List {
        /// Which log: keys have one of their own when [ledger] is a database that instances share
        #[arg(long, value_enum, default_value = "runs")]
        of: Of,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Of {
    Runs,
    Keys,
}

pub(crate) fn incidents(cx: &Context, target: &Target, what: Incidents) -> Result<Exit, Ended> {
    let agent = agent(cx, target)?;
    let terminal = cx.terminal;
    block(async {
        match what {
            Incidents::List => {
                let incidents = agent.incidents().await?;
                if terminal.json {
                    terminal.object(&incidents);
                } else if incidents.is_empty() {
                    terminal.note("no incidents: alerts go to POST /v1/alerts/alertmanager");
                } else {
                    incidents.iter().for_each(|incident| terminal.data(incident_row(incident)));
                }
            }
            Incidents::Show { id } => {
                let incident = agent.incident(&id).await?;
                match (terminal.json, incident.get("report_text").and_then(Value::as_str)) {
                    (false, Some(report)) => terminal.data(report),
                    _ => terminal.object(&incident),
                }
            }
        }
        Ok(Exit::Done)
    })
}

pub(crate) fn approvals(cx: &Context, target: &Target, what: Approvals) -> Result<Exit, Ended> {
    let agent = agent(cx, target)?;
    let terminal = cx.terminal;
    block(async {
        match what {
            Approvals::List => {
                let waiting = agent.approvals().await?;
                if terminal.json {
                    terminal.object(&waiting);
                } else if waiting.is_empty() {
                    terminal.note("nothing waits for approval");
                } else {
                    waiting.iter().for_each(|approval| terminal.data(approval_row(approval)));
                }
            }
            Approvals::Show { id } => show_approval(terminal, &agent.approval(&id).await?),
            Approvals::Approve(verdict) => decide(terminal, &agent, "approve", verdict).await?,
            Approvals::Reject(verdict) => decide(terminal, &agent, "reject", verdict).await?,
        }
        Ok(Exit::Done)
    })
}

/// Without `--url` the file is read; while an instance has it open, that instance is asked.
pub(crate) fn audit(cx: &Context, target: &Target, what: &Audit) -> Result<Exit, Ended> {
    let terminal = cx.terminal;
    let config = cx.config()?;
    let of = match what {
        Audit::Verify { of, .. } | Audit::List { of } => *of,
    };
    if let (None, Of::Keys, config::Ledger::Postgres { url, place, .. }) =
        (&target.url, of, &config.ledger)
    {
        return runtime()?.block_on(async {
            let store = storage::postgres(url, place).await?;
            walk(terminal, Source::Keys(&store), what).await.map_err(ended)
        });
    }
    if let (None, Of::Runs, Storage::Postgres(database)) = (&target.url, of, &config.storage) {
        return runtime()?.block_on(async {
            let store = storage::postgres(&database.url, &database.place).await?;
            walk(terminal, Source::Keys(&store), what).await.map_err(ended)
        });
    }
    let file = match (&target.url, config.storage) {
        (None, Storage::Sqlite(path)) if path.is_file() => match SqliteStore::open(&path) {
            Ok(store) => Some(store),
            Err(OpenError::InUse { .. }) => None,
            Err(error) => return Err(anyhow::Error::from(error).into()),
        },
        _ => None,
    };
    let agent = agent(cx, target)?;
    let source = file.as_ref().map_or(Source::Instance(&agent, of), |store| Source::File(store));
    block(walk(terminal, source, what))
}

async fn walk(terminal: Terminal, source: Source<'_>, what: &Audit) -> anyhow::Result<Exit> {
    match what {
        Audit::List { .. } => {
            source.each(|record| terminal.object(record)).await?;
            Ok(Exit::Done)
        }
        Audit::Verify { head, .. } => tell_audit(terminal, &source.verify(*head).await?),
    }
}

fn tell_audit(terminal: Terminal, audited: &Audited) -> anyhow::Result<Exit> {
    if terminal.json {
        terminal.object(&audited.json());
    }
    match &audited.broken {
        Some(broken) => bail!("the audit log is not what was written: {broken}"),
        None if terminal.json => {}
        None => {
            terminal.data(format_args!("{} records, chain verified", audited.records));
            terminal.data(format_args!("head {}", audited.head));
        }
    }
    Ok(Exit::Done)
}

pub(crate) fn agent(cx: &Context, target: &Target) -> Result<Agent, Ended> {
    let url = match &target.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", cx.config()?.server.listen),
    };
    let key = cx.environment.get(KEY).filter(|key| !key.trim().is_empty());
    Ok(Agent::at(url).with_key(key.map(|key| key.trim().into())))
}

pub(crate) fn block(work: impl Future<Output = anyhow::Result<Exit>>) -> Result<Exit, Ended> {
    runtime()?.block_on(work).map_err(ended)
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Ended::from(anyhow::Error::from(error)))
}

/// Nobody may have answered.
pub(crate) fn ended(error: anyhow::Error) -> Ended {
    let unreachable = error.chain().any(<dyn std::error::Error>::is::<agentry_http::Error>);
    Ended { exit: if unreachable { Exit::Unreachable } else { Exit::Failed }, error }
}

async fn decide(
    terminal: Terminal,
    agent: &Agent,
    decision: &str,
    verdict: Verdict,
) -> anyhow::Result<()> {
    let Verdict { id, actor, comment, digest } = verdict;
    let body =
        json!({ "decision": decision, "actor": actor, "comment": comment, "digest": digest });
    let answer = agent.decide(&id, &body).await?;
    if terminal.json {
        terminal.object(&answer);
    } else {
        terminal.data(format_args!("{decision}: {id}"));
    }
    Ok(())
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("-")
}

fn incident_row(incident: &Value) -> String {
    format!(
        "{:<8} {:<9} {:<20} {:<20} {}",
        text(incident, "/id"),
        text(incident, "/severity"),
        text(incident, "/status"),
        text(incident, "/opened").get(..19).unwrap_or("-"),
        text(incident, "/title"),
    )
}

fn approval_row(approval: &Value) -> String {
    let (id, deadline) = (text(approval, "/id"), text(approval, "/deadline"));
    let (incident, action) =
        (text(approval, "/question/incident"), text(approval, "/question/action"));
    format!("{id}  {incident}  {action}  (until {deadline})")
}

fn show_approval(terminal: Terminal, approval: &Value) {
    if terminal.json {
        terminal.object(approval);
        return;
    }
    let question = |name: &str| text(approval, &format!("/question/{name}")).to_owned();
    let runs = match approval.pointer("/question/runs").and_then(Value::as_bool) {
        Some(false) => "no: nothing is configured for this action, it would only be written down",
        Some(true) | None => "yes, once",
    };
    let rows = [
        ("incident", question("incident")),
        ("severity", question("severity")),
        ("would run", question("action")),
        ("because", question("reason")),
        ("runs", runs.to_owned()),
        ("touches", question("blast_radius")),
        ("back out", question("back_out")),
        ("digest", question("digest")),
        ("until", text(approval, "/deadline").to_owned()),
        ("remark", question("remark")),
    ];
    for (name, value) in rows.iter().filter(|(_, value)| value != "-") {
        terminal.data(format_args!("{name:<10} {value}"));
    }
    let evidence = approval.pointer("/question/evidence").and_then(Value::as_array);
    for row in evidence.into_iter().flatten() {
        terminal.data(format_args!("  {:<4} {}", text(row, "/id"), text(row, "/summary")));
    }
    let id = text(approval, "/id");
    terminal.note(format_args!("agentry approvals approve {id} --digest {}", question("digest")));
}
