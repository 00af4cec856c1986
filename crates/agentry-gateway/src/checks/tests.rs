use std::collections::VecDeque;
use std::sync::Mutex;

use agentry_balance::{Circuit, Condition};
use agentry_core::chat::ChatRequest;
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use agentry_core::{Clock, Timestamp};
use tokio_util::task::TaskTracker;

use super::*;
use crate::{Alias, Call, Observer, Settled, Surroundings, Target};

struct Nobody;

#[async_trait]
impl ChatModel for Nobody {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn stream(&self, _: &CallContext, _: ChatRequest) -> Result<ChatStream, ModelError> {
        Err(ModelError::Truncated)
    }
}

struct Deaf;

impl Observer for Deaf {
    fn started(&self, _: &Call<'_>) {}
    fn settled(&self, _: &Settled<'_>) {}
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(43_200)
    }
}

fn gateway() -> Arc<Gateway> {
    let target = |model: &str| Target::new("p", model, Arc::new(Nobody));
    let alias = Alias::new("m", vec![target("a"), target("b")]);
    let around = Surroundings::new(Arc::new(Deaf), Arc::new(Noon), 7);
    Arc::new(Gateway::new(vec![alias], around).unwrap())
}

/// What each look finds: `+`, `-`, or `.` for nothing in time; the last one again and again.
struct Script {
    looks: Mutex<VecDeque<char>>,
    seen: watch::Sender<u32>,
}

impl Script {
    fn new(looks: &str) -> Arc<Self> {
        Arc::new(Self { looks: Mutex::new(looks.chars().collect()), seen: watch::Sender::new(0) })
    }
}

#[async_trait]
impl Check for Script {
    async fn look(&self) -> Result<(), String> {
        let look = {
            let mut looks = self.looks.lock().unwrap();
            if looks.len() > 1 { looks.pop_front() } else { looks.front().copied() }
        };
        self.seen.send_modify(|seen| *seen += 1);
        match look {
            Some('+') => Ok(()),
            Some('-') => Err("gone".to_owned()),
            _ => std::future::pending().await,
        }
    }
}

fn plan(targets: &[&str], script: &Arc<Script>) -> Plan {
    Plan {
        targets: targets.iter().map(|target| (*target).into()).collect(),
        settings: Settings { failures: 2, successes: 2, ..Settings::default() },
        check: Arc::clone(script) as Arc<dyn Check>,
    }
}

/// How a target is, and what was seen of it.
fn shown(gateway: &Gateway, target: &str) -> (Condition, Option<Found>) {
    let overview = gateway.overview();
    let target = overview.targets.iter().find(|one| *one.name == *target).unwrap();
    let unhealthy = target.is.condition == Condition::Unhealthy;
    assert_eq!(unhealthy, matches!(target.is.circuit, Circuit::Open(_)), "{target:?}");
    (target.is.condition, target.check.as_ref().map(|state| state.found))
}

/// Returns when so many looks were begun, and what they found is known where they found anything: one that finds something at
/// once is noted before anybody else has a turn.
async fn after(script: &Script, looks: u32) {
    script.seen.subscribe().wait_for(|seen| *seen >= looks).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_check_takes_its_targets_out_and_puts_them_back() {
    let (healthy, unhealthy) = (Condition::Healthy, Condition::Unhealthy);
    let gateway = gateway();
    let script = Script::new("+-.-++");
    let (_, service) = Service::new(Arc::clone(&gateway), vec![plan(&["p/a"], &script)]);
    assert_eq!(shown(&gateway, "p/a"), (healthy, Some(Found::Unknown)));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let running = tasks.spawn(service.run(stop.clone()));
    for (looks, expected) in [
        (2, (healthy, Found::Up)),
        (3, (healthy, Found::Up)),
        (4, (unhealthy, Found::Down)),
        (5, (unhealthy, Found::Down)),
        (6, (healthy, Found::Up)),
    ] {
        after(&script, looks).await;
        assert_eq!(shown(&gateway, "p/a"), (expected.0, Some(expected.1)), "{looks}");
    }
    let state = gateway.checks.state("p/a").unwrap();
    assert_eq!((state.failed, state.passed), (3, 3));
    assert_eq!(shown(&gateway, "p/b"), (healthy, None));
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_looked_at_can_change() {
    let (healthy, unhealthy) = (Condition::Healthy, Condition::Unhealthy);
    let gateway = gateway();
    let (down, other) = (Script::new("-"), Script::new("."));
    let both = plan(&["p/a", "p/b", "p/nobody"], &down);
    let (handle, service) = Service::new(Arc::clone(&gateway), vec![both]);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let running = tasks.spawn(service.run(stop.clone()));
    after(&down, 3).await;
    assert_eq!(shown(&gateway, "p/a"), (unhealthy, Some(Found::Down)));
    assert_eq!(shown(&gateway, "p/b"), (unhealthy, Some(Found::Down)));

    handle.replace(&gateway, vec![plan(&["p/b"], &other)]);
    assert_eq!(shown(&gateway, "p/a"), (healthy, None));
    assert_eq!(shown(&gateway, "p/b"), (unhealthy, Some(Found::Down)), "it is still looked at");
    let looks = *down.seen.borrow();
    after(&other, 2).await;
    assert_eq!(*down.seen.borrow(), looks);
    handle.replace(&gateway, Vec::new());
    assert_eq!(shown(&gateway, "p/b"), (healthy, None));
    handle.replace(&gateway, vec![plan(&["p/a"], &down)]);
    after(&down, looks + 3).await;
    assert_eq!(shown(&gateway, "p/a"), (unhealthy, Some(Found::Down)));
    stop.cancel();
    running.await.unwrap();
}
