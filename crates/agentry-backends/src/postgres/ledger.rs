//! Accounts, slices and usage. Each command is one statement: what it reads is locked until it is stored.

use std::collections::HashSet;

use agentry_core::ledger::{
    Ask, Balance, By, Entry, Grant, Holder, Ledger, Period, Reclaim, Report, ReportQuery,
    ReportRow, Reused, Scope, SliceId, Spent, Sums, Tally, Tokens,
};
use agentry_core::store::Error;
use agentry_core::{MicroUsd, Timestamp};
use async_trait::async_trait;
use tokio_postgres::Row;

use super::pool::Values;
use super::{PostgresStore, migrate};
use batch::Batch;

mod batch;
mod sql;

pub(super) const MIGRATIONS: migrate::List = migrate::List {
    name: "ledger",
    steps: &[
        include_str!("ledger/1.sql"),
        include_str!("ledger/2.sql"),
        include_str!("ledger/3.sql"),
    ],
};

/// Rows of one statement; the protocol takes more, but a batch is to be quick.
const ENTRIES_MAX: usize = 1_000;

#[async_trait]
impl Ledger for PostgresStore {
    async fn reserve_slice(&self, ask: Ask) -> Result<Grant, Error> {
        let SliceId { account, period, holder } = &ask.slice;
        // What is needed and wanted is never less than nothing.
        let (need, want) = (ask.need.0.max(0), ask.want.0.max(0));
        let row = self
            .pool
            .query_one(
                sql::RESERVE,
                &[
                    &account.as_ref(),
                    &period.to_string(),
                    &ask.cap.0,
                    &need,
                    &want,
                    &holder.instance.as_ref(),
                    &holder.life.as_ref(),
                    &ask.now.as_micros(),
                    &ask.expires.as_micros(),
                ],
            )
            .await?;
        Ok(Grant {
            granted: MicroUsd(row.get(0)),
            free: MicroUsd(row.get(1)),
            amount: MicroUsd(row.get(2)),
            spent: MicroUsd(row.get(3)),
            opened: Timestamp::from_micros(row.get(4)),
            version: row.get(5),
        })
    }

    async fn give_back(
        &self,
        slice: &SliceId,
        version: i64,
        amount: MicroUsd,
    ) -> Result<bool, Error> {
        let SliceId { account, period, holder } = slice;
        let (account, period) = (account.as_ref(), period.to_string());
        let (instance, life) = (holder.instance.as_ref(), holder.life.as_ref());
        let values: Values<'_> = &[&account, &period, &instance, &life, &version, &amount.0];
        Ok(self.pool.count(sql::GIVE_BACK, values).await? > 0)
    }

    async fn settle(&self, slice: &SliceId, version: i64) -> Result<bool, Error> {
        let SliceId { account, period, holder } = slice;
        let (account, period) = (account.as_ref(), period.to_string());
        let (instance, life) = (holder.instance.as_ref(), holder.life.as_ref());
        let values: Values<'_> = &[&account, &period, &instance, &life, &version];
        Ok(self.pool.count(sql::SETTLE, values).await? > 0)
    }

    async fn renew(&self, holder: &Holder, expires: Timestamp) -> Result<u64, Error> {
        let Holder { instance, life } = holder;
        let (instance, life, expires) = (instance.as_ref(), life.as_ref(), expires.as_micros());
        self.pool.count(sql::RENEW, &[&instance, &life, &expires]).await
    }

    async fn reclaim(&self, whose: Reclaim) -> Result<u64, Error> {
        match whose {
            Reclaim::Former(Holder { instance, life }) => {
                let (instance, life) = (instance.as_ref(), life.as_ref());
                self.pool.count(sql::RECLAIM_FORMER, &[&instance, &life]).await
            }
            Reclaim::Expired { now } => {
                self.pool.count(sql::RECLAIM_EXPIRED, &[&now.as_micros()]).await
            }
        }
    }

    async fn balance(&self, account: &str, period: Period) -> Result<Balance, Error> {
        let row = self.pool.query_one(sql::BALANCE, &[&account, &period.to_string()]).await?;
        let (committed, held): (i64, i64) = (row.get(0), row.get(1));
        Ok(Balance { spent: MicroUsd(committed - held), held: MicroUsd(held) })
    }

