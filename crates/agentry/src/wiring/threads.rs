//! Threads, their runs and what goes with them: the worker that moves them on, and the faces through which they are used.

use std::sync::Arc;

use agentry_core::assistants::Assistants;
use agentry_core::crons::Crons;
use agentry_core::items::Items;
use agentry_core::keys::UserData;
use agentry_core::threads::{Error, ThreadStore, Threads};
use agentry_core::{Caller, Clock, Timestamp};
use agentry_engine::durable::{Elsewhere, Handle, Retention, Settings, Worker};
use agentry_engine::observe::Observer;
use agentry_gateway::Gateway;
use agentry_graphs::{Graphs, Ports as Given};
use agentry_identity::KeyRing;
use agentry_incident::handling;
use agentry_server::engine::Engine;
use agentry_server::{App, Callers, Threading};
use anyhow::Context as _;
use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::SystemClock;
use crate::threads::{self, Hooks, NAME, OnBehalf, Speaking, chat, telling};
use crate::versions::{self, Programs};
use crate::wiring::graphs::{Owners, Project, Reload};

mod retaining;

/// Where all of it is kept.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) threads: Arc<dyn ThreadStore>,
    pub(crate) archive: Arc<dyn Threads>,
    pub(crate) assistants: Arc<dyn Assistants>,
    pub(crate) items: Arc<dyn Items>,
    pub(crate) crons: Arc<dyn Crons>,
    /// Changes when another instance has made something ready.
    pub(crate) stirrings: Option<watch::Receiver<u64>>,
}

impl Stores {
    pub(crate) fn of<S>(store: &Arc<S>) -> Self
    where
        S: ThreadStore + Threads + Assistants + Items + Crons + 'static,
    {
        Self {
            threads: Arc::clone(store) as Arc<_>,
            archive: Arc::clone(store) as Arc<_>,
            assistants: Arc::clone(store) as Arc<_>,
            items: Arc::clone(store) as Arc<_>,
            crons: Arc::clone(store) as Arc<_>,
            stirrings: None,
        }
    }
}

/// What they are made of.
pub(crate) struct Parts {
    pub(crate) stores: Stores,
    /// Beside the one that is always there.
    pub(crate) project: Option<Project>,
    /// How it is told to others that runs are over.
    pub(crate) hooks: Hooks,
    pub(crate) retention: Retention,
    /// Names this instance, also after a restart.
    pub(crate) instance: String,
}

/// What must run for them.
pub(crate) struct Running {
    worker: Worker,
    /// Tells those who want to know that runs are over.
    telling: Worker,
    handle: Handle,
    items: Arc<dyn Items>,
    retention: Retention,
    stirrings: Option<watch::Receiver<u64>>,
    /// Where graphs are data.
    reload: Option<Reload>,
}

/// For whom runs are that nobody in particular wanted.
const GRAPHS: &str = "graphs";

impl Parts {
    /// Opens the faces; `keys` says what those who began a run may do now.
    pub(crate) fn open(
        self,
        app: App,
        (gateway, keys): (Arc<Gateway>, Option<Arc<KeyRing>>),
        observer: Arc<dyn Observer>,
    ) -> anyhow::Result<(App, Running)> {
        let Self { stores, project, hooks, retention, instance } = self;
        let Stores { threads, archive, assistants, items, crons, stirrings } = stores;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let callers = Arc::new(Callers::new(keys, Arc::clone(&clock)));
        let model = OnBehalf {
            model: Arc::clone(&gateway) as Arc<_>,
            archive: Arc::clone(&archive),
            callers: Arc::clone(&callers),
        };
        let mut programs = Programs { older: Vec::new(), current: Vec::new() };
        let (mut graphs, mut reloaded) = (Graphs::default(), None);
        if let Some(project) = project {
            let owners = Arc::new(Owners(Arc::clone(&archive)));
            let caller = Caller::named(GRAPHS);
            let Project { source, definitions, outside, refreshed } = project;
            let agents = definitions.agents.clone();
            let ports = Given { agents, ..outside.ports(Arc::new(model), caller, Some(owners)) };
            programs = versions::programs(&definitions, &Arc::new(ports.clone()))?;
            reloaded = Some((source, ports, refreshed));
            graphs = definitions.graphs;
        }
        // A graph of this name takes its place.
        if graphs.get(NAME).is_none() {
            let speaking = Speaking { model: gateway, archive: Arc::clone(&archive), callers };
            programs.current.insert(0, chat(speaking).context("make the agent")?);
        }
        let life = life(clock.now());
        let named = |name: String| Settings { name, life: life.clone(), ..Settings::default() };
        let beside = named(format!("{instance}/webhooks"));
        let others = handling::GRAPHS.into_iter().chain([telling::GRAPH]);
        let elsewhere = Elsewhere::These(others.map(str::to_owned).collect());
        let settings = Settings { elsewhere, ..named(instance) };
        let stores = (threads, Arc::clone(&archive));
        let heard = Arc::clone(&observer);
        let at = (Arc::clone(&clock), settings);
        let (worker, durable) = threads::open(stores.clone(), (programs, graphs), at, heard);
        let handle = worker.handle();
        let reload = reloaded.map(|(source, ports, refreshed)| {
            let known = (handle.registry().clone(), durable.known());
            Reload::new((source, ports), known, refreshed)
        });
        let app = match &reload {
            Some(reload) => app.companion(Arc::new(reload.standing())),
            None => app,
        };
        let engine: Arc<dyn Engine> = Arc::new(durable);
        let told = (Arc::clone(&engine), hooks);
        let (telling, promises) = telling::open(stores, told, (clock, beside), observer)
            .context("make the graph that tells of ends")?;
        let threading = Threading {
            engine,
            archive,
            assistants,
            items: Arc::clone(&items),
            crons,
            webhooks: Some(Arc::new(promises)),
        };
        let running = Running { worker, telling, handle, items, retention, stirrings, reload };
        Ok((app.threading(threading), running))
    }
}

impl Parts {
    /// The crons of people.
    pub(crate) fn user_data(&self) -> Arc<dyn UserData> {
        Arc::new(OfUsers(Arc::clone(&self.stores.crons)))
    }
}

struct OfUsers(Arc<dyn Crons>);

#[async_trait]
impl UserData for OfUsers {
    fn name(&self) -> &str {
        "crons"
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        self.0.forget_user(tenant, user).await
    }
}

/// Tells the workers of this process from those of the ones before it.
pub(crate) fn life(now: Timestamp) -> String {
    format!("{:x}.{}", now.as_micros(), std::process::id())
}

impl Running {
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { worker, telling, handle, items, retention, stirrings, reload } = self;
        let retaining = retaining::run(&handle, items.as_ref(), retention, &shutdown);
        let listening = listen(stirrings, &handle, &shutdown);
        let working = async {
            let workers = (worker.run(shutdown.clone()), telling.run(shutdown.clone()));
            tokio::try_join!(workers.0, workers.1).map(|_| ())
        };
        let reloading = async {
            if let Some(reload) = reload {
                reload.run(shutdown.clone()).await;
            }
        };
        let (worked, (), (), ()) = tokio::join!(working, retaining, listening, reloading);
        worked
    }
}

/// Lets the worker look as soon as another instance has something for it.
async fn listen(
    stirrings: Option<watch::Receiver<u64>>,
    handle: &Handle,
    shutdown: &CancellationToken,
) {
    let Some(mut stirrings) = stirrings else { return };
    while let Some(Ok(())) = shutdown.run_until_cancelled(stirrings.changed()).await {
        handle.nudge();
    }
}
