use agentry_backends::memory::MemoryStore;
use agentry_core::ledger::{By, ReportQuery};

use super::*;

fn names() -> [Arc<str>; 3] {
    ["main", "ci", "fast"].map(Into::into)
}

fn teller(reuse: &Reuse, ledger: &Arc<MemoryStore>) -> Teller {
    let holder = Holder { instance: "one".into(), life: "1".into() };
    Teller::new(reuse.clone(), Arc::clone(ledger) as Arc<dyn Ledger>, holder)
}

async fn shown(ledger: &MemoryStore) -> Vec<(String, u64, i64)> {
    let ever = ReportQuery::between(Timestamp::from_seconds(0), Timestamp::from_seconds(i32::MAX));
    let spent = ledger.spending(ever, By::Day).await.unwrap();
    let mut shown: Vec<_> = spent
        .into_iter()
        .map(|group| (group.name.unwrap(), group.sums.from_cache, group.sums.saved.0))
        .collect();
    shown.sort();
    shown
}

#[tokio::test(start_paused = true)]
async fn what_is_counted_is_told_by_day() {
    let (reuse, ledger) = (Reuse::default(), Arc::new(MemoryStore::new()));
    let [tenant, key, model] = names();
    let names = (&tenant, &key, &model);
    let mut teller = teller(&reuse, &ledger);
    let stop = CancellationToken::new();
    let tasks = tokio_util::task::TaskTracker::new();
    let (ended, over) = (stop.clone(), tasks.clone());
    reuse.count(Timestamp::from_seconds(86_399), names, Some(MicroUsd(7)));
    reuse.count(Timestamp::from_seconds(86_400), names, Some(MicroUsd(5)));
    reuse.count(Timestamp::from_seconds(86_400), names, None);
    let running = over.spawn(async move {
        teller.run(ended).await;
        teller.finish(Duration::from_secs(5)).await;
    });
    tokio::time::sleep(EVERY * 2).await;
    let day = |name: &str, calls, saved| (name.to_owned(), calls, saved);
    assert_eq!(shown(&ledger).await, [day("1970-01-01", 1, 7), day("1970-01-02", 2, 5)]);
    reuse.count(Timestamp::from_seconds(86_400), names, Some(MicroUsd(1)));
    stop.cancel();
    running.await.unwrap();
    assert_eq!(shown(&ledger).await, [day("1970-01-01", 1, 7), day("1970-01-02", 3, 6)]);
}

#[test]
fn no_more_is_held_than_there_is_room_for() {
    let reuse = Reuse::default();
    let [tenant, key, model] = names();
    for number in 0..CELLS_MAX + 10 {
        let key: Arc<str> = number.to_string().into();
        reuse.count(Timestamp::from_seconds(0), (&tenant, &key, &model), None);
    }
    reuse.count(Timestamp::from_seconds(0), (&tenant, &"0".into(), &model), None);
    drop(key);
    let counted: u64 = reuse.take().iter().map(|reused| reused.calls).sum();
    assert_eq!(counted, CELLS_MAX as u64 + 1);
    assert!(reuse.take().is_empty());
}
