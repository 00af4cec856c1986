//! What sees that all is well: alerts on what is measured, and spans for whoever collects them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use agentry_backends::slack::SlackMessages;
use agentry_backends::webhook::WebhookMessages;
use agentry_core::ledger::Ledger;
use agentry_core::model::CallContext;
use agentry_core::outbound::Messages;
use agentry_core::shared::Shared;
use agentry_core::trace::Sampling;
use agentry_core::{Clock as _, Failure as _, Retry};
use agentry_gateway::watchdog::{Alert, Handle, Notice, Rule, Sampler, Surroundings, Why};
use agentry_gateway::{Call, Gateway, Observer, Settled};
use agentry_guards::{Blocked, Report};
use agentry_http::Client;
use agentry_otel::{Exporter, Tracer};
use agentry_server::{App, Dependency, Metrics};
use anyhow::Context as _;
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use crate::clock::SystemClock;
use crate::config::{Channel, Config, Kind, Otel, Provider};

/// How often everything is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// So many notices may wait to be sent; more are in the log only.
const NOTICES_MAX: usize = 256;
/// Between the tries to send a notice.
const RETRIES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];
/// What is on its way at the end gets so long.
const DRAIN: Duration = Duration::from_secs(5);
const SHARED_DEADLINE: Duration = Duration::from_secs(1);
/// Asked for to see whether anybody answers.
const NOTHING: &[u8] = b"agentry:nothing";

/// What it needs.
pub(crate) struct Parts {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) shared: Option<Arc<dyn Shared>>,
    pub(crate) instance: String,
    alarms: Alarms,
    exporter: Option<(Sampling, Exporter)>,
    tracer: Option<Arc<Tracer>>,
}

/// By name.
type Channels = BTreeMap<Arc<str>, Arc<dyn Messages>>;

/// What people are told of, and where: what can change while it runs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Alarms {
    watchdog: Handle,
    channels: Arc<RwLock<Arc<Channels>>>,
    client: Client,
}

/// Alarms that were found to be good, and are not in force yet.
pub(crate) struct PreparedAlarms {
    rules: Vec<Rule>,
    channels: Channels,
}

impl Alarms {
    fn open(config: &Config, client: Client) -> anyhow::Result<Self> {
        let none = Arc::new(RwLock::new(Arc::new(Channels::new())));
        let alarms = Self { watchdog: Handle::default(), channels: none, client };
        alarms.replace(alarms.prepare(config)?);
        Ok(alarms)
    }

    pub(crate) fn prepare(&self, config: &Config) -> anyhow::Result<PreparedAlarms> {
        let mut channels = Channels::new();
        for (name, channel) in &config.alerts.channels {
            let sender = messages(&self.client, name, channel);
            let sender = sender.with_context(|| format!("set up [channels.{name}]"))?;
            channels.insert(Arc::clone(name), sender);
        }
        Ok(PreparedAlarms { rules: config.alerts.rules.clone(), channels })
    }

    pub(crate) fn replace(&self, prepared: PreparedAlarms) {
        let PreparedAlarms { rules, channels } = prepared;
        *self.channels.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(channels);
        self.watchdog.replace(rules);
    }

