//! The configuration read again: on SIGHUP, and when an operator asks for it over HTTP.
//!
//! Everything is made ready before anything is changed. What cannot be changed while it runs is named, and what is wrong
//! leaves all as it was.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use agentry_core::threads::{Intake, ThreadStore};
use agentry_core::{Clock as _, audit};
use agentry_gateway::checks::{self, Plan};
use agentry_gateway::money::catalogue::Current;
use agentry_gateway::{Gateway, Prepared, Replacement};
use agentry_identity::KeyRing;
use agentry_server::{App, Dependency, NotReloaded, Reload, Reloaded};
use async_trait::async_trait;
use serde_json::json;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::cli::Configuration;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::wiring::graphs::{Fresh, Refresh};
use crate::wiring::identity::Access;
use crate::wiring::models::Upstreams;
use crate::wiring::watching::{self, Alarms, PreparedAlarms};

/// Tables that are in force at once. All others count from the next start.
const TABLES: [&str; 12] = [
    "providers",
    "models",
    "catalogue",
    "breaker",
    "health",
    "guards",
    "keys",
    "budgets",
    "alerts",
    "channels",
    "tools",
    "graphs",
];

/// What definitions are read with.
const OF_DEFINITIONS: [&str; 4] = ["tools", "graphs", "models", "providers"];

/// What was read at the start, and how to read it again.
pub(crate) struct Parts {
    pub(crate) source: Configuration,
    pub(crate) tables: BTreeMap<String, u64>,
    /// Whether nothing stood in the file.
    pub(crate) is_blank: bool,
    /// Caught from the beginning of the start on. Nothing where SIGHUP cannot be.
    pub(crate) hangups: Option<Signal>,
    pub(crate) upstreams: Upstreams,
    pub(crate) checks: checks::Handle,
    /// Where there may be some.
    pub(crate) definitions: Option<Refresh>,
    /// Whether tokens are accepted, so that there need be no keys.
    pub(crate) has_issuers: bool,
}

/// Where the configuration counts.
struct Around {
    gateway: Arc<Gateway>,
    catalogue: Current,
    alarms: Alarms,
    keys: Arc<KeyRing>,
    /// Takes the audit log.
    store: Arc<dyn ThreadStore>,
}

