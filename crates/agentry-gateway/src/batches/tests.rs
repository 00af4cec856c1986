use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_backends::memory::MemoryStore;
use agentry_core::Clock as _;
use agentry_core::batches::{Answer, Batches, Claimed, Counts, NewBatch, Status, Waiting};
use agentry_testkit::FakeClock;
use agentry_testkit::batches::{batch, owner};
use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

fn waiting(names: &[&str]) -> Vec<Waiting> {
    let one = |name: &&str| {
        let (tenant, batch) = name.split_once('/').unwrap();
        Waiting { batch: batch.to_owned(), tenant: tenant.to_owned() }
    };
    names.iter().map(one).collect()
}

#[test]
fn tenants_take_turns_and_so_do_their_batches() {
    let check = |names: &[&str], expected: &str| {
        let (waiting, mut rota) = (waiting(names), Rota::default());
        let turns = expected.chars().map(|_| rota.pick(&waiting).unwrap());
        let turns: String = turns.map(|place| waiting[place].batch.as_str()).collect();
        assert_eq!(turns, expected, "{names:?}");
    };
    check(&["a/1"], "111");
    check(&["a/1", "a/2", "a/3"], "123123");
    check(&["a/1", "b/2"], "121212");
    check(&["a/1", "a/2", "a/3", "b/9"], "192939192939");
    check(&["a/1", "b/2", "b/3", "c/4"], "124134124134");
    assert_eq!(Rota::default().pick(&[]), None);
}

#[test]
fn who_comes_late_is_next_and_gets_no_more_than_the_others() {
    let mut rota = Rota::default();
    for _ in 0..100 {
        rota.pick(&waiting(&["a/1"]));
    }
    let both = waiting(&["a/1", "b/2"]);
    let turns: Vec<_> = (0..4).map(|_| rota.pick(&both).unwrap()).collect();
    assert_eq!(turns, [1, 0, 1, 0]);
}

