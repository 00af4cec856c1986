use agentry_backends::memory::MemoryShared;
use agentry_core::shared::{Count, Counted, Error, Found};
use agentry_core::{MicroUsd, Timestamp};
use agentry_testkit::FakeClock;
use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::task::TaskTracker;

use super::*;
use crate::cache::Folded;
use crate::cache::{Form, Settings, Tags};

const MINUTE: Duration = Duration::from_secs(60);
const KEY: Key = Key([3; 32]);

/// Some instances on one store.
struct Cluster {
    store: Arc<MemoryShared>,
    clock: Arc<FakeClock>,
    levels: Vec<Levels>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

fn settings() -> FarSettings {
    FarSettings { deadline: Duration::from_secs(5), ..FarSettings::default() }
}

fn cache() -> Arc<Cache> {
    let settings = Settings { bytes_max: 1 << 20, ttl: MINUTE };
    Arc::new(Cache::new(settings, Instant::now().into_std()))
}

fn start(instances: usize) -> Cluster {
    let clock = Arc::new(FakeClock::new(Timestamp::from_seconds(1_000)));
    let store = Arc::new(MemoryShared::new(Arc::<FakeClock>::clone(&clock), 1 << 20));
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let levels = (0..instances).map(|_| {
        let port = Arc::<MemoryShared>::clone(&store);
        let (levels, upkeep) = Levels::shared(cache(), port, settings());
        tasks.spawn(upkeep.run(shutdown.clone()));
        levels
    });
    let levels = levels.collect();
    Cluster { store, clock, levels, tasks, shutdown }
}

impl Cluster {
    async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn ticket(levels: &Levels, key: &Key) -> Ticket {
    match levels.get(key) {
        Lookup::Miss(ticket) => ticket,
        Lookup::Hit(_) => panic!("it lies there"),
    }
}

fn fresh(levels: &Levels, text: &'static str) -> Fresh {
    let form = Form::Frames(Folded::of(text.as_bytes()).closed());
    let kept = Arc::new(Kept::new(form, "p/m".into(), None, Some(MicroUsd(9))));
    let tags = Tags::new([Tag::Tenant("t"), Tag::Alias("fast")]);
    Fresh { key: KEY, kept, tags, ticket: ticket(levels, &KEY), ttl_max: None }
}

fn here(levels: &Levels) -> bool {
    matches!(levels.get(&KEY), Lookup::Hit(_))
}

/// Looks until it is so: nothing but the tasks of this test has to happen for it.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..10_000 {
        if holds().await {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{what} never came to be");
}

async fn written(levels: &Levels, count: u64) {
    until("the writing", async || levels.shared_stats().unwrap().written == count).await;
}

#[tokio::test]
async fn what_one_instance_keeps_the_others_find() {
    let cluster = start(2);
    let [one, other] = cluster.levels.as_slice() else { panic!() };
    assert!(one.keep(fresh(one, "data: 1\n\n")));
    assert!(here(one));
    written(one, 1).await;
    let miss = ticket(other, &KEY);
    let kept = other.get_shared(&KEY, miss).await.unwrap();
    assert_eq!(kept.form(), &Form::Frames(Folded::of(b"data: 1\n\n").closed()));
    assert_eq!(kept.cost_saved(), Some(MicroUsd(9)));
    assert!(here(other), "from now on without asking");
    let nothing = ticket(other, &Key([4; 32]));
    assert!(other.get_shared(&Key([4; 32]), nothing).await.is_none());
    let stats = other.shared_stats().unwrap();
    assert_eq!((stats.hits, stats.misses, stats.failures), (1, 1, 0));
    cluster.stop().await;
}

#[tokio::test]
async fn an_answer_gets_no_older_by_wandering() {
    let cluster = start(2);
    let [one, other] = cluster.levels.as_slice() else { panic!() };
    one.keep(fresh(one, "old"));
    written(one, 1).await;
    cluster.clock.advance(MINUTE - Duration::from_millis(1));
    let miss = ticket(other, &KEY);
    assert!(other.get_shared(&KEY, miss).await.is_some());
    let later = Instant::now() + Duration::from_millis(5);
    assert!(matches!(other.cache().get(&KEY, later.into_std()), Lookup::Miss(_)));
    cluster.stop().await;
}

#[tokio::test]
async fn what_is_invalidated_anywhere_is_gone_everywhere() {
    for by_key in [false, true] {
        let cluster = start(2);
        let [one, other] = cluster.levels.as_slice() else { panic!() };
        one.keep(fresh(one, "1"));
        written(one, 1).await;
        let miss = ticket(other, &KEY);
        other.get_shared(&KEY, miss).await.unwrap();
        let mut under_way = fresh(&Levels::local(cache()), "2");
        under_way.ticket = ticket(other, &Key([9; 32]));
        if by_key {
            one.remove(&KEY).await.unwrap();
        } else {
            assert_eq!(one.invalidate(Tag::Tenant("u")).await, Ok(0));
            assert_eq!(one.invalidate(Tag::Tenant("t")).await, Ok(1));
        }
        assert!(!here(one));
        until("the hint", async || !here(other)).await;
        assert!(!other.keep(under_way), "it was under way elsewhere");
        let miss = ticket(one, &KEY);
        assert!(one.get_shared(&KEY, miss).await.is_none());
        cluster.stop().await;
    }
}

#[tokio::test]
async fn whoever_missed_a_hint_trusts_nothing_that_he_has() {
    let cluster = start(1);
    let [levels] = cluster.levels.as_slice() else { panic!() };
    levels.keep(fresh(levels, "1"));
    written(levels, 1).await;
    cluster.store.publish(Hint::KeyRevoked { id: "k".to_owned() }).await.unwrap();
    cluster.store.publish(Hint::TagInvalidated { tag: "of others".to_owned() }).await.unwrap();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(here(levels), "what is of others is of no interest");
    cluster.store.publish(Hint::Missed).await.unwrap();
    until("forgetting", async || !here(levels)).await;
    let miss = ticket(levels, &KEY);
    assert!(levels.get_shared(&KEY, miss).await.is_some(), "the store forgot nothing");
    cluster.stop().await;
}

#[tokio::test]
async fn what_is_not_ours_is_a_miss() {
    let cluster = start(1);
    let [levels] = cluster.levels.as_slice() else { panic!() };
    let key = shared_key(&KEY).to_vec();
    let value = Bytes::from_static(b"something else");
    cluster.store.set(Entry { key, value, ttl: MINUTE, tags: Vec::new() }).await.unwrap();
    let miss = ticket(levels, &KEY);
    assert!(levels.get_shared(&KEY, miss).await.is_none());
    assert_eq!(levels.shared_stats().unwrap().failures, 1);
    cluster.stop().await;
}

/// A store that never answers.
pub(crate) struct Silent;

#[async_trait]
impl Shared for Silent {
    async fn get(&self, _: &[u8]) -> Result<Option<Found>, Error> {
        std::future::pending().await
    }