    async fn append_usage(&self, entries: Vec<Entry>) -> Result<(), Error> {
        // A record that is there twice in one statement would charge twice.
        let mut seen = HashSet::with_capacity(entries.len());
        let entries: Vec<Entry> =
            entries.into_iter().filter(|entry| seen.insert(entry.record.id)).collect();
        for entries in entries.chunks(ENTRIES_MAX) {
            let batch = Batch::of(entries);
            self.pool.query(sql::APPEND, &batch.values()).await?;
        }
        Ok(())
    }

    async fn append_reused(&self, tally: Tally) -> Result<(), Error> {
        let Tally { holder, number, reused } = tally;
        // In the order of the key: none waits for one that waits for it.
        let mut reused: Vec<_> = reused.iter().collect();
        reused.sort_by_key(|one| (one.day, &one.tenant, &one.key, &one.model));
        for reused in reused.chunks(ENTRIES_MAX) {
            let column = |text: fn(&Reused) -> &str| -> Vec<&str> {
                reused.iter().map(|one| text(one)).collect()
            };
            let days: Vec<i64> = reused.iter().map(|one| one.day).collect();
            let (tenants, keys) = (column(|one| &one.tenant), column(|one| &one.key));
            let models = column(|one| &one.model);
            let calls = reused.iter().map(|one| i64::try_from(one.calls).unwrap_or(i64::MAX));
            let calls: Vec<i64> = calls.collect();
            let saved: Vec<i64> = reused.iter().map(|one| one.saved.0).collect();
            let (instance, life) = (holder.instance.as_ref(), holder.life.as_ref());
            let values: Values<'_> =
                &[&days, &tenants, &keys, &models, &calls, &saved, &instance, &life, &number];
            self.pool.query(sql::COUNT, values).await?;
        }
        Ok(())
    }

    async fn report(&self, query: ReportQuery) -> Result<Report, Error> {
        let ReportQuery { tenant, key, user, team, session, run, model, from, to, rows_max } =
            &query;
        let (from, to) = (from.as_micros(), to.as_micros());
        let most = i64::try_from(*rows_max).unwrap_or(i64::MAX);
        let rows = self
            .pool
            .query(sql::REPORT, &[&from, &to, tenant, key, user, team, session, run, model, &most])
            .await?;
        let mut report = Report::default();
        for row in &rows {
            // The row of the totals belongs to no day.
            match row.get::<_, Option<i64>>(10) {
                None => report.totals = sums(row),
                Some(day) => report.rows.push(ReportRow {
                    day: ReportRow::day_name(day),
                    tenant: row.get(11),
                    key: row.get(12),
                    model: row.get(13),
                    sums: sums(row),
                }),
            }
        }
        Ok(report)
    }

    async fn spending(&self, query: ReportQuery, by: By) -> Result<Vec<Spent>, Error> {
        let ReportQuery { tenant, key, user, team, session, run, model, from, to, rows_max } =
            &query;
        let (from, to) = (from.as_micros(), to.as_micros());
        let (most, grouping) = (i64::try_from(*rows_max).unwrap_or(i64::MAX), by.as_str());
        let rows = self
            .pool
            .query(
                sql::SPENDING,
                &[&from, &to, tenant, key, user, team, session, run, model, &most, &grouping],
            )
            .await?;
        let group = |row: &Row| {
            let name: Option<String> = row.get(10);
            let name = match by {
                By::Day => name.and_then(|day| day.parse().ok()).map(ReportRow::day_name),
                _ => name,
            };
            Spent { name, sums: sums(row) }
        };
        Ok(rows.iter().map(group).collect())
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        let account = Scope::User { tenant, user }.to_string();
        self.pool.count(sql::FORGET_USER, &[&tenant, &user, &account]).await
    }
}

fn sums(row: &Row) -> Sums {
    let number = |column: usize| row.get::<_, i64>(column).unsigned_abs();
    Sums {
        calls: number(0),
        failed: number(1),
        from_cache: number(2),
        tokens: Tokens {
            input: number(3),
            cached: number(4),
            output: number(5),
            reasoning: number(6),
        },
        cost: MicroUsd(row.get(7)),
        estimated: MicroUsd(row.get(8)),
        saved: MicroUsd(row.get(9)),
    }
}
