//! One running instance: the HTTP faces, the door for alerts, the worker that advances runs.
//!
//! `serve` and `demo` differ only in the parts they hand in. Shutdown goes from the outside inwards: first no new requests,
//! then no new alerts, then no new steps.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::Clock;
use agentry_core::store::Log;
use agentry_core::threads::{ThreadStore, Threads};
use agentry_engine::Registry;
use agentry_engine::durable::{self, Worker};
use agentry_gateway::Gateway;
use agentry_gateway::money::catalogue::{Catalogue, Current};
use agentry_incident::desk::Desk;
use agentry_incident::intake::{Handling, Intake};
use agentry_incident::{correlate, handling, intake};
use agentry_server::{App, Approvals, Drained, Identity, Metrics, serve};
use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::SystemClock;
use crate::wiring::identity::Access;
use crate::wiring::policies::Background;
use crate::wiring::reload::{self, Reloading};
use crate::wiring::{batches, counting, threads, watching};
use gauges::Gauges;

mod desk;
mod gauges;
mod storage;

/// An incident that is not closed after this long, and all that people may take to decide, is given up; its alerts and its
/// ticket stay.
const INCIDENT_DEADLINE: Duration = Duration::from_secs(24 * 3_600);

/// What an instance is made of.
pub(crate) struct Parts {
    pub(crate) server: agentry_server::Settings,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) metrics: Arc<Metrics>,
    /// What models can do and cost, for those who ask which to take.
    pub(crate) catalogue: Catalogue,
    pub(crate) store: Arc<dyn ThreadStore>,
    pub(crate) archive: Arc<dyn Threads>,
    pub(crate) log: Arc<dyn Log>,
    /// Without it, everybody on this machine may do everything.
    pub(crate) identity: Option<Access>,
    /// What the gateway needs running.
    pub(crate) background: Background,
    pub(crate) batches: batches::Parts,
    pub(crate) threads: threads::Parts,
    /// What sees that all is well.
    pub(crate) watching: Option<watching::Parts>,
    /// How the configuration is read again; nothing when it is not.
    pub(crate) reload: Option<reload::Parts>,
    pub(crate) ports: handling::Ports,
    pub(crate) handling: handling::Settings,
}

/// Ready to serve: everything that can be wrong at the start has been found.
pub(crate) struct Instance {
    app: App,
    intake: Intake,
    worker: Worker,
    gauges: Gauges,
    identity: Option<Access>,
    background: Background,
    batches: batches::Running,
    threads: threads::Running,
    /// What sees that all is well, and what reads the configuration again.
    beside: (Option<watching::Running>, Option<Reloading>),
}

