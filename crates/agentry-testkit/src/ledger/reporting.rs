//! Usage as people see it.

use std::sync::Arc;

use agentry_core::MicroUsd;
use agentry_core::ledger::{
    By, Cache, Entry, Ledger, ReportQuery, ReportRow, Reused, Scope, Sums, Tally, Tokens,
    UsageRecord,
};

use super::{assert_balance, at, holder, record, slice, spends};
use crate::kind::Kind;

fn entries(records: Vec<UsageRecord>) -> Vec<Entry> {
    let bare = |record| Entry { record: Arc::new(record), charges: Vec::new() };
    records.into_iter().map(bare).collect()
}

fn row(day: &str, key: &str, model: &str, sums: Sums) -> ReportRow {
    let (tenant, key, model) = ("main".to_owned(), key.to_owned(), model.to_owned());
    ReportRow { day: day.to_owned(), tenant, key, model, sums }
}

fn times(calls: u64) -> Sums {
    let tokens =
        Tokens { input: 100 * calls, cached: 40 * calls, output: 20 * calls, reasoning: 5 * calls };
    let (cost, estimated) = (MicroUsd(7 * calls as i64), MicroUsd(2 * calls as i64));
    Sums { calls, failed: 0, from_cache: 0, tokens, cost, estimated, saved: MicroUsd(0) }
}

pub async fn usage_is_summed_by_day_key_and_model<K: Kind<Store: Ledger>>(kind: &K) {
    let store = kind.fresh().await;
    let (last, next) = (43_199, 43_200);
    store
        .append_usage(entries(vec![
            record(1),
            record(2),
            UsageRecord { key: "web".to_owned(), user: None, ..record(3) },
            UsageRecord { model: "slow".to_owned(), ..record(last) },
            UsageRecord { run: Some("r".to_owned()), team: Some("t".to_owned()), ..record(next) },
            UsageRecord { status: "model_timed_out".to_owned(), target: None, ..record(next + 1) },
            UsageRecord { cache: Cache::Hit, first_token: None, ..record(next + 2) },
            UsageRecord { cache: Cache::Join, ..record(next + 3) },
            UsageRecord { tenant: "other".to_owned(), ..record(next + 4) },
        ]))
        .await
        .unwrap();
    let all = ReportQuery::between(at(0), at(86_400));
    let main = ReportQuery { tenant: Some("main".to_owned()), ..all.clone() };
    let report = store.report(main.clone()).await.unwrap();
    let second = Sums { failed: 1, from_cache: 2, ..times(4) };
    let rows = vec![
        row("2026-01-31", "ci", "fast", times(2)),
        row("2026-01-31", "ci", "slow", times(1)),
        row("2026-01-31", "web", "fast", times(1)),
        row("2026-02-01", "ci", "fast", second),
    ];
    assert_eq!(report.rows, rows);
    assert_eq!(report.totals, Sums { failed: 1, from_cache: 2, ..times(8) });
    let first = store.report(ReportQuery { rows_max: 1, ..main.clone() }).await.unwrap();
    assert_eq!((&first.rows[..], first.totals), (&rows[..1], report.totals));

    let calls = async |query: ReportQuery| store.report(query).await.unwrap().totals.calls;
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(calls(all.clone()).await, 9);
    assert_eq!(calls(ReportQuery { key: some("web"), ..all.clone() }).await, 1);
    assert_eq!(calls(ReportQuery { user: some("ada"), ..all.clone() }).await, 8);
    assert_eq!(calls(ReportQuery { team: some("t"), ..all.clone() }).await, 1);
    assert_eq!(calls(ReportQuery { run: some("r"), ..all.clone() }).await, 1);
    assert_eq!(calls(ReportQuery { session: some("s-1"), ..all.clone() }).await, 9);
    assert_eq!(calls(ReportQuery { model: some("slow"), ..all.clone() }).await, 1);
    assert_eq!(calls(ReportQuery { tenant: some("x"), ..all }).await, 0);
    assert_eq!(calls(ReportQuery::between(at(1), at(3))).await, 2, "the end is not part of it");
}

pub async fn spending_is_grouped_by_what_is_asked<K: Kind<Store: Ledger>>(kind: &K) {
    let store = kind.fresh().await;
    let record = |number: u64, cost: i64, user: Option<&str>| UsageRecord {
        cost: MicroUsd(cost),
        user: user.map(ToOwned::to_owned),
        model: if number.is_multiple_of(2) { "even" } else { "odd" }.to_owned(),
        at: at(number * 86_400),
        ..record(number)
    };
    let records = vec![
        record(1, 10, Some("ada")),
        record(2, 20, None),
        record(3, 5, Some("eve")),
        record(4, 0, Some("ada")),
    ];
    store.append_usage(entries(records)).await.unwrap();
    let all = ReportQuery::between(at(0), at(100 * 86_400));
    let check = async |query: ReportQuery, by: By, expected: &[(Option<&str>, u64, i64)]| {
        let spent = store.spending(query, by).await.unwrap();
        let spent: Vec<_> = spent
            .iter()
            .map(|group| (group.name.as_deref(), group.sums.calls, group.sums.cost.0))
            .collect();
        assert_eq!(spent, expected, "{by:?}");
    };
    check(all.clone(), By::Model, &[(Some("even"), 2, 20), (Some("odd"), 2, 15)]).await;
    check(all.clone(), By::User, &[(None, 1, 20), (Some("ada"), 2, 10), (Some("eve"), 1, 5)]).await;
    check(all.clone(), By::Tenant, &[(Some("main"), 4, 35)]).await;
    let days = store.spending(all.clone(), By::Day).await.unwrap();
    let first = ReportRow::day_name(ReportRow::day_number(at(2 * 86_400)));
    assert_eq!((days.len(), days[0].name.as_deref()), (4, Some(&*first)));
    let two = ReportQuery { rows_max: 2, ..all.clone() };
    check(two, By::User, &[(None, 1, 20), (Some("ada"), 2, 10)]).await;
    let ada = ReportQuery { user: Some("ada".to_owned()), ..all.clone() };
    check(ada, By::Model, &[(Some("odd"), 1, 10), (Some("even"), 1, 0)]).await;
    for by in By::ALL {
        let spent = store.spending(all.clone(), by).await.unwrap();
        assert_eq!(spent.iter().map(|group| group.sums.cost.0).sum::<i64>(), 35, "{by:?}");
    }
}