/// Lets operators have it read again, where there is something to be read. The store takes the audit log.
pub(crate) fn open(
    app: App,
    parts: Option<Parts>,
    (watching, access): (Option<&watching::Parts>, Option<&Access>),
    (gateway, catalogue, store): (Arc<Gateway>, Current, Arc<dyn ThreadStore>),
) -> (App, Option<Reloading>) {
    let (Some(parts), Some(watching), Some(access)) = (parts, watching, access) else {
        return (app, None);
    };
    let (alarms, keys) = (watching.alarms(), access.keys());
    let again = Reloading::new(parts, Around { gateway, catalogue, alarms, keys, store });
    let app = app.companion(again.standing()).reload(Arc::new(again.clone()));
    (app, Some(again))
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reloading {
    inner: Arc<Inner>,
    /// Whoever asked may go away meanwhile.
    tasks: TaskTracker,
}

struct Inner {
    source: Configuration,
    checks: checks::Handle,
    definitions: Option<Refresh>,
    has_issuers: bool,
    around: Around,
    /// One reading at a time.
    now: tokio::sync::Mutex<Now>,
    standing: Mutex<Result<String, String>>,
    /// Until somebody waits for them.
    hangups: Mutex<Option<Signal>>,
}

/// What is in force.
struct Now {
    upstreams: Upstreams,
    tables: BTreeMap<String, u64>,
    is_blank: bool,
}

/// Everything that was made ready.
struct Ready {
    config: Config,
    upstreams: Upstreams,
    gateway: Prepared,
    plans: Vec<Plan>,
    alarms: PreparedAlarms,
    /// Nothing where definitions have what they had.
    fresh: Option<Fresh>,
    what: Reloaded,
}

impl Reloading {
    fn new(parts: Parts, around: Around) -> Self {
        let Parts {
            source,
            tables,
            is_blank,
            hangups,
            upstreams,
            checks,
            definitions,
            has_issuers,
        } = parts;
        let now = tokio::sync::Mutex::new(Now { upstreams, tables, is_blank });
        let standing = Mutex::new(Ok("as at the start".to_owned()));
        let hangups = Mutex::new(hangups);
        let inner =
            Inner { source, checks, definitions, has_issuers, around, now, standing, hangups };
        Self { inner: Arc::new(inner), tasks: TaskTracker::new() }
    }

    /// For `/v1/status`.
    fn standing(&self) -> Arc<dyn Dependency> {
        Arc::new(Standing(Arc::clone(&self.inner)))
    }

    /// Reads it again at each SIGHUP, until told to stop.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let caught = self.inner.hangups.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut hangups) = caught else {
            warn!("SIGHUP cannot be caught: the configuration is read again only over HTTP");
            return;
        };
        while let Some(Some(())) = shutdown.run_until_cancelled(hangups.recv()).await {
            // What came of it is in the log.
            drop(self.reload("signal:SIGHUP").await);
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[async_trait]
impl Reload for Reloading {
    async fn reload(&self, actor: &str) -> Result<Reloaded, NotReloaded> {
        let (inner, actor) = (Arc::clone(&self.inner), actor.to_owned());
        let task = self.tasks.spawn(async move { inner.reload(&actor).await });
        task.await.unwrap_or_else(|_| Err(NotReloaded::Wrong("a defect ended the reading".into())))
    }
}

impl Inner {
    async fn reload(self: Arc<Self>, actor: &str) -> Result<Reloaded, NotReloaded> {
        let mut now = self.now.lock().await;
        let read = tokio::task::spawn_blocking({
            let (this, tables) = (Arc::clone(&self), now.tables.clone());
            let was_blank = now.is_blank;
            move || {
                let config = this.source.read().map_err(anyhow::Error::from)?;
                anyhow::ensure!(
                    !config.is_blank || was_blank,
                    "the file says nothing any more: write what it is to say, and then have it read again"
                );
                let fresh = this.fresh(&config, &tables)?;
                Ok((config, fresh))
            }
        });
        let read = read.await.unwrap_or_else(|defect| Err(defect.into()));
        let ready = read.and_then(|(config, fresh)| self.prepare(config, fresh, &now));
        let ended = match ready {
            Ok(ready) => self.put_in_force(ready, actor, &mut now).await,
            Err(problem) => {
                let problem = NotReloaded::Wrong(format!("{problem:#}"));
                let written = self.write(actor, "config.reload_refused", json!({})).await;
                // What is wrong with the configuration is told even where the store fails, too.
                if let Err(store) = written {
                    error!(actor, %store, "the audit log does not have that the configuration was refused");
                }
                Err(problem)
            }
        };
        match &ended {
            Ok(Reloaded { changed, restart }) => {
                let (changed, restart) = (changed.join(", "), restart.join(", "));
                info!(actor, changed, "the configuration was read again");
                if !restart.is_empty() {
                    warn!(
                        tables = restart,
                        "these have changed, too, and count from the next start"
                    );
                }
                self.stand(Ok("read again".to_owned()));
            }
            Err(problem) => {
                error!(actor, %problem, "the configuration of before stays in force");
                self.stand(Err(problem.to_string()));
            }
        }
        ended
    }

    /// What definitions are read with, if that is to be different.
    fn fresh(
        &self,
        config: &Config,
        before: &BTreeMap<String, u64>,
    ) -> anyhow::Result<Option<Fresh>> {
        let Reloaded { changed, restart: _ } = differences(before, &config.tables);
        let theirs = changed.iter().any(|table| OF_DEFINITIONS.contains(&table.as_str()));
        let definitions = self.definitions.as_ref().filter(|_| theirs);
        definitions.map(|definitions| definitions.prepare(config)).transpose()
    }

    /// Changes nothing.
    fn prepare(&self, config: Config, fresh: Option<Fresh>, now: &Now) -> anyhow::Result<Ready> {
        let Around { gateway, alarms, keys, .. } = &self.around;
        let would_open = config.access.keys.is_empty()
            && !self.has_issuers
            && keys.stored_count() == 0
            && !keys.is_empty();
        anyhow::ensure!(
            !would_open,
            "without [[keys]] everybody on this machine could do everything: make a key with `agentry keys create` first, or start \
             anew"
        );
        let upstreams = now.upstreams.of(&config)?;
        let plans = upstreams.plans(&config)?;
        let alarms = alarms.prepare(&config)?;
        let gateway = gateway.prepare(Replacement {
            aliases: upstreams.aliases(&config)?,
            targets: config.targets,
            rules: config.budgets.clone(),
            guards: config.guards.clone(),
        })?;
        let mut what = differences(&now.tables, &config.tables);
        // A key at a vendor may come from a file.
        if !upstreams.is_same(&now.upstreams) && !what.changed.iter().any(|one| one == "providers")
        {
            what.changed.push("providers".to_owned());
        }
        Ok(Ready { config, upstreams, gateway, plans, alarms, fresh, what })
    }

    /// The audit log first: what is not in it is not done.
    async fn put_in_force(
        &self,
        ready: Ready,
        actor: &str,
        now: &mut Now,
    ) -> Result<Reloaded, NotReloaded> {
        let Ready { config, upstreams, gateway: prepared, plans, alarms: ringing, fresh, what } =
            ready;
        let Reloaded { changed, restart } = &what;
        let detail = json!({ "changed": changed, "restart": restart });
        self.write(actor, "config.reloaded", detail).await?;
        let Around { gateway, catalogue, alarms, keys, store: _ } = &self.around;
        // Keys that are gone do not wait for a shared cache, nor do those that stay go by what was before.
        tokio::join!(gateway.replace(prepared), keys.configure(config.access.keys));
        self.checks.replace(gateway, plans);
        alarms.replace(ringing);
        if let (Some(definitions), Some(fresh)) = (&self.definitions, fresh) {
            definitions.put_in_force(fresh);
        }
        catalogue.set(config.catalogue);
        // What counts from the next start is still other than what is in force.
        let kept = now.tables.iter().filter(|(name, _)| !TABLES.contains(&name.as_str()));
        let taken = config.tables.into_iter().filter(|(name, _)| TABLES.contains(&name.as_str()));
        let tables = kept.map(|(name, said)| (name.clone(), *said)).chain(taken).collect();
        *now = Now { upstreams, tables, is_blank: config.is_blank };
        Ok(what)
    }

    async fn write(
        &self,
        actor: &str,
        action: &str,
        detail: serde_json::Value,
    ) -> Result<(), NotReloaded> {
        let (actor, action, subject) = (actor.to_owned(), action.to_owned(), "config".to_owned());
        let entry = audit::Entry { at: SystemClock.now(), actor, action, subject, detail };
        let intake = Intake { audit: vec![entry], ..Intake::default() };
        Ok(self.around.store.intake(intake).await?)
    }

    fn stand(&self, now: Result<String, String>) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

/// Which tables are other than before.
fn differences(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Reloaded {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let other = names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned();
    let (changed, restart) = other.partition(|name| TABLES.contains(&name.as_str()));
    Reloaded { changed, restart }
}

/// What became of the last reading.
struct Standing(Arc<Inner>);

#[async_trait]
impl Dependency for Standing {
    fn name(&self) -> &str {
        "configuration"
    }

    async fn check(&self) -> Result<String, String> {
        self.0.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