    fn channels(&self) -> Arc<Channels> {
        Arc::clone(&self.channels.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What must run for it.
pub(crate) struct Running {
    watching: Watching,
    telling: Telling,
    exporter: Option<Exporter>,
}

impl Parts {
    /// The second one hears of calls beside the metrics, when they are traced.
    pub(crate) fn new(
        config: &Config,
        ledger: Arc<dyn Ledger>,
        (shared, instance): (Option<Arc<dyn Shared>>, String),
    ) -> anyhow::Result<(Self, Option<Arc<dyn Observer>>)> {
        let client = Client::new(&agentry_http::Settings::default());
        let alarms = Alarms::open(config, client.clone())?;
        let (tracer, exporter) = tracing(config, client, &instance)?.unzip();
        let heard = tracer.clone().map(|tracer| tracer as Arc<dyn Observer>);
        Ok((Self { ledger, shared, instance, alarms, exporter, tracer }, heard))
    }

    /// Hears of executions, when they are traced.
    pub(crate) fn tracer(&self) -> Option<Arc<Tracer>> {
        self.tracer.clone()
    }

    pub(crate) fn alarms(&self) -> Alarms {
        self.alarms.clone()
    }

    fn open(self, app: App, gateway: Arc<Gateway>) -> (App, Running) {
        let Self { ledger, shared, instance, alarms, exporter, tracer: _ } = self;
        let (notices, waiting) = mpsc::channel(NOTICES_MAX);
        let watchdog = alarms.watchdog.clone();
        let mut app = app.watchdog(watchdog.clone()).ledger(ledger);
        if let Some(shared) = &shared {
            app = app.companion(Arc::new(Answers(Arc::clone(shared))));
        }
        let exporter = match exporter {
            None => None,
            Some((sampling, exporter)) => {
                app = app.traced(sampling);
                Some(exporter)
            }
        };
        let watching = Watching { gateway, shared, watchdog, notices };
        (app, Running { watching, telling: Telling { instance, alarms, waiting }, exporter })
    }
}

/// Opens the faces, where anything is watched.
pub(crate) fn open(
    parts: Option<Parts>,
    app: App,
    gateway: Arc<Gateway>,
) -> (App, Option<Running>) {
    match parts {
        None => (app, None),
        Some(parts) => {
            let (app, running) = parts.open(app, gateway);
            (app, Some(running))
        }
    }
}

impl Running {
    /// Until told to stop, and a little longer for what is on its way.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let Self { watching, telling, exporter } = self;
        let exporting = async {
            if let Some(exporter) = exporter {
                exporter.run(shutdown.clone()).await;
            }
        };
        tokio::join!(watching.run(shutdown.clone()), telling.run(shutdown.clone()), exporting);
    }
}

/// What hears of calls and executions, and what sends their spans.
pub(crate) type Tracing = (Arc<Tracer>, (Sampling, Exporter));

/// Nothing without a collector.
pub(crate) fn tracing(
    config: &Config,
    client: Client,
    instance: &str,
) -> anyhow::Result<Option<Tracing>> {
    let Some(otel) = &config.otel else { return Ok(None) };
    let settings = traced(otel, &config.providers, instance);
    let sampling = settings.sampling;
    let clock = Arc::new(SystemClock);
    let (hears, sends) =
        agentry_otel::open(settings, client, clock, super::seed()).context("set up [otel]")?;
    Ok(Some((Arc::new(hears), (sampling, sends))))
}

fn messages(client: &Client, name: &str, channel: &Channel) -> anyhow::Result<Arc<dyn Messages>> {
    Ok(match channel {
        Channel::Slack { url } => Arc::new(SlackMessages::new(client.clone(), url.clone())?),
        Channel::Webhook { url, token } => {
            Arc::new(WebhookMessages::new(client.clone(), name, url.clone(), token.clone())?)
        }
    })
}

/// Looks at everything, again and again.
struct Watching {
    gateway: Arc<Gateway>,
    shared: Option<Arc<dyn Shared>>,
    watchdog: Handle,
    notices: mpsc::Sender<Notice>,
}

impl Watching {
    async fn run(self, shutdown: CancellationToken) {
        let mut sampler = Sampler::default();
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let shared_answers = match &self.shared {
                Some(shared) => Some(answers(shared.as_ref()).await.is_ok()),
                None => None,
            };
            let overview = self.gateway.overview();
            let now = SystemClock.now();
            let readings = sampler.readings(&overview, Surroundings { shared_answers }, now);
            for notice in self.watchdog.step(&readings, now) {
                log(&notice);
                if self.notices.try_send(notice).is_err() {
                    warn!("too many alerts wait to be sent: this one is only in the log");
                }
            }
        }
    }
}

fn log(notice: &Notice) {
    let Notice { why, alert, channels } = notice;
    let (id, subject, rule) = (&*alert.id, &*alert.subject, &*alert.rule);
    let channels = channels.join(", ");
    match why {
        Why::Resolved => info!(id, rule, subject, channels, "an alert is over"),
        Why::Fired | Why::Repeated | Why::Escalated => {
            warn!(id, rule, subject, channels, why = why.as_str(), summary = %alert, "an alert");
        }
    }
}

async fn answers(shared: &dyn Shared) -> Result<(), String> {
    match timeout(SHARED_DEADLINE, shared.get(NOTHING)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer within a second".to_owned()),
    }
}

/// Sends what people are to be told, one after the other.
struct Telling {
    instance: String,
    alarms: Alarms,
    waiting: mpsc::Receiver<Notice>,
}

impl Telling {
    async fn run(mut self, shutdown: CancellationToken) {
        while let Some(Some(notice)) = shutdown.run_until_cancelled(self.waiting.recv()).await {
            let sent = shutdown.run_until_cancelled(self.tell(&notice)).await;
            if sent.is_none() {
                // Cut in the middle: once more, for a message is better twice than never.
                let _ = timeout(DRAIN, self.tell(&notice)).await;
            }
        }
        self.waiting.close();
        let rest = async {
            while let Some(notice) = self.waiting.recv().await {
                self.tell(&notice).await;
            }
        };
        let _ = timeout(DRAIN, rest).await;
    }

