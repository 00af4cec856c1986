//! What holds for calls, and what keeps it going in the background.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_backends::redis::{self, RedisShared};
use agentry_core::ledger::{Holder, Ledger};
use agentry_core::shared::Shared;
use agentry_gateway::cache::{Cache, FarSettings, Levels, Upkeep};
use agentry_gateway::limit::{Exchange, ExchangeSettings, Limits};
use agentry_gateway::money::{self, Bookkeeper, Event, Watcher};
use agentry_gateway::{Books, Caching, Gateway, Policies, checks};
use agentry_server::Metrics;
use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::clock::SystemClock;
use crate::config::{self, Config};
use crate::wiring::pressure::Pressed;

/// What must run for as long as calls are made. It belongs to the instance.
#[derive(Default)]
pub(crate) struct Background {
    books: Option<Bookkeeper>,
    exchange: Option<Exchange>,
    upkeep: Option<Upkeep>,
    link: Option<redis::Keeper>,
    relief: Option<Pressed>,
    checks: Option<checks::Service>,
    limits: Option<Arc<Limits>>,
    /// Calls that several callers share.
    tasks: TaskTracker,
}

impl Background {
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// With a watch on the memory, if it is bounded.
    pub(crate) fn relieving(self, bytes_max: Option<usize>, gateway: &Arc<Gateway>) -> Self {
        let relief = bytes_max.map(|bytes_max| Pressed::new(bytes_max, Arc::clone(gateway)));
        Self { relief, ..self }
    }

    /// With a look at targets while nobody calls them.
    pub(crate) fn looking(self, checks: checks::Service) -> Self {
        Self { checks: Some(checks), ..self }
    }

    /// Until told to stop, and then until all usage is stored.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let Self { books, exchange, upkeep, link, relief, checks, limits, tasks } = self;
        let stop_link = CancellationToken::new();
        let users = async {
            tokio::join!(
                shutdown.cancelled(),
                async {
                    if let Some(books) = books {
                        books.run(shutdown.clone()).await;
                    }
                },
                async {
                    if let Some(exchange) = exchange {
                        exchange.run(shutdown.clone()).await;
                    }
                },
                async {
                    if let Some(upkeep) = upkeep {
                        upkeep.run(shutdown.clone()).await;
                    }
                },
                async {
                    if let Some(relief) = relief {
                        relief.run(shutdown.clone()).await;
                    }
                },
                async {
                    if let Some(limits) = limits {
                        tidy(&limits, &shutdown).await;
                    }
                },
                async {
                    if let Some(checks) = checks {
                        checks.run(shutdown.clone()).await;
                    }
                },
            );
            stop_link.cancel();
            tasks.close();
            tasks.wait().await;
        };
        let link = async {
            if let Some(link) = link {
                link.run(stop_link.clone()).await;
            }
        };
        tokio::join!(users, link);
    }
}

/// What an instance is called by others, and what it has in common with them.
pub(crate) struct Company {
    /// The same after a restart.
    pub(crate) instance: String,
    /// Another one after each restart.
    life: String,
    pub(crate) shared: Option<Arc<dyn Shared>>,
    link: Option<redis::Keeper>,
}

impl Company {
    pub(crate) fn open(config: &Config, instance: String) -> anyhow::Result<Self> {
        let life = super::random_id();
        let (shared, link) = match &config.shared {
            config::Shared::Memory => (None, None),
            config::Shared::Redis { url, prefix } => {
                let mut settings = redis::Settings::default();
                if let Some(prefix) = prefix {
                    settings.prefix.clone_from(prefix);
                }
                let (shared, link) = RedisShared::open(url.expose_secret(), settings)?;
                (Some(Arc::new(shared) as Arc<dyn Shared>), Some(link))
            }
        };
        Ok(Self { instance, life, shared, link })
    }
}

/// How often limits are told to others.
const EXCHANGE_EVERY: Duration = Duration::from_millis(100);

/// Opens everything that `config` asks for. Accounts are kept in `ledger`.
pub(crate) async fn open(
    config: &Config,
    ledger: Arc<dyn Ledger>,
    company: Company,
    metrics: Arc<Metrics>,
) -> anyhow::Result<(Policies, Background)> {
    let Company { instance, life, shared, link } = company;
    let holder = Holder { instance: instance.as_str().into(), life: life.as_str().into() };
    let settings = money::Settings::new(holder);
    let (budgets, usage, books) =
        money::open(ledger, Arc::new(SystemClock), Arc::new(Told(metrics)), settings)
            .await
            .context("open the accounts")?;
    let now = now();
    let (limits, exchange) = match &shared {
        None => (Limits::local(now), None),
        Some(store) => {
            let store = Arc::clone(store);
            // Counts of a former life are those of another instance.
            let instance = format!("{instance}-{life}");
            let settings = ExchangeSettings { store, instance, every: EXCHANGE_EVERY };
            let (limits, exchange) = Limits::shared(now, settings);
            (limits, Some(exchange))
        }
    };
    let limits = Arc::new(limits);
    let (cache, upkeep) = match config.cache {
        None => (None, None),
        Some(settings) => {
            let (levels, upkeep) = levels(Arc::new(Cache::new(settings, now)), shared);
            (Some(Caching::new(Arc::new(levels))), upkeep)
        }
    };
    let policies = Policies {
        limits: Some(Arc::clone(&limits)),
        books: Some(Books { budgets, usage, rules: config.budgets.clone() }),
        guards: config.guards.clone(),
        cache,
    };
    Ok((
        policies,
        Background {
            books: Some(books),
            exchange,
            upkeep,
            link,
            relief: None,
            checks: None,
            limits: Some(limits),
            tasks: TaskTracker::new(),
        },
    ))
}

/// How often limits of keys are looked through that are of no use any more.
const TIDY_EVERY: Duration = Duration::from_secs(60);

async fn tidy(limits: &Limits, shutdown: &CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(TIDY_EVERY)).await.is_some() {
        limits.forget_idle(now());
    }
}

fn levels(local: Arc<Cache>, shared: Option<Arc<dyn Shared>>) -> (Levels, Option<Upkeep>) {
    match shared {
        None => (Levels::local(local), None),
        Some(shared) => {
            let (levels, upkeep) = Levels::shared(local, shared, FarSettings::default());
            (levels, Some(upkeep))
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Tells people of budgets, in the log and in numbers.
struct Told(Arc<Metrics>);

impl Watcher for Told {
    fn happened(&self, event: &Event<'_>) {
        self.0.happened(event);
        match *event {
            Event::Warned { account, per, cap, used } => {
                let per = per.as_str();
                warn!(account, per, %cap, %used, "a budget is nearly used up");
            }
            Event::Exceeded { account, per, cap } => {
                let per = per.as_str();
                debug!(account, per, %cap, "a budget did not admit a call");
            }
            Event::Overshot { account, per, by } => {
                let per = per.as_str();
                warn!(account, per, %by, "a call has cost more than was held for it");
            }
            Event::Lapsed => info!("slices of budgets were taken back and are asked for anew"),
            Event::Behind { waiting } => warn!(waiting, "usage cannot be stored at the moment"),
            Event::Lost { records } => error!(records, "usage could not be stored before the end"),
        }
    }
}
