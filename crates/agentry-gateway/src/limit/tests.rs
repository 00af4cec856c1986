use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use agentry_backends::memory::MemoryShared;
use agentry_core::shared::{Count, Counted, Entry, Error, Found, Hint, Hints, Shared};
use agentry_core::{Clock, Timestamp};
use async_trait::async_trait;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rates(requests: u64, tokens: u64, concurrency: u64) -> Rates {
    let limit = |limit| (limit != NO_LIMIT).then_some(limit);
    Rates {
        requests_per_minute: limit(requests),
        tokens_per_minute: limit(tokens),
        concurrency: limit(concurrency),
    }
}

fn key(rates: Rates) -> (Arc<KeyLimits>, Instant) {
    let now = Instant::now();
    (Limits::local(now).key("k", rates), now)
}

#[test]
fn a_key_may_do_so_much_in_a_minute_and_no_more() {
    let (key, start) = key(rates(3, 1_000, NO_LIMIT));
    let check = |second: f64, tokens: u64, expected: Result<(), (Which, Option<f64>)>| {
        let admitted = key.admit(tokens, start + Duration::from_secs_f64(second));
        let admitted = admitted.map(drop);
        let expected = expected.map_err(|(which, after)| {
            let limit = if which == Which::Requests { 3 } else { 1_000 };
            Limited { which, limit, after: after.map(Duration::from_secs_f64) }
        });
        assert_eq!(admitted, expected, "at {second} s");
    };
    check(0.5, 100, Ok(()));
    check(1.0, 1_001, Err((Which::Tokens, None)));
    check(10.2, 600, Ok(()));
    check(20.0, 400, Err((Which::Tokens, Some(41.0))));
    check(20.0, 301, Err((Which::Tokens, Some(41.0))));
    check(20.0, 1_000, Err((Which::Tokens, Some(51.0))));
    check(20.0, 300, Ok(()));
    check(20.5, 0, Err((Which::Requests, Some(40.5))));
    check(60.9, 0, Err((Which::Requests, Some(0.1))));
    check(61.0, 0, Ok(()));
    check(61.0, 0, Err((Which::Requests, Some(10.0))));
    check(71.0, 700, Ok(()));
    // Long afterwards, as if nothing had been.
    check(10_000.0, 1_000, Ok(()));
}

#[test]
fn what_a_call_really_used_takes_the_place_of_the_estimate() {
    let check = |settled: &[u64], remaining: u64| {
        let (key, now) = key(rates(10, 1_000, NO_LIMIT));
        let mut admitted = key.admit(400, now).unwrap();
        for (tokens, seconds) in settled.iter().zip(1..) {
            admitted.settle(*tokens, now + SECOND * seconds);
        }
        drop(admitted);
        let standing = key.standings(now + SECOND * 5).tokens.unwrap();
        assert_eq!(standing.remaining, remaining, "{settled:?}");
    };
    check(&[], 600);
    check(&[400], 600);
    check(&[100], 900);
    check(&[0], 1_000);
    check(&[700], 300);
    check(&[700, 100], 300);
    check(&[5_000], 0);

    // More than there is room for is a fact too: the next call waits for it.
    let (key, now) = key(rates(10, 1_000, NO_LIMIT));
    key.admit(10, now).unwrap().settle(1_500, now);
    assert_eq!(key.admit(1, now).unwrap_err().after, Some(SECOND * 61));
    // What is forgotten already is not given back.
    let mut admitted = key.admit(900, now + SECOND * 61).unwrap();
    admitted.settle(0, now + SECOND * 200);
    assert_eq!(key.standings(now + SECOND * 200).tokens.unwrap().remaining, 1_000);
}

#[test]
fn a_place_is_free_when_its_call_is_dropped() {
    let (key, now) = key(rates(NO_LIMIT, NO_LIMIT, 2));
    let first = key.admit(1, now).unwrap();
    let second = key.admit(1, now).unwrap();
    let limited = key.admit(1, now).unwrap_err();
    assert_eq!((limited.which, limited.after), (Which::Concurrency, Some(SECOND)));
    drop(first);
    let third = key.admit(1, now).unwrap();
    assert_eq!(key.under_way(), 2);
    drop((second, third));
    assert_eq!(key.under_way(), 0);
    assert_eq!(key.standings(now), Standings::default());
}

