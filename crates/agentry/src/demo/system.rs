//! The shop, and the agent that watches it, as one thing to start and stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentry_backends::file_sink::{FileMessages, FileTickets};
use agentry_gateway::Policies;
use agentry_incident::handling;
use agentry_server::Metrics;
use agentry_shop::{Shop, ShopConfig};
use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Consent;
use super::actuator::Deployer;
use crate::agent::Agent;
use crate::config::Config;
use crate::instance::{Instance, Parts};
use crate::wiring::policies::Background;
use crate::wiring::storage::Stores;
use crate::wiring::{self, incident, watching};

const PAGE_VIEWS_PER_SECOND: f64 = 35.0;
/// Alerts are collected and telemetry gathers for this long before the agent looks.
const SETTLE: Duration = Duration::from_secs(8);

pub(super) struct Plan {
    pub(super) folder: PathBuf,
    pub(super) seed: u64,
    pub(super) consent: Consent,
    /// Whether a configured model may take part.
    pub(super) llm: bool,
}

pub(super) struct System {
    pub(super) shop: Arc<Shop>,
    pub(super) agent: Agent,
    pub(super) address: String,
    serving: JoinHandle<anyhow::Result<agentry_server::Drained>>,
    shutdown: CancellationToken,
}

impl System {
    pub(super) async fn start(plan: Plan, config: &Config) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.context("open a port on loopback")?;
        let address = format!("http://{}", listener.local_addr().context("learn the port")?);
        let deployer = Deployer::default();
        let parts = parts(&plan, config, deployer.clone())?;
        let instance = Instance::assemble(parts).await?;
        let shutdown = CancellationToken::new();
        let serving = TaskTracker::new().spawn(instance.run(listener, shutdown.clone()));
        let shop = Shop::start(ShopConfig {
            program: std::env::current_exe().context("find this program")?,
            args_prefix: vec![super::PROCESS.to_owned()],
            folder: plan.folder,
            seed: plan.seed,
            load_rps: PAGE_VIEWS_PER_SECOND,
            alerts_to: Some(format!("{address}/v1/alerts/alertmanager")),
        })
        .await
        .context("start the shop")?;
        let shop = Arc::new(shop);
        // Just made: nobody else can have set it.
        let _ = deployer.shop.set(Arc::clone(&shop));
        Ok(Self { shop, agent: Agent::at(address.clone()), address, serving, shutdown })
    }

    /// The agent first, so that it lets go of the shop; then the shop, process by process.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let Self { shop, agent: _, address: _, serving, shutdown } = self;
        shutdown.cancel();
        serving.await.context("stop the agent")??;
        // Whoever still holds the shop ends it by letting go.
        if let Some(shop) = Arc::into_inner(shop) {
            shop.stop().await;
        }
        Ok(())
    }
}

fn parts(plan: &Plan, config: &Config, deployer: Deployer) -> anyhow::Result<Parts> {
    let folder = |name: &str| plan.folder.join(name);
    for kind in ["metrics", "logs", "traces", "changes"] {
        std::fs::create_dir_all(folder(kind))
            .with_context(|| format!("create {}", folder(kind).display()))?;
    }
    let Stores { runs, archive, log, requests, batches, threads, instance, .. } =
        Stores::file(&folder("agentry.db"))?;
    let threads = wiring::threads::Parts {
        stores: threads,
        project: None,
        hooks: config.server.hooks(),
        retention: config.retention,
        instance: instance.clone(),
    };
    let batches =
        wiring::batches::Parts { requests, batches, settings: config.batches.clone(), instance };
    let metrics = Arc::new(Metrics::new());
    let background = Background::default();
    let heard = watching::heard(Arc::clone(&metrics), None);
    let gateway = wiring::gateway(config, heard, Policies::default(), background.tasks())?;
    let gateway = Arc::new(gateway);
    let alias = config
        .incident
        .model
        .clone()
        .or_else(|| config.models.first().map(|model| model.name.clone()));
    let deliberation =
        alias.filter(|_| plan.llm).map(|alias| incident::deliberation(&alias, &gateway));
    Ok(Parts {
        server: agentry_server::Settings::default(),
        gateway,
        metrics,
        catalogue: config.catalogue.clone(),
        log,
        store: runs,
        archive,
        identity: None,
        background,
        batches,
        threads,
        watching: None,
        reload: None,
        ports: handling::Ports {
            telemetry: Arc::new(incident::telemetry_of_folder(&plan.folder)?),
            tickets: Arc::new(FileTickets::new(folder("tickets"))),
            messages: Arc::new(FileMessages::new(folder("messages"))),
            actuator: Arc::new(deployer),
            deliberation,
        },
        handling: handling::Settings {
            settle: SETTLE,
            lookback: Duration::from_secs(600),
            approval_timeout: match plan.consent {
                Consent::Ask => Duration::from_secs(60),
                Consent::Given => Duration::from_secs(15),
                Consent::Absent => Duration::from_secs(3),
            },
            verify: Duration::from_secs(25),
            actions: vec!["restart".to_owned(), "rollback".to_owned()],
            ..handling::Settings::default()
        },
    })
}
