//! Everything that can happen to processes that share a PostgreSQL: they are killed, or stopped past their lease and let go
//! again; their connections are cut, held up or refused; the server ends them, or is restarted as after a power cut.

use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

mod cluster;
mod proxy;

pub use cluster::Cluster;
pub use proxy::Proxy;

/// How many processes there are at a time.
const WORKERS: usize = 2;
/// How much longer than its lease what a dead worker held may be nobody's.
const NEVER: Duration = Duration::from_secs(10);

/// How a worker of that name, with that address of the server, is started. It calls its claims by its name, `-` and the
/// number of its process, whatever follows.
pub type Hire = Box<dyn Fn(&str, &str) -> Command + Send>;

pub struct Nemesis {
    pub cluster: Cluster,
    proxies: Vec<Proxy>,
    workers: Vec<Victim>,
    hire: Hire,
    random: Random,
    lease: Duration,
    /// How long what a killed worker held was nobody's.
    pub recovery: Vec<Duration>,
    /// How often each of its tricks was played.
    pub done: BTreeMap<&'static str, u32>,
}

impl Nemesis {
    pub async fn new(cluster: Cluster, lease: Duration, seed: u64, hire: Hire) -> Self {
        let mut proxies = Vec::new();
        for _ in 0..WORKERS {
            proxies.push(Proxy::start(cluster.port).await);
        }
        let mut nemesis = Self {
            cluster,
            proxies,
            workers: Vec::new(),
            hire,
            random: Random::new(seed),
            lease,
            recovery: Vec::new(),
            done: BTreeMap::new(),
        };
        for number in 0..WORKERS {
            let worker = nemesis.start(number);
            nemesis.workers.push(worker);
        }
        nemesis
    }

    fn start(&self, number: usize) -> Victim {
        let (name, url) = (format!("w{number}"), self.cluster.url(self.proxies[number].port));
        let child = (self.hire)(&name, &url).spawn().unwrap();
        Victim { name: format!("{name}-{}", child.id()), child }
    }

    pub async fn torment(&mut self, lasts: Duration) {
        let started = Instant::now();
        while started.elapsed() < lasts {
            let trick = self.trick().await;
            *self.done.entry(trick).or_default() += 1;
            let pause = 100 + self.random.below(500);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn trick(&mut self) -> &'static str {
        let victim = usize::try_from(self.random.below(WORKERS as u64)).unwrap();
        match self.random.below(8) {
            0 | 1 => {
                self.kill(victim).await;
                "kill"
            }
            2 => {
                self.workers[victim].signal("STOP");
                tokio::time::sleep(self.lease + Duration::from_millis(700)).await;
                self.workers[victim].signal("CONT");
                "stop past the lease"
            }
            3 => {
                self.proxies[victim].cut();
                "cut"
            }
            4 => {
                let lasts = Duration::from_millis(self.random.below(400));
                self.proxies[victim].hold(lasts).await;
                "hold up"
            }
            5 => {
                self.proxies[victim].refuse(Duration::from_millis(300)).await;
                "refuse"
            }
            6 => {
                let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                           WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
                self.cluster.ask(all).await;
                "terminate"
            }
            _ => {
                self.cluster.restart().await;
                "restart"
            }
        }
    }

    /// And sees how long it takes the other one to take over.
    async fn kill(&mut self, victim: usize) {
        let name = self.workers[victim].name.clone();
        self.workers[victim].kill();
        let killed = Instant::now();
        let held = format!("SELECT count(*) FROM agentry.threads WHERE worker LIKE '{name}%'");
        loop {
            let held = self.cluster.ask(&held).await;
            if held == "0" {
                break;
            }
            let late = killed.elapsed() > self.lease + NEVER;
            assert!(!late, "{held} threads of {name} were not taken over");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.recovery.push(killed.elapsed());
        self.workers[victim] = self.start(victim);
    }

    /// The longest that anything was nobody's.
    pub fn slowest_takeover(&self) -> Duration {
        self.recovery.iter().max().copied().unwrap_or_default()
    }

    /// From now on nothing happens.
    pub async fn calm(&mut self) {
        for worker in &self.workers {
            worker.signal("CONT");
        }
        self.cluster.ask("SELECT 1").await;
    }

    /// The workers end at once; the server stays.
    pub fn dismiss(self) -> Cluster {
        self.cluster
    }
}

/// A worker's process, seen from outside.
struct Victim {
    /// How the names of its claims begin.
    name: String,
    child: Child,
}

impl Victim {
    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(status.unwrap().success(), "worker {} has ended by itself", self.name);
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// None outlives the test.
impl Drop for Victim {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same numbers for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