#[test]
fn who_is_refused_for_one_reason_is_not_charged_for_another() {
    let (key, now) = key(rates(1, 100, 1));
    assert_eq!(key.admit(101, now).unwrap_err().which, Which::Tokens);
    assert_eq!(key.under_way(), 0);
    let held = key.admit(1, now).unwrap();
    assert_eq!(key.admit(1, now).unwrap_err().which, Which::Concurrency);
    drop(held);
    assert_eq!(key.admit(1, now).unwrap_err().which, Which::Requests);
    let Standings { requests, tokens } = key.standings(now + SECOND);
    assert_eq!(requests, Some(Standing { limit: 1, remaining: 0, reset: SECOND * 60 }));
    assert_eq!(tokens, Some(Standing { limit: 100, remaining: 99, reset: SECOND * 60 }));
    assert_eq!(key.standings(now + SECOND * 70).requests.unwrap().reset, Duration::ZERO);
}

#[test]
fn a_reload_changes_the_rates_and_forgets_nothing() {
    let now = Instant::now();
    let limits = Limits::local(now);
    let key = limits.key("k", rates(2, NO_LIMIT, NO_LIMIT));
    let other = limits.key("other", rates(1, NO_LIMIT, NO_LIMIT));
    key.admit(1, now).unwrap();
    key.admit(1, now).unwrap();
    assert!(key.admit(1, now).is_err());
    let again = limits.key("k", rates(3, NO_LIMIT, NO_LIMIT));
    again.admit(1, now).unwrap();
    assert!(key.admit(1, now).is_err());
    other.admit(1, now).unwrap();
    assert!(limits.key("shut", rates(0, 0, 0)).admit(0, now).is_err());
}

#[test]
fn a_refusal_says_what_to_do() {
    let check = |which, after: Option<u64>, code: &str, text: &str| {
        let limited = Limited { which, limit: 60, after: after.map(Duration::from_secs) };
        assert_eq!(limited.code().to_string(), code);
        assert_eq!(limited.to_string(), text);
        assert_eq!(limited.retry() == Retry::Never, after.is_none());
    };
    check(
        Which::Requests,
        Some(7),
        "requests_limited",
        "60 requests per minute are used up; try again in 7 s",
    );
    check(
        Which::Tokens,
        Some(1),
        "tokens_limited",
        "60 tokens per minute are used up; try again in 1 s",
    );
    check(
        Which::Tokens,
        None,
        "tokens_over_limit",
        "this call alone may use more than the 60 tokens per minute; shorten it or lower `max_tokens`",
    );
    check(
        Which::Concurrency,
        Some(1),
        "concurrency_limited",
        "60 calls are under way, as many as the key may have; try again in 1 s",
    );
}

proptest! {
    /// Against a list of everything admitted: in no minute more than the limit, and nobody is refused whom a window of 61
    /// seconds would have room for. Who waits as long as he is told to is admitted.
    #[test]
    fn in_no_minute_is_more_admitted_than_the_limit(
        calls in prop::collection::vec((0..4_000_u64, 1..40_u64), 1..300),
        limit in 40..400_u64,
    ) {
        let (key, start) = key(rates(NO_LIMIT, limit, NO_LIMIT));
        let mut admitted: Vec<(u64, u64)> = Vec::new();
        let mut now = 0;
        for (wait, tokens) in calls {
            now += wait;
            let within = |admitted: &[(u64, u64)], ms: u64| -> u64 {
                admitted.iter().filter(|(at, _)| at + ms > now).map(|(_, tokens)| tokens).sum()
            };
            let at = |ms: u64| start + Duration::from_millis(ms);
            match key.admit(tokens, at(now)) {
                Ok(_) => {
                    admitted.push((now, tokens));
                    prop_assert!(within(&admitted, 60_000) <= limit);
                }
                Err(limited) => {
                    prop_assert!(within(&admitted, 61_000) + tokens > limit);
                    let after = u64::try_from(limited.after.unwrap().as_millis()).unwrap();
                    prop_assert!(after <= 61_000);
                    prop_assert!(key.admit(tokens, at(now + after - 1)).is_err(), "it could have come sooner");
                    now += after;
                    prop_assert!(key.admit(tokens, at(now)).is_ok(), "it waited for nothing");
                    admitted.push((now, tokens));
                }
            }
        }
    }
}

