//! What the incident agent is made of: where it reads, whom it tells, what it may do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentry_backends::actuator::{FileActuator, WebhookActuator};
use agentry_backends::file_sink::{FileMessages, FileTickets};
use agentry_backends::jira::{JiraTickets, Login};
use agentry_backends::slack::SlackMessages;
use agentry_backends::sources::{self, Sources};
use agentry_core::outbound::{Actuator, Error, Messages, Order, Receipt, Tickets};
use agentry_gateway::Gateway;
use agentry_http::Client;
use agentry_incident::handling::{self, Deliberation};
use anyhow::{Context as _, bail};
use async_trait::async_trait;

use crate::config::{Config, Jira, Source};

/// How long a model may deliberate; the reactive answer waits for it.
const DELIBERATION_DEADLINE: Duration = Duration::from_secs(60);
const DELIBERATION_STEPS_MAX: u32 = 8;
const DELIBERATION_TOKENS_MAX: u64 = 60_000;

pub(crate) fn ports(config: &Config, gateway: &Arc<Gateway>) -> anyhow::Result<handling::Ports> {
    let client = Client::new(&agentry_http::Settings::default());
    let incident = &config.incident;
    let outbox = |name: &str| incident.outbox.join(name);
    let tickets: Arc<dyn Tickets> = match &incident.jira {
        None => Arc::new(FileTickets::new(outbox("tickets"))),
        Some(Jira { url, project, token, user }) => {
            let login = match user {
                Some(email) => Login::Basic { email: email.clone(), token: token.clone() },
                None => Login::Bearer(token.clone()),
            };
            Arc::new(JiraTickets::new(client.clone(), url.clone(), project.clone(), login))
        }
    };
    let messages: Arc<dyn Messages> = match &incident.slack {
        None => Arc::new(FileMessages::new(outbox("messages"))),
        Some(webhook) => Arc::new(
            SlackMessages::new(client.clone(), webhook.clone())
                .context("set up [incident.notify] slack")?,
        ),
    };
    let urls: BTreeMap<_, _> = incident.actions.iter().cloned().collect();
    let actuator = Actions {
        configured: urls.keys().cloned().collect(),
        webhooks: WebhookActuator::new(client.clone(), urls),
        paper: FileActuator::new(outbox("orders")),
    };
    Ok(handling::Ports {
        telemetry: Arc::new(telemetry(config, &client)?),
        tickets,
        messages,
        actuator: Arc::new(actuator),
        deliberation: incident.model.as_ref().map(|alias| deliberation(alias, gateway)),
    })
}

pub(crate) fn settings(config: &Config) -> handling::Settings {
    let defaults = handling::Settings::default();
    let incident = &config.incident;
    handling::Settings {
        settle: incident.settle.unwrap_or(defaults.settle),
        approval_timeout: incident.approval_timeout.unwrap_or(defaults.approval_timeout),
        actions: incident.actions.iter().map(|(name, _)| name.clone()).collect(),
        project: incident.jira.as_ref().map_or(defaults.project, |jira| jira.project.clone()),
        ..defaults
    }
}

/// A model that deliberates through our own gateway.
pub(crate) fn deliberation(alias: &str, gateway: &Arc<Gateway>) -> Deliberation {
    Deliberation {
        model: Arc::clone(gateway) as Arc<_>,
        alias: alias.to_owned(),
        deadline: DELIBERATION_DEADLINE,
        steps_max: DELIBERATION_STEPS_MAX,
        tokens_max: DELIBERATION_TOKENS_MAX,
    }
}

fn telemetry(config: &Config, client: &Client) -> anyhow::Result<Sources> {
    let incident = &config.incident;
    let written = |source: &Option<Source>| {
        source.as_ref().map(|source| match source {
            Source::Prometheus(url) => format!("prometheus:{url}"),
            Source::Folder(path) => format!("dir:{}", path.display()),
        })
    };
    let settings = sources::Settings {
        metrics: written(&incident.metrics),
        logs: written(&incident.logs),
        traces: written(&incident.traces),
        changes: written(&incident.changes),
    };
    open(&settings, client)
}

/// The four kinds in folders of those names.
pub(crate) fn telemetry_of_folder(folder: &Path) -> anyhow::Result<Sources> {
    let kind = |name: &str| Some(format!("dir:{}", folder.join(name).display()));
    let settings = sources::Settings {
        metrics: kind("metrics"),
        logs: kind("logs"),
        traces: kind("traces"),
        changes: kind("changes"),
    };
    open(&settings, &Client::new(&agentry_http::Settings::default()))
}

fn open(settings: &sources::Settings, client: &Client) -> anyhow::Result<Sources> {
    match Sources::parse(settings, client) {
        Ok(sources) => Ok(sources),
        Err(problems) => {
            let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bail!("[incident.sources] {}", list.join("; "))
        }
    }
}

/// Orders go to the webhook of their action; one that has none is only written down, and says so.
struct Actions {
    configured: BTreeSet<String>,
    webhooks: WebhookActuator,
    paper: FileActuator,
}

#[async_trait]
impl Actuator for Actions {
    async fn perform(&self, key: &str, order: &Order) -> Result<Receipt, Error> {
        match self.configured.contains(&order.action) {
            true => self.webhooks.perform(key, order).await,
            false => self.paper.perform(key, order).await,
        }
    }
}
