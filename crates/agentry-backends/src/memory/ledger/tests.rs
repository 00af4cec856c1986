use std::time::Duration;

use agentry_core::ledger::{Cache, Charge, Tokens};

use super::*;

fn entry(number: u8) -> Entry {
    let at = Timestamp::from_seconds(i32::from(number));
    let account = Scope::Tenant { tenant: "main" }.to_string().into();
    let holder = Holder { instance: "one".into(), life: "1".into() };
    let slice = SliceId { account, period: Period::TOTAL, holder };
    let record = UsageRecord {
        id: UsageId::new(at, [number; 10]),
        at,
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
        estimated: MicroUsd(0),
        cost: MicroUsd(10),
        latency: Duration::ZERO,
        first_token: None,
        cache: Cache::Miss,
        attempts: 1,
    };
    let charges = vec![Charge { slice: slice.into(), amount: MicroUsd(10) }];
    Entry { record: record.into(), charges }
}

#[tokio::test]
async fn the_oldest_records_go_and_what_they_cost_stays_known() {
    let store = MemoryStore::keeping_usage(2);
    store.append_usage((1..=5).map(entry).collect()).await.unwrap();
    let ever = ReportQuery::between(Timestamp::from_seconds(0), Timestamp::from_seconds(100));
    assert_eq!(store.report(ever).await.unwrap().totals.calls, 2);
    let balance = store.balance("tenant:main", Period::TOTAL).await.unwrap();
    assert_eq!(balance.spent, MicroUsd(50));
}