#[test]
fn many_at_once_get_no_more_than_one_after_the_other() {
    for _ in 0..50 {
        let (key, now) = key(rates(100, NO_LIMIT, NO_LIMIT));
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let key = Arc::clone(&key);
                let now = now + Duration::from_millis(998 + number);
                std::thread::spawn(move || (0..60).filter(|_| key.admit(1, now).is_ok()).count())
            })
            .collect();
        let admitted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!((90..=100).contains(&admitted), "{admitted}");
    }
}

/// A clock that goes with tokio's.
struct Ticking(tokio::time::Instant);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_769_846_400).plus(self.0.elapsed())
    }
}

/// A shared store that can be away.
struct Store {
    inner: MemoryShared,
    is_away: AtomicBool,
    operations: Mutex<u32>,
}

impl Store {
    fn new() -> Arc<Self> {
        let clock = Arc::new(Ticking(tokio::time::Instant::now()));
        let inner = MemoryShared::new(clock, 1 << 20);
        Arc::new(Self { inner, is_away: AtomicBool::new(false), operations: Mutex::default() })
    }

    fn there(&self) -> Result<&MemoryShared, Error> {
        *self.operations.lock().unwrap() += 1;
        if self.is_away.load(Ordering::SeqCst) {
            return Err(Error::Away { reason: "the test says so".to_owned() });
        }
        Ok(&self.inner)
    }
}

#[async_trait]
impl Shared for Store {
    async fn get(&self, key: &[u8]) -> Result<Option<Found>, Error> {
        self.there()?.get(key).await
    }

    async fn set(&self, entry: Entry) -> Result<(), Error> {
        self.there()?.set(entry).await
    }

    async fn delete(&self, key: &[u8]) -> Result<(), Error> {
        self.there()?.delete(key).await
    }

    async fn invalidate(&self, tag: &str) -> Result<(), Error> {
        self.there()?.invalidate(tag).await
    }

    async fn add(&self, counts: Vec<Count>) -> Result<Vec<Counted>, Error> {
        self.there()?.add(counts).await
    }

    async fn present(&self, instance: &str, ttl: Duration) -> Result<u32, Error> {
        self.there()?.present(instance, ttl).await
    }

    async fn publish(&self, hint: Hint) -> Result<(), Error> {
        self.there()?.publish(hint).await
    }

    fn hints(&self) -> Hints {
        self.inner.hints()
    }
}

/// Instances that share a store, on tokio's paused clock.
struct Cluster {
    limits: Vec<Limits>,
    store: Arc<Store>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

const STEP: Duration = Duration::from_millis(100);

impl Cluster {
    async fn start(instances: usize) -> Self {
        let (store, tasks, shutdown) = (Store::new(), TaskTracker::new(), CancellationToken::new());
        let now = tokio::time::Instant::now().into_std();
        let limits = (0..instances)
            .map(|number| {
                let store = Arc::<Store>::clone(&store);
                let instance = format!("i{number}");
                let settings = ExchangeSettings { store, instance, every: STEP };
                let (limits, exchange) = Limits::shared(now, settings);
                tasks.spawn(exchange.run(shutdown.clone()));
                limits
            })
            .collect();
        let cluster = Self { limits, store, tasks, shutdown };
        // Until everybody knows of everybody.
        cluster.pass(SECOND * 4).await;
        cluster
    }