    async fn set(&self, _: Entry) -> Result<(), Error> {
        std::future::pending().await
    }

    async fn delete(&self, _: &[u8]) -> Result<(), Error> {
        std::future::pending().await
    }

    async fn invalidate(&self, _: &str) -> Result<(), Error> {
        std::future::pending().await
    }

    async fn add(&self, _: Vec<Count>) -> Result<Vec<Counted>, Error> {
        std::future::pending().await
    }

    async fn present(&self, _: &str, _: Duration) -> Result<u32, Error> {
        std::future::pending().await
    }

    async fn publish(&self, _: Hint) -> Result<(), Error> {
        std::future::pending().await
    }

    fn hints(&self) -> Hints {
        Box::pin(futures_util::stream::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_costs_a_call_its_deadline_and_no_memory() {
    let deadline = Duration::from_millis(20);
    let settings = FarSettings { deadline, writes_max: 2 };
    let (levels, upkeep) = Levels::shared(cache(), Arc::new(Silent), settings);
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(upkeep.run(shutdown.clone()));
    let start = Instant::now();
    let miss = ticket(&levels, &KEY);
    assert!(levels.get_shared(&KEY, miss).await.is_none());
    assert_eq!(start.elapsed(), deadline);
    let answer = fresh(&levels, "1");
    for _ in 0..10 {
        assert!(levels.keep(answer.clone()));
        tokio::task::yield_now().await;
    }
    let stats = levels.shared_stats().unwrap();
    assert_eq!((stats.failures, stats.written, stats.unwritten), (1, 0, 7));
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn without_a_shared_level_there_is_nothing_to_wait_for() {
    let levels = Levels::local(cache());
    assert!(levels.keep(fresh(&levels, "1")));
    assert_eq!(levels.shared_stats(), None);
    assert!(levels.get_shared(&KEY, ticket(&levels, &Key([1; 32]))).await.is_none());
    assert_eq!(levels.invalidate(Tag::Alias("fast")).await, Ok(1));
    assert!(!here(&levels));
}