    async fn tell(&self, notice: &Notice) {
        let Notice { why, alert, channels } = notice;
        let body = body(*why, alert, &self.instance);
        let key = format!("{}-{}", alert.id, why.as_str());
        let known = self.alarms.channels();
        for name in channels {
            if let Some(channel) = known.get(name) {
                send(name, channel.as_ref(), (&key, &body)).await;
            }
        }
    }
}

async fn send(name: &str, channel: &dyn Messages, (key, body): (&str, &Value)) {
    let mut waits = RETRIES.iter();
    loop {
        let Err(error) = channel.post(key, body).await else { return };
        let again = waits.next().filter(|_| error.retry() != Retry::Never);
        let Some(wait) = again else {
            warn!(channel = name, key, %error, "an alert could not be sent");
            return;
        };
        sleep(*wait).await;
    }
}

/// Slack reads the text, everybody else what they like.
fn body(why: Why, alert: &Alert, instance: &str) -> Value {
    let Alert { id, rule, signal, subject, value, threshold, since, acknowledged_by } = alert;
    let sign = match why {
        Why::Fired | Why::Repeated => ":red_circle:",
        Why::Escalated => ":rotating_light:",
        Why::Resolved => ":large_green_circle:",
    };
    json!({
        "text": format!("{sign} {}: {alert} (since {since}, alert {id})", why.as_str()),
        "kind": "agentry.alert",
        "why": why.as_str(),
        "id": id,
        "rule": rule,
        "signal": signal.as_str(),
        "subject": subject,
        "summary": alert.to_string(),
        "value": value,
        "threshold": threshold,
        "since": since,
        "acknowledged_by": acknowledged_by,
        "instance": instance,
    })
}

/// The store that instances share, as `/v1/status` shows it.
struct Answers(Arc<dyn Shared>);

#[async_trait]
impl Dependency for Answers {
    fn name(&self) -> &str {
        "shared"
    }

    async fn check(&self) -> Result<String, String> {
        answers(self.0.as_ref()).await.map(|()| "answers".to_owned())
    }
}

/// The metrics, and the tracer if there is one.
pub(crate) fn heard(metrics: Arc<Metrics>, tracer: Option<Arc<dyn Observer>>) -> Arc<dyn Observer> {
    match tracer {
        None => metrics,
        Some(tracer) => Arc::new(Both(metrics, tracer)),
    }
}

struct Both(Arc<Metrics>, Arc<dyn Observer>);

impl Observer for Both {
    fn started(&self, call: &Call<'_>) {
        let Self(metrics, tracer) = self;
        metrics.started(call);
        tracer.started(call);
    }

    fn settled(&self, settled: &Settled<'_>) {
        let Self(metrics, tracer) = self;
        metrics.settled(settled);
        tracer.settled(settled);
    }

    fn screened(&self, cx: &CallContext, report: &Report) {
        let Self(metrics, tracer) = self;
        metrics.screened(cx, report);
        tracer.screened(cx, report);
    }

    fn blocked(&self, cx: &CallContext, blocked: &Blocked) {
        let Self(metrics, tracer) = self;
        metrics.blocked(cx, blocked);
        tracer.blocked(cx, blocked);
    }
}

fn traced(otel: &Otel, providers: &[Provider], instance: &str) -> agentry_otel::Settings {
    let Otel { endpoint, service, sampling, headers } = otel;
    let defaults = agentry_otel::Settings::new(endpoint.clone());
    let named = providers.iter().map(|provider| (provider.name.clone(), named(provider)));
    agentry_otel::Settings {
        headers: headers.clone(),
        service: service.clone().unwrap_or_else(|| defaults.service.clone()),
        instance: instance.to_owned(),
        sampling: *sampling,
        providers: named.collect::<HashMap<_, _>>(),
        ..defaults
    }
}

/// As OpenTelemetry's conventions call them.
fn named(provider: &Provider) -> agentry_otel::Provider {
    let (name, url) = match &provider.kind {
        Kind::OpenAi(settings) => {
            let is_theirs = settings.base_url.starts_with("https://api.openai.com/");
            let name = if is_theirs { "openai" } else { provider.name.as_str() };
            (name, settings.base_url.clone())
        }
        Kind::Azure(settings) => ("azure.ai.openai", settings.endpoint.clone()),
        Kind::Gemini(settings) => ("gcp.gemini", settings.base_url.clone()),
        Kind::Anthropic(settings) => ("anthropic", settings.base_url.clone()),
        Kind::Ollama(settings) => ("ollama", settings.base_url.clone()),
        Kind::Bedrock(settings) => {
            let usual = format!("https://bedrock-runtime.{}.amazonaws.com", settings.region);
            ("aws.bedrock", settings.base_url.clone().unwrap_or(usual))
        }
        Kind::Scripted { .. } => ("scripted", String::new()),
    };
    let url = Url::parse(&url).ok();
    let address = url.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned();
    let port = url.as_ref().and_then(Url::port_or_known_default);
    agentry_otel::Provider { name: name.to_owned(), address, port }
}

#[cfg(test)]
mod tests;