    async fn pass(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// As many calls as that instance admits now, `max` at most.
    fn admitted(&self, instance: usize, rates: Rates, max: usize) -> usize {
        let key = self.limits[instance].key("k", rates);
        let now = tokio::time::Instant::now().into_std();
        (0..max).take_while(|_| key.admit(1, now).is_ok()).count()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[tokio::test(start_paused = true)]
async fn instances_together_keep_to_one_limit() {
    let cluster = Cluster::start(3).await;
    let rates = rates(100, NO_LIMIT, NO_LIMIT);
    let mut admitted = 0;
    for round in 0..20 {
        for instance in 0..3 {
            admitted += cluster.admitted(instance, rates, 3);
        }
        cluster.pass(STEP * 2).await;
        assert!(round < 10 || admitted >= 90, "{admitted} after {round} rounds");
    }
    assert!((98..=100 + 2 * 3).contains(&admitted), "{admitted}");
    // Nobody has more until the minute is over, then all have again.
    assert_eq!((0..3).map(|instance| cluster.admitted(instance, rates, 9)).sum::<usize>(), 0);
    cluster.pass(SECOND * 125).await;
    // Its share at first, for it has not heard yet that the others rest.
    assert_eq!(cluster.admitted(1, rates, 200), 33);
    cluster.pass(STEP * 2).await;
    assert_eq!(cluster.admitted(1, rates, 200), 67);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn between_two_steps_the_others_are_not_known() {
    let cluster = Cluster::start(2).await;
    let rates = rates(100, NO_LIMIT, NO_LIMIT);
    // At first each has its share.
    assert_eq!(cluster.admitted(0, rates, 1_000), 50);
    assert_eq!(cluster.admitted(1, rates, 10), 10);
    cluster.pass(STEP * 2).await;
    // The worst there is: all at the same moment.
    assert_eq!(cluster.admitted(0, rates, 1_000), 40);
    assert_eq!(cluster.admitted(1, rates, 1_000), 40);
    cluster.pass(STEP * 2).await;
    let key = cluster.limits[0].key("k", rates);
    let now = tokio::time::Instant::now().into_std();
    assert_eq!(key.standings(now).requests.unwrap().remaining, 0);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_each_keeps_to_its_share() {
    let cluster = Cluster::start(4).await;
    let rates = rates(100, NO_LIMIT, NO_LIMIT);
    assert_eq!(cluster.admitted(0, rates, 1), 1);
    cluster.store.is_away.store(true, Ordering::SeqCst);
    cluster.pass(SECOND * 4).await;
    assert_eq!(cluster.admitted(0, rates, 1_000), 24);
    assert_eq!(cluster.admitted(1, rates, 1_000), 25);
    cluster.store.is_away.store(false, Ordering::SeqCst);
    cluster.pass(SECOND * 4).await;
    // What was counted meanwhile was told afterwards.
    assert_eq!(cluster.admitted(2, rates, 1_000), 25);
    cluster.pass(STEP * 2).await;
    assert_eq!(cluster.admitted(2, rates, 1_000), 25);
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn keys_that_rest_cost_nothing() {
    let cluster = Cluster::start(1).await;
    cluster.admitted(0, rates(100, 100, NO_LIMIT), 1);
    cluster.pass(SECOND * 200).await;
    *cluster.store.operations.lock().unwrap() = 0;
    cluster.pass(SECOND * 30).await;
    // Nothing but the signs of life.
    assert!(*cluster.store.operations.lock().unwrap() <= 11);
    cluster.stop().await;
}

#[test]
fn a_key_is_forgotten_when_nothing_is_known_of_it_that_counts() {
    let start = Instant::now();
    let limits = Limits::local(start);
    let known = || {
        let keys = limits.keys.read().unwrap();
        let mut names: Vec<String> = keys.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    let held = limits.key("held", rates(1, 10, 1));
    for name in ["busy", "free", "used"] {
        let key = limits.key(name, rates(1, 10, 1));
        if name == "used" {
            drop(key.admit(1, start + Duration::from_secs(30)).unwrap());
        }
    }
    let under_way = limits.key("busy", rates(1, 10, 1)).admit(1, start).unwrap();
    limits.forget_idle(start + Duration::from_secs(31));
    assert_eq!(known(), ["busy", "held", "used"]);
    assert!(limits.key("used", rates(1, 10, 1)).admit(1, start + Duration::from_secs(89)).is_err());
    limits.forget_idle(start + Duration::from_secs(91));
    assert_eq!(known(), ["busy", "held"], "of those, somebody has the key");
    drop((under_way, held));
    limits.forget_idle(start + Duration::from_secs(92));
    assert!(known().is_empty());
}
