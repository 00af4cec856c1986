//! The parent's side: starts the processes, deploys to them, breaks one, mends it, and leaves none behind.

mod changes;
mod instance;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::deployment::{self, Deployment, Launch, Settings};
use crate::monitor::{self, Monitor};
use crate::process::Command;
use crate::random::Random;
use crate::{Error, Fault, Service, clock};

use changes::{Changes, Event};
use instance::Instance;

/// How long a process that was told to stop may take before it is killed.
const RETIRE_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct ShopConfig {
    /// What is executed for each process, usually this very program.
    pub program: PathBuf,
    /// What leads `program` to [`crate::process::run`]; the launch file's path comes after it.
    pub args_prefix: Vec<String>,
    /// Where configurations and telemetry go.
    pub folder: PathBuf,
    pub seed: u64,
    /// Page views per second, all pages together.
    pub load_rps: f64,
    /// Where alerts are sent, as Alertmanager webhooks; nowhere when absent.
    pub alerts_to: Option<String>,
}

/// What one process does just now.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceStatus {
    pub service: Service,
    pub name: &'static str,
    pub pid: u32,
    pub addr: SocketAddr,
    pub alive: bool,
    pub version: String,
    pub requests_per_second: f64,
    pub error_percent: f64,
    pub p95_ms: f64,
    pub cpu_percent: f64,
    pub memory_bytes: f64,
}

/// The running shop. Dropping it kills and reaps every process.
pub struct Shop {
    config: ShopConfig,
    slots: BTreeMap<Service, Mutex<Slot>>,
    changes: Changes,
    random: Mutex<Random>,
    monitor: Monitor,
}

struct Slot {
    instance: Instance,
    launch: Launch,
    deployed: Deployment,
    /// What was deployed before, the latest last.
    earlier: Vec<Deployment>,
}

impl Shop {
    /// Starts every process, callees first, and the monitor.
    pub async fn start(config: ShopConfig) -> Result<Self, Error> {
        for kind in ["config", "launch", "stderr"] {
            let folder = config.folder.join(kind);
            std::fs::create_dir_all(&folder)
                .map_err(|source| Error::file("create", &folder, source))?;
        }
        let changes = Changes::open(&config.folder)?;
        let mut random = Random::new(config.seed);
        let mut slots = BTreeMap::new();
        let mut addresses = BTreeMap::new();
        for service in Service::ALL {
            let slot = start_service(&config, service, &addresses, &mut random).await?;
            addresses.insert(service, slot.launch.listen);
            slots.insert(service, Mutex::new(slot));
        }
        let monitor = Monitor::start(monitor::Config {
            folder: config.folder.join("metrics"),
            targets: addresses.into_iter().collect(),
            alerts_to: config.alerts_to.clone(),
        })?;
        Ok(Self { config, slots, changes, random: Mutex::new(random), monitor })
    }