pub async fn reused_answers_are_counted_once_and_shown_with_the_rest<K: Kind<Store: Ledger>>(
    kind: &K,
) {
    let store = kind.fresh().await;
    let one = |day: u64, model: &str, calls: u64, saved: i64| Reused {
        day: ReportRow::day_number(at(day * 86_400)),
        tenant: "main".to_owned(),
        key: "ci".to_owned(),
        model: model.to_owned(),
        calls,
        saved: MicroUsd(saved),
    };
    let tally = |life: &str, number: i64, reused: Vec<Reused>| Tally {
        holder: holder("one", life),
        number,
        reused,
    };
    let first = tally("1", 1, vec![one(1, "fast", 3, 21), one(1, "slow", 1, 5)]);
    for tally in [
        first.clone(),
        // Nobody knew whether it was heard.
        first.clone(),
        tally("1", 2, vec![one(1, "fast", 2, 14), one(2, "fast", 1, 7)]),
        first,
        tally("2", 1, vec![one(1, "fast", 1, 7)]),
        tally("2", 2, Vec::new()),
    ] {
        store.append_reused(tally).await.unwrap();
    }
    let paid = UsageRecord { at: at(86_400), ..record(1) };
    let elsewhere = UsageRecord { tenant: "other".to_owned(), ..record(2) };
    store.append_usage(entries(vec![paid, elsewhere])).await.unwrap();
    let store = kind.reopen(store).await;

    let all = ReportQuery::between(at(0), at(100 * 86_400));
    let main = ReportQuery { tenant: Some("main".to_owned()), ..all.clone() };
    let reused = |calls: u64, saved: i64| Sums {
        calls,
        from_cache: calls,
        saved: MicroUsd(saved),
        ..Sums::default()
    };
    let with_one = Sums { calls: 7, from_cache: 6, saved: MicroUsd(42), ..times(1) };
    let report = store.report(main.clone()).await.unwrap();
    let rows = vec![
        row("2026-02-01", "ci", "fast", with_one),
        row("2026-02-01", "ci", "slow", reused(1, 5)),
        row("2026-02-02", "ci", "fast", reused(1, 7)),
    ];
    assert_eq!(report.rows, rows);
    assert_eq!(report.totals, Sums { calls: 9, from_cache: 8, saved: MicroUsd(54), ..times(1) });

    let check = async |query: ReportQuery, by: By, expected: &[(Option<&str>, u64, i64)]| {
        let spent = store.spending(query, by).await.unwrap();
        let mut spent: Vec<_> = spent
            .iter()
            .map(|group| (group.name.as_deref(), group.sums.calls, group.sums.saved.0))
            .collect();
        spent.sort_unstable();
        assert_eq!(spent, expected, "{by:?}");
    };
    let target = Some("openai/gpt-4o-mini");
    check(main.clone(), By::Model, &[(Some("fast"), 8, 49), (Some("slow"), 1, 5)]).await;
    check(main.clone(), By::Key, &[(Some("ci"), 9, 54)]).await;
    check(main.clone(), By::Target, &[(None, 8, 54), (target, 1, 0)]).await;
    check(main.clone(), By::User, &[(None, 8, 54), (Some("ada"), 1, 0)]).await;
    let days = [(Some("2026-02-01"), 8, 47), (Some("2026-02-02"), 1, 7)];
    check(main.clone(), By::Day, &days).await;
    let ada = ReportQuery { user: Some("ada".to_owned()), ..main.clone() };
    check(ada, By::Model, &[(Some("fast"), 1, 0)]).await;
    let late = ReportQuery { from: at(86_400), ..main };
    check(late, By::Model, &[(Some("fast"), 2, 7)]).await;
}

pub async fn a_forgotten_user_is_in_no_record<K: Kind<Store: Ledger>>(kind: &K) {
    let store = kind.fresh().await;
    let account = Scope::User { tenant: "main", user: "ada" }.to_string();
    let (theirs, ours) = (slice(&account, "one"), slice("tenant:main", "one"));
    let mut entry = spends(1, &theirs, 10);
    entry.charges.extend(spends(1, &ours, 10).charges);
    let elsewhere = UsageRecord { tenant: "other".to_owned(), ..record(2) };
    store.append_usage(vec![entry]).await.unwrap();
    store.append_usage(entries(vec![elsewhere])).await.unwrap();
    assert_eq!(store.forget_user("main", "ada").await.unwrap(), 1);
    assert_eq!(store.forget_user("main", "ada").await.unwrap(), 0);
    let all = ReportQuery::between(at(0), at(100));
    let ada = ReportQuery { user: Some("ada".to_owned()), ..all.clone() };
    let named = store.report(ada).await.unwrap();
    assert_eq!((named.totals.calls, &named.rows[0].tenant[..]), (1, "other"));
    let total = store.report(all).await.unwrap().totals;
    assert_eq!((total.calls, total.cost.0), (2, 17), "what was spent stays known");
    assert_balance(&store, &account, 0, 0).await;
    assert_balance(&store, "tenant:main", 10, 0).await;
}
