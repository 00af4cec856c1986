use std::sync::Mutex;

use agentry_backends::memory::MemoryStore;
use agentry_core::ThreadId;
use agentry_core::run::{Committed, Effect, Fence};
use agentry_core::thread::{Commit, Loaded};
use agentry_core::threads::{self, Claim, Claimed, Signal, Signalled, Submitted};
use agentry_engine::node::from_fn;
use agentry_engine::{END, Graph, NodeOutput, Reducer, START};
use agentry_testkit::FakeClock;
use async_trait::async_trait;
use serde_json::Value;

use super::*;
use crate::alert::generic;

/// A store whose disk stalls once: nobody waits for the first write, and it is stored when the next one is.
#[derive(Default)]
struct Stalling {
    inner: MemoryStore,
    held: Mutex<Option<Taken>>,
    stalled: Mutex<bool>,
}

impl Stalling {
    /// Whether this write is the one that stalls.
    fn stalls(&self) -> bool {
        !std::mem::replace(&mut *self.stalled.lock().unwrap(), true)
    }
}

#[async_trait]
impl ThreadStore for Stalling {
    async fn intake(&self, intake: Taken) -> Result<(), store::Error> {
        if self.stalls() {
            *self.held.lock().unwrap() = Some(intake);
            return Err(store::Error::Ambiguous("the disk takes its time".into()));
        }
        let held = self.held.lock().unwrap().take();
        if let Some(held) = held {
            ThreadStore::intake(&self.inner, held).await?;
        }
        ThreadStore::intake(&self.inner, intake).await
    }

    async fn submit(&self, run: NewRun) -> Result<Submitted, store::Error> {
        ThreadStore::submit(&self.inner, run).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, store::Error> {
        ThreadStore::claim(&self.inner, claim).await
    }

    async fn take(&self, thread: ThreadId, claim: Claim) -> Result<threads::Taken, store::Error> {
        self.inner.take(thread, claim).await
    }

    async fn renew(
        &self,
        worker: &str,
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<(), store::Error> {
        ThreadStore::renew(&self.inner, worker, now, lease_until).await
    }

    async fn mail(&self, worker: &str) -> Result<Vec<ThreadId>, store::Error> {
        ThreadStore::mail(&self.inner, worker).await
    }

    async fn release(&self, worker: &str) -> Result<(), store::Error> {
        ThreadStore::release(&self.inner, worker).await
    }

    async fn succeed(&self, name: &str, worker: &str) -> Result<(), store::Error> {
        ThreadStore::succeed(&self.inner, name, worker).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, store::Error> {
        ThreadStore::commit(&self.inner, commit).await
    }

    async fn journal(
        &self,
        thread: ThreadId,
        fence: Fence,
        key: &str,
        effect: Effect,
    ) -> Result<Committed, store::Error> {
        ThreadStore::journal(&self.inner, thread, fence, key, effect).await
    }

    async fn signal(&self, thread: ThreadId, signal: Signal) -> Result<Signalled, store::Error> {
        ThreadStore::signal(&self.inner, thread, signal).await
    }

    async fn load(&self, thread: ThreadId) -> Result<Option<Loaded>, store::Error> {
        ThreadStore::load(&self.inner, thread).await
    }

    async fn next_wake(&self) -> Result<Option<Timestamp>, store::Error> {
        ThreadStore::next_wake(&self.inner).await
    }
}

#[async_trait]
impl Log for Stalling {
    async fn records(
        &self,
        topic: &str,
        key: Option<&str>,
        after: u64,
        max: usize,
    ) -> Result<Vec<store::Record>, store::Error> {
        self.inner.records(topic, key, after, max).await
    }

    async fn tail(
        &self,
        topic: &str,
        before: Option<u64>,
        max: usize,
    ) -> Result<Vec<store::Record>, store::Error> {
        self.inner.tail(topic, before, max).await
    }

    async fn audit(&self, after: u64, max: usize) -> Result<Vec<audit::Record>, store::Error> {
        self.inner.audit(after, max).await
    }
}

fn program() -> agentry_engine::Program {
    let node = from_fn(|_, _| Box::pin(async { Ok(NodeOutput::done()) }));
    let graph = Graph::builder("incident").channel(CHANNEL, Reducer::Append).node("a", node);
    graph.edge(START, "a").edge("a", END).build().unwrap()
}

fn batch(service: &str, now: Timestamp) -> Batch {
    let body = json!({ "severity": "critical", "service": service, "message": "too slow" });
    generic(body, now).unwrap()
}

#[tokio::test]
async fn what_a_slow_disk_stores_late_is_known_before_anything_is_decided() {
    let (store, clock) = (Arc::new(Stalling::default()), Arc::new(FakeClock::default()));
    let ports = Ports {
        store: Arc::clone(&store) as _,
        log: Arc::clone(&store) as _,
        clock: Arc::clone(&clock) as _,
        nudge: Arc::new(|| {}),
        taken: Arc::new(|_, _| {}),
    };
    let programs = Programs { incident: program(), update: program() };
    let handling = Handling { programs, deadline: Duration::from_secs(60) };
    let (intake, door) =
        Intake::open(ports, correlate::Settings::default(), handling).await.unwrap();
    let shutdown = CancellationToken::new();
    let story = async {
        let doubtful = door.accept(batch("cart", clock.now())).await;
        assert!(matches!(doubtful, Err(Error::Store(store::Error::Ambiguous(_)))), "{doubtful:?}");
        clock.advance(Duration::from_secs(1));
        for service in ["pay", "front"] {
            let accepted = door.accept(batch(service, clock.now())).await.unwrap();
            assert_eq!(accepted.incidents, ["INC-1"]);
        }
        shutdown.cancel();
    };
    tokio::join!(intake.run(shutdown.clone()), story);

    let records = store.records(TOPIC, Some("incident/1"), 0, 9).await.unwrap();
    let recorded: Vec<Recorded> = records.into_iter().map(|record| read(record).unwrap()).collect();
    let services: Vec<&str> = recorded.iter().map(|it| it.alert.service.as_str()).collect();
    assert_eq!(services, ["cart", "pay", "front"]);
    let run = recorded[0].run.unwrap();
    assert!(recorded.iter().all(|it| it.run == Some(run)), "one incident has one run");
    let loaded = store.load(run.own_thread()).await.unwrap().expect("the run exists");
    let values = agentry_engine::durable::values(&loaded);
    let input = values[CHANNEL].as_array().map_or(0, Vec::len);
    assert_eq!((input, loaded.inbox.len()), (1, 2), "the run hears of every alert");
    assert_eq!(values["incident"]["number"], Value::from(1));
}