    #[must_use]
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// In the order in which a page view travels.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceStatus> {
        let vitals = self.monitor.vitals();
        let status = |(service, slot): (&Service, &Mutex<Slot>)| {
            let mut slot = lock(slot);
            let vitals = vitals.get(service).copied().unwrap_or_default();
            ServiceStatus {
                service: *service,
                name: service.name(),
                pid: slot.instance.pid(),
                addr: slot.launch.listen,
                alive: slot.instance.is_alive(),
                version: slot.deployed.version.clone(),
                requests_per_second: vitals.requests_per_second,
                error_percent: vitals.error_percent,
                p95_ms: vitals.p95_ms,
                cpu_percent: vitals.cpu_percent,
                memory_bytes: vitals.memory_bytes,
            }
        };
        self.slots.iter().map(status).collect()
    }

    /// Lets the shop run for `span`, with one or two harmless changes at moments of the seed's choice, none of them to
    /// `spare`.
    pub async fn baseline(&self, span: Duration, spare: Service) -> Result<(), Error> {
        let plan = self.plan(span, spare);
        let begun = tokio::time::Instant::now();
        for Quiet { after, service, with_restart } in plan {
            tokio::time::sleep_until(begun + after).await;
            self.change(service, with_restart).await?;
        }
        tokio::time::sleep_until(begun + span).await;
        Ok(())
    }

    fn plan(&self, span: Duration, spare: Service) -> Vec<Quiet> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let others: Vec<Service> =
            Service::VICTIMS.into_iter().filter(|service| *service != spare).collect();
        let count = 1 + random.below(2);
        let mut plan: Vec<Quiet> = (0..count)
            .filter_map(|_| {
                let service = *random.pick(&others)?;
                let after = span.mul_f64(random.between(0.3, 0.95));
                Some(Quiet { after, service, with_restart: random.chance(0.5) })
            })
            .collect();
        plan.sort_by_key(|quiet| quiet.after);
        plan
    }

    async fn change(&self, service: Service, with_restart: bool) -> Result<(), Error> {
        let slot = self.slot(service)?;
        let mut next = lock(slot).deployed.clone();
        let summary = next.settings.tuned();
        if with_restart {
            next.version = bumped(&next.version);
            self.deploy(service, next, "deploy", summary).await
        } else {
            self.record(service, &mut next, "config", summary)?;
            self.tell(service, &Command::Reload)
        }
    }

    /// Breaks `service`, for real. [`Fault::None`] ends whatever was injected, except a bad deployment: that takes a
    /// [`Shop::rollback`].
    pub async fn inject(&self, fault: Fault, service: Service) -> Result<(), Error> {
        if service == Service::Shopper && fault != Fault::None {
            return Err(Error::NotAVictim { service });
        }
        match fault {
            Fault::BadDeploy => {
                let mut next = lock(self.slot(service)?).deployed.clone();
                let summary = next.settings.broken().to_owned();
                next.version = bumped(&next.version);
                self.deploy(service, next, "deploy", summary).await
            }
            Fault::Cpu | Fault::Latency | Fault::Leak | Fault::Hang | Fault::None => {
                self.tell(service, &Command::Fault { fault })
            }
        }
    }

    /// Replaces the process by a new one of the same version and configuration.
    pub async fn restart(&self, service: Service) -> Result<(), Error> {
        let deployed = lock(self.slot(service)?).deployed.clone();
        self.changes.append(Event {
            service,
            kind: "restart",
            summary: format!("{service} {} restarted", deployed.version),
            revision: &deployed.revision,
            previous: &deployed.revision,
        })?;
        self.roll(service).await
    }

    /// Goes back to the deployment before the present one.
    pub async fn rollback(&self, service: Service) -> Result<(), Error> {
        {
            let mut slot = lock(self.slot(service)?);
            let previous = slot.earlier.pop().ok_or(Error::NothingToRollBack { service })?;
            let undone = std::mem::replace(&mut slot.deployed, previous);
            deployment::write(&slot.launch.deployment_path(), &slot.deployed)?;
            self.changes.append(Event {
                service,
                kind: "rollback",
                summary: format!(
                    "{service} back from {} to {}",
                    undone.version, slot.deployed.version
                ),
                revision: &slot.deployed.revision,
                previous: &undone.revision,
            })?;
        }
        self.roll(service).await
    }

    /// Stops every process in order, kills those that do not obey, and waits for all of them.
    pub async fn stop(self) {
        let Self { config: _, slots, changes: _, random: _, monitor } = self;
        monitor.stop().await;
        // The load ends first, so that no request meets a service that is leaving.
        let (load, called): (Vec<_>, Vec<_>) =
            slots.into_iter().partition(|(service, _)| *service == Service::Shopper);
        for batch in [load, called] {
            let mut leaving: Vec<Instance> = batch
                .into_iter()
                .map(|(_, slot)| slot.into_inner().unwrap_or_else(PoisonError::into_inner).instance)
                .collect();
            for instance in &mut leaving {
                instance.tell(&Command::Stop);
            }
            for instance in leaving {
                instance.retire(RETIRE_WITHIN).await;
            }
        }
    }

    async fn deploy(
        &self,
        service: Service,
        mut next: Deployment,
        kind: &'static str,
        summary: String,
    ) -> Result<(), Error> {
        let summary = format!("{service} {}: {summary}", next.version);
        self.record(service, &mut next, kind, summary)?;
        self.roll(service).await
    }

    /// Gives `next` its revision, makes it what is deployed, and writes it down.
    fn record(
        &self,
        service: Service,
        next: &mut Deployment,
        kind: &'static str,
        summary: String,
    ) -> Result<(), Error> {
        next.revision = revision(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner));
        let mut slot = lock(self.slot(service)?);
        deployment::write(&slot.launch.deployment_path(), next)?;
        let previous = std::mem::replace(&mut slot.deployed, next.clone());
        self.changes.append(Event {
            service,
            kind,
            summary,
            revision: &next.revision,
            previous: &previous.revision,
        })?;
        slot.earlier.push(previous);
        Ok(())
    }

    /// The new process takes over before the old one stops.
    async fn roll(&self, service: Service) -> Result<(), Error> {
        let slot = self.slot(service)?;
        let launch = lock(slot).launch.clone();
        let (fresh, _ready) = Instance::start(&self.config, &launch).await?;
        let mut old = std::mem::replace(&mut lock(slot).instance, fresh);
        old.tell(&Command::Stop);
        old.retire(RETIRE_WITHIN).await;
        Ok(())
    }

    fn tell(&self, service: Service, command: &Command) -> Result<(), Error> {
        if lock(self.slot(service)?).instance.tell(command) {
            Ok(())
        } else {
            Err(Error::Gone { service })
        }
    }

    fn slot(&self, service: Service) -> Result<&Mutex<Slot>, Error> {
        self.slots.get(&service).ok_or(Error::Gone { service })
    }
}

struct Quiet {
    after: Duration,
    service: Service,
    with_restart: bool,
}

async fn start_service(
    config: &ShopConfig,
    service: Service,
    addresses: &BTreeMap<Service, SocketAddr>,
    random: &mut Random,
) -> Result<Slot, Error> {
    let peers =
        service.calls().iter().filter_map(|peer| Some((*peer, *addresses.get(peer)?))).collect();
    let mut launch = Launch {
        service,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        peers,
        folder: config.folder.clone(),
        seed: config.seed,
        load_rps: config.load_rps,
    };
    let deployed = Deployment {
        version: format!("{}.{}.{}", 1 + random.below(3), random.below(30), random.below(10)),
        revision: revision(random),
        settings: Settings::healthy(service, &config.folder)?,
    };
    deployment::write(&launch.deployment_path(), &deployed)?;
    let (instance, ready) = Instance::start(config, &launch).await?;
    launch.listen = ready.listening;
    Ok(Slot { instance, launch, deployed, earlier: Vec::new() })
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn revision(random: &mut Random) -> String {
    format!("{:010x}", random.next() >> 24)
}

fn bumped(version: &str) -> String {
    let (rest, patch) = version.rsplit_once('.').unwrap_or((version, "0"));
    format!("{rest}.{}", patch.parse::<u64>().unwrap_or(0) + 1)
}
