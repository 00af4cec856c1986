//! `agentry check`: is the configuration good?

use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::cli::{Context, Ended, Exit};
use crate::config::{Config, Error, Ledger, Source, Storage};
use crate::graphs::Definitions;
use crate::{graphs, versions, wiring};

pub(crate) fn run(cx: &Context) -> Result<Exit, Ended> {
    let config = match cx.config() {
        Ok(config) => config,
        Err(error) if cx.terminal.json => {
            let problems = match &error {
                Error::Wrong(problems) => json!(problems.shown()),
                Error::Unreadable { path, reason } => json!([{ "file": path, "message": reason }]),
            };
            cx.terminal.object(&json!({ "ok": false, "problems": problems }));
            return Ok(Exit::Usage);
        }
        Err(error) => return Err(error.into()),
    };
    let metrics = std::sync::Arc::new(agentry_server::Metrics::new());
    let policies = agentry_gateway::Policies::default();
    match wiring::gateway(&config, metrics, policies, &TaskTracker::new()) {
        Ok(_) => {}
        Err(error) if cx.terminal.json => {
            let problem = json!({ "message": format!("{error:#}") });
            cx.terminal.object(&json!({ "ok": false, "problems": [problem] }));
            return Ok(Exit::Usage);
        }
        Err(error) => return Err(Ended { exit: Exit::Usage, error }),
    }
    let definitions = match graphs::load(cx, &config) {
        Ok(definitions) => definitions,
        Err(graphs::Error::Wrong(wrong)) if cx.terminal.json => {
            let problems: Vec<_> =
                wrong.iter().flat_map(agentry_notation::Problems::shown).collect();
            cx.terminal.object(&json!({ "ok": false, "problems": problems }));
            return Ok(Exit::Usage);
        }
        Err(error) => return Err(error.into()),
    };
    let threads = versions::checked(cx, &config, &definitions);
    tell(cx, &config, &definitions, &threads);
    Ok(Exit::Done)
}

/// What a good configuration comes to.
fn tell(cx: &Context, config: &Config, definitions: &Definitions, threads: &[String]) {
    let graphs: Vec<&str> = definitions.graphs.names().collect();
    let agents: Vec<&str> = definitions.agents.keys().map(String::as_str).collect();
    let tools: Vec<&str> = config.tools.iter().map(|tool| tool.spec.name.as_str()).collect();
    let providers: Vec<&str> = config.providers.iter().map(|one| one.name.as_str()).collect();
    let models: Vec<&str> = config.models.iter().map(|one| one.name.as_str()).collect();
    let storage = match &config.storage {
        Storage::Memory => "memory:".to_owned(),
        Storage::Sqlite(path) => format!("sqlite:{}", path.display()),
        Storage::Postgres(database) => database.place.clone(),
    };
    let encryption = config.encryption.as_ref().map(|keys| keys.ids().collect::<Vec<_>>());
    let ledger = match &config.ledger {
        Ledger::Storage => storage.clone(),
        Ledger::Postgres { place, .. } => place.clone(),
    };
    let sources = wiring::sources(config).map(|(kind, source)| match source {
        Source::Prometheus(url) => format!("{kind} from {url}"),
        Source::Folder(path) => format!("{kind} from {}", path.display()),
    });
    let file = config.file.as_ref().map(|file| file.display().to_string());
    if cx.terminal.json {
        cx.terminal.object(&json!({
            "ok": true,
            "file": file,
            "listen": config.server.listen.to_string(),
            "storage": storage,
            "encryption_keys": encryption.unwrap_or_default(),
            "ledger": ledger,
            "providers": providers,
            "models": models,
            "graphs": graphs,
            "threads": threads,
            "agents": agents,
            "tools": tools,
            "sources": sources.collect::<Vec<_>>(),
        }));
        return;
    }
    let list = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    cx.terminal
        .data(format_args!("{} is good", file.as_deref().unwrap_or("the default configuration")));
    cx.terminal.data(format_args!("  listen     {}", config.server.listen));
    cx.terminal.data(format_args!("  storage    {storage}"));
    match encryption.as_deref() {
        None => {}
        Some([key]) => cx.terminal.data(format_args!("  encryption with key {key}")),
        Some(keys) => {
            cx.terminal.data(format_args!("  encryption the first of keys {}", keys.join(", ")));
        }
    }
    cx.terminal.data(format_args!("  ledger     {ledger}"));
    cx.terminal.data(format_args!("  providers  {}", list(&providers)));
    cx.terminal.data(format_args!("  models     {}", list(&models)));
    for (what, names) in [("graphs", &graphs), ("agents", &agents), ("tools", &tools)] {
        if !names.is_empty() {
            cx.terminal.data(format_args!("  {what:<11}{}", list(names)));
        }
    }
    for line in threads {
        cx.terminal.data(format_args!("  threads    {line}"));
    }
    for source in sources {
        cx.terminal.data(format_args!("  incidents  {source}"));
    }
}