impl Instance {
    pub(crate) async fn assemble(parts: Parts) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let Parts {
            server,
            gateway,
            metrics,
            catalogue,
            store,
            archive,
            log,
            identity,
            background,
            batches,
            threads,
            watching,
            reload,
            ports,
            handling,
        } = parts;
        let catalogue = Current::new(catalogue);
        let audited = Arc::clone(&store);
        let deadline = INCIDENT_DEADLINE.saturating_add(handling.deciding());
        let programs = handling::programs(ports, Arc::clone(&store), handling)?;
        let stores = (Arc::clone(&store), Arc::clone(&archive));
        let worker = worker(stores, &programs, Arc::clone(&clock), &threads.instance);
        let tracer = watching.as_ref().and_then(watching::Parts::tracer);
        let observer = counting::observer(Arc::clone(&metrics), tracer);
        let worker = worker.observed(Arc::clone(&observer));
        let handle = worker.handle();
        let nudge: Arc<dyn Fn() + Send + Sync> = Arc::new(move || handle.nudge());
        let (intake, door) = Intake::open(
            intake::Ports {
                store: Arc::clone(&store),
                log: Arc::clone(&log),
                clock: Arc::clone(&clock),
                nudge: Arc::clone(&nudge),
                taken: {
                    let metrics = Arc::clone(&metrics);
                    Arc::new(move |decision, count| metrics.alerts_taken(decision, count))
                },
            },
            correlate::Settings::default(),
            Handling { programs, deadline },
        )
        .await
        .context("read back the alerts")?;
        let desk = Desk::new(door, (Arc::clone(&store), Arc::clone(&archive)), Arc::clone(&log));
        let gauges = Gauges { archive: Arc::clone(&archive), metrics: Arc::clone(&metrics) };
        let mut app = App::new(Arc::clone(&gateway), metrics, Arc::clone(&clock))
            .settings(server)
            .catalogue(catalogue.clone())
            .incidents(Arc::new(desk::Face(desk)))
            .dependency(Arc::new(storage::Storage(Arc::clone(&archive))))
            .approvals(Approvals { store: Arc::clone(&store), archive, log, clock, nudge });
        if let Some(access) = &identity {
            let places = batches.user_data().into_iter().chain([threads.user_data()]);
            app = app.identity(places.fold(access.face(store), Identity::user_data));
        }
        let keys = identity.as_ref().map(Access::keys);
        let (app, batches) = batches.open(app, Arc::clone(&gateway), keys.clone());
        let (app, threads) = threads.open(app, (Arc::clone(&gateway), keys), observer)?;
        let around = (Arc::clone(&gateway), catalogue, audited);
        let (app, reloading) =
            reload::open(app, reload, (watching.as_ref(), identity.as_ref()), around);
        let (app, watching) = watching::open(watching, app, gateway);
        let beside = (watching, reloading);
        Ok(Self { app, intake, worker, gauges, identity, background, batches, threads, beside })
    }

    /// Serves until `shutdown`, or until the store has failed for good. What was used is stored before it returns.
    pub(crate) async fn run(
        mut self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Drained> {
        let tasks = TaskTracker::new();
        let (stop, stop_background) = (shutdown.child_token(), CancellationToken::new());
        // It ends with whatever ends the instance.
        let _ending = stop_background.clone().drop_guard();
        let background = std::mem::take(&mut self.background).run(stop_background.clone());
        let mut background = tasks.spawn(background);
        let mut serving = std::pin::pin!(self.serve(listener, stop.clone()));
        tokio::select! {
            served = &mut serving => {
                stop_background.cancel();
                background.await.context("stop the bookkeeping")?;
                served
            }
            // Without it every call would be refused.
            ended = &mut background => {
                stop.cancel();
                serving.await?;
                ended.context("the bookkeeping ended")?;
                anyhow::bail!("the bookkeeping ended before it was told to");
            }
        }
    }

    async fn serve(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Drained> {
        let Self { app, intake, worker, gauges, identity, batches, threads, beside, .. } = self;
        let (watching, reloading) = beside;
        let tasks = TaskTracker::new();
        let (stop_intake, stop_worker) = (CancellationToken::new(), CancellationToken::new());
        // It ends with whatever ends the instance, and nothing waits for it.
        let _counting = stop_worker.clone().drop_guard();
        tasks.spawn(gauges.run(stop_worker.clone()));
        let following = identity.map(|access| tasks.spawn(access.follow(stop_worker.clone())));
        let watching = watching.map(|watching| tasks.spawn(watching.run(stop_worker.clone())));
        let reloading = reloading.map(|again| tasks.spawn(again.run(stop_worker.clone())));
        let stop_batches = shutdown.child_token();
        let _batching = stop_batches.clone().drop_guard();
        let batches = tasks.spawn(batches.run(stop_batches));
        let mut intake = tasks.spawn(intake.run(stop_intake.clone()));
        let working = (worker.run(stop_worker.clone()), threads.run(stop_worker.clone()));
        let mut worker = tasks.spawn(async { tokio::try_join!(working.0, working.1).map(|_| ()) });
        let stop_server = shutdown.child_token();
        let serving = serve(listener, app, stop_server.clone());
        tokio::pin!(serving);
        let drained = tokio::select! {
            drained = &mut serving => drained,
            // Without it every alert would be turned away while all else looks well.
            ended = &mut intake => {
                stop_server.cancel();
                serving.await;
                ended.context("the door for alerts ended")?;
                anyhow::bail!("the door for alerts ended before it was told to");
            }
            ended = &mut worker => {
                stop_server.cancel();
                serving.await;
                stop_intake.cancel();
                intake.await.context("stop the intake")?;
                ended.context("the worker ended")?.context("storage failed")?;
                anyhow::bail!("the worker ended before it was told to");
            }
        };
        batches.await.context("stop the batches")?;
        stop_intake.cancel();
        intake.await.context("stop the intake")?;
        stop_worker.cancel();
        worker.await.context("stop the worker")?.context("storage failed")?;
        if let Some(following) = following {
            following.await.context("stop following the keys")?;
        }
        if let Some(watching) = watching {
            watching.await.context("stop watching")?;
        }
        if let Some(reloading) = reloading {
            reloading.await.context("stop reading the configuration")?;
        }
        Ok(drained)
    }
}

/// Moves incidents on.
fn worker(
    stores: (Arc<dyn ThreadStore>, Arc<dyn Threads>),
    programs: &handling::Programs,
    clock: Arc<dyn Clock>,
    instance: &str,
) -> Worker {
    let registry = Registry::new().with(programs.incident.clone()).with(programs.update.clone());
    let (name, life) = (format!("{instance}/incidents"), threads::life(clock.now()));
    let elsewhere = durable::Elsewhere::Any;
    let settings = durable::Settings { name, life, elsewhere, ..durable::Settings::default() };
    Worker::with(stores, registry, clock, settings)
}