fn performed(status: u16, code: Option<&str>, retry_after: Option<u64>) -> Performed {
    Performed {
        answer: Answer { status, body: "{}".into() },
        code: code.map(str::to_owned),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

#[test]
fn limits_wait_troubles_are_tried_again_and_the_rest_is_an_answer() {
    let check = |(status, code, retry_after), tries, expected| {
        let verdict = verdict(&performed(status, code, retry_after), tries);
        let expected = match expected {
            None => Verdict::Keep,
            Some((after, tries)) => Verdict::Later { after: Duration::from_secs(after), tries },
        };
        assert_eq!(verdict, expected, "{status} {code:?} after {tries} tries");
    };
    check((200, None, None), 0, None);
    check((200, Some("requests_limited"), None), 0, None);
    check((400, Some("parameter_invalid"), None), 0, None);
    check((429, Some("budget_exceeded"), Some(3_000)), 0, None);
    check((429, Some("requests_limited"), Some(7)), 99, Some((7, 99)));
    check((429, Some("tokens_limited"), Some(100_000)), 0, Some((300, 0)));
    check((409, Some("idempotency_in_progress"), None), 0, Some((1, 0)));
    check((503, Some("model_unavailable"), None), 0, Some((1, 1)));
    check((503, Some("model_unavailable"), None), 3, Some((8, 4)));
    check((429, Some("model_rate_limited"), Some(20)), 1, Some((20, 2)));
    check((503, Some("model_unavailable"), None), 4, None);
    check((500, Some("model_internal"), None), 0, None);
}

/// Answers as the number of the item says, one permit each.
struct Script {
    permits: Semaphore,
    /// Batch and item, in the order in which they were begun.
    begun: Mutex<Vec<(String, u64)>>,
    /// How often each item is refused before it is answered.
    refusals: u64,
    tries: Mutex<BTreeMap<u64, u64>>,
}

impl Script {
    fn new(permits: usize, refusals: u64) -> Arc<Self> {
        let (begun, tries) = (Mutex::default(), Mutex::default());
        Arc::new(Self { permits: Semaphore::new(permits), begun, refusals, tries })
    }

    fn begun(&self) -> Vec<(String, u64)> {
        self.begun.lock().unwrap().clone()
    }
}

#[async_trait]
impl Perform for Script {
    async fn perform(&self, item: &Claimed) -> Performed {
        let number = item.lease.number;
        self.begun.lock().unwrap().push((item.lease.batch.clone(), number));
        self.permits.acquire().await.unwrap().forget();
        let tried = {
            let mut tries = self.tries.lock().unwrap();
            let tries = tries.entry(number).or_default();
            *tries += 1;
            *tries
        };
        match tried > self.refusals {
            true => performed(200, None, None),
            false => performed(429, Some("requests_limited"), Some(30)),
        }
    }
}

struct Running {
    store: Arc<MemoryStore>,
    clock: Arc<FakeClock>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Running {
    async fn start(batches: Vec<NewBatch>, script: &Arc<Script>, concurrency: usize) -> Self {
        let store = Arc::new(MemoryStore::new());
        for batch in batches {
            store.create(batch).await.unwrap();
        }
        let clock = Arc::new(FakeClock::new("2026-01-31T12:00:01Z".parse().unwrap()));
        let this = Self { store, clock, tasks: TaskTracker::new(), stop: CancellationToken::new() };
        this.instance("one", script, concurrency);
        this
    }

    fn instance(&self, holder: &str, script: &Arc<Script>, concurrency: usize) {
        let settings = Settings { concurrency, ..Settings::new(holder.to_owned()) };
        let service = Service::new(
            Arc::clone(&self.store) as _,
            Arc::clone(script) as _,
            Arc::clone(&self.clock) as _,
            settings,
        );
        self.tasks.spawn(service.run(self.stop.clone()));
    }

    async fn counts(&self, id: &str) -> (Status, Counts) {
        let batch = self.store.batch("main", id).await.unwrap().unwrap();
        (batch.status(), batch.counts)
    }

    async fn until_finished(&self, id: &str) -> (Status, Counts) {
        loop {
            let (status, counts) = self.counts(id).await;
            if !matches!(status, Status::InProgress | Status::Cancelling) {
                return (status, counts);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn all(completed: u64) -> Counts {
    Counts { total: completed, completed, ..Counts::default() }
}

#[tokio::test(start_paused = true)]
async fn two_instances_answer_each_item_once() {
    let script = Script::new(100, 0);
    let running = Running::start(vec![batch("a", "main", 50)], &script, 3).await;
    running.instance("two", &script, 3);
    assert_eq!(running.until_finished("a").await, (Status::Completed, all(50)));
    let mut numbers: Vec<u64> = script.begun().into_iter().map(|(_, number)| number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_small_tenant_does_not_wait_for_a_large_one() {
    let script = Script::new(1_000, 0);
    let other = NewBatch { owner: owner("other", None), ..batch("b", "main", 5) };
    let batches = vec![batch("a", "main", 200), other];
    let running = Running::start(batches, &script, 1).await;
    running.until_finished("a").await;
    let begun = script.begun();
    let last = begun.iter().rposition(|(batch, _)| batch == "b").unwrap();
    assert_eq!((begun.len(), last), (205, 9), "turn by turn");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_meets_its_limit_waits_and_fails_nothing() {
    let script = Script::new(100, 2);
    let running = Running::start(vec![batch("a", "main", 3)], &script, 8).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(running.until_finished("a").await, (Status::Completed, all(3)));
    assert!(begun.elapsed() >= Duration::from_secs(60), "twice thirty seconds");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_stopped_gives_back_what_it_cannot_finish() {
    let script = Script::new(1, 0);
    let running = Running::start(vec![batch("a", "main", 3)], &script, 3).await;
    while script.begun().len() < 3 {
        tokio::task::yield_now().await;
    }
    let store = Arc::clone(&running.store);
    let clock = Arc::clone(&running.clock);
    running.stop().await;
    let open = store.batch("main", "a").await.unwrap().unwrap();
    assert_eq!(open.counts.completed, 1);
    assert_eq!(store.waiting(clock.now(), 9).await.unwrap().len(), 1, "nobody holds them");
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_begins_no_more() {
    let script = Script::new(0, 0);
    let running = Running::start(vec![batch("a", "main", 10)], &script, 2).await;
    while script.begun().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(running.store.cancel("main", "a", running.clock.now()).await.unwrap());
    script.permits.add_permits(10);
    let counts = Counts { total: 10, completed: 2, failed: 0, dropped: 8 };
    assert_eq!(running.until_finished("a").await, (Status::Cancelled, counts));
    assert_eq!(script.begun().len(), 2);
    running.stop().await;
}
