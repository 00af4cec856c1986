//! Instances on a ledger, with a clock that stands still and somebody who hears everything.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_core::ledger::{Cache, Holder, Ledger, Tokens, UsageId, UsageRecord};
use agentry_core::{Clock as _, MicroUsd, Timestamp};
use agentry_gateway::money::{
    self, Account, Budgets, Event, Limit, Refused, Settings, UsageSink, Watcher,
};
use agentry_testkit::FakeClock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Everything that was told, as text.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<String>>);

impl Heard {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|heard| heard.starts_with(what)).count()
    }
}

impl Watcher for Heard {
    fn happened(&self, event: &Event<'_>) {
        let text = match event {
            Event::Warned { account, per, cap, used } => {
                format!("warned {account} {} {used} of {cap}", per.as_str())
            }
            Event::Exceeded { account, per, .. } => format!("exceeded {account} {}", per.as_str()),
            Event::Overshot { account, per, by } => {
                format!("overshot {account} {} by {by}", per.as_str())
            }
            Event::Lapsed => "lapsed".to_owned(),
            Event::Behind { waiting } => format!("behind {waiting}"),
            Event::Lost { records } => format!("lost {records}"),
        };
        self.0.lock().unwrap().push(text);
    }
}

pub(crate) struct Instance {
    pub(crate) budgets: Budgets,
    pub(crate) sink: UsageSink,
    pub(crate) heard: Arc<Heard>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Instance {
    pub(crate) async fn start(
        ledger: &Arc<dyn Ledger>,
        clock: &Arc<FakeClock>,
        (name, life): (&str, &str),
    ) -> Self {
        let settings = Settings::new(Holder { instance: name.into(), life: life.into() });
        Self::with(ledger, clock, settings).await
    }

    pub(crate) async fn with(
        ledger: &Arc<dyn Ledger>,
        clock: &Arc<FakeClock>,
        settings: Settings,
    ) -> Self {
        let heard = Arc::new(Heard::default());
        let (ledger, clock) = (Arc::clone(ledger), Arc::clone(clock));
        let opened = money::open(ledger, clock, Arc::clone(&heard) as _, settings).await;
        let (budgets, sink, keeper) = opened.unwrap();
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(keeper.run(shutdown.clone()));
        Self { budgets, sink, heard, shutdown, tasks }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        tokio::time::timeout(Duration::from_secs(60), self.tasks.wait()).await.unwrap();
    }

    /// One call that is estimated and then costs what is said.
    pub(crate) async fn call(
        &self,
        accounts: &[Arc<Account>],
        (estimate, actual): (i64, i64),
        record: UsageRecord,
    ) -> Result<(), Refused> {
        let place = self.sink.place().unwrap();
        let reserved = self.budgets.reserve_or_refill(accounts, MicroUsd(estimate)).await;
        let mut reservation = reserved?;
        reservation.dispatched();
        let charges = reservation.settle(MicroUsd(actual));
        let record = UsageRecord { cost: MicroUsd(actual), ..record };
        place.record_durably(record, charges).await.unwrap();
        Ok(())
    }
}

pub(crate) fn limit(per: &str, cap: i64) -> Limit {
    Limit { per: per.parse().unwrap(), cap: MicroUsd(cap) }
}

pub(crate) fn record(now: Timestamp, number: u64) -> UsageRecord {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    UsageRecord {
        id: UsageId::new(now, random),
        at: now,
        call_id: format!("call-{number}"),
        tenant: "main".to_owned(),
        key: "ci".to_owned(),
        user: None,
        team: None,
        session: None,
        run: None,
        model: "fast".to_owned(),
        target: None,
        status: "success".to_owned(),
        tokens: Tokens::default(),
        cost: MicroUsd(0),
        estimated: MicroUsd(0),
        latency: Duration::ZERO,
        first_token: None,
        cache: Cache::Miss,
        attempts: 1,
    }
}

pub(crate) fn clock() -> Arc<FakeClock> {
    Arc::new(FakeClock::default())
}

pub(crate) fn now(clock: &FakeClock) -> Timestamp {
    clock.now()
}
