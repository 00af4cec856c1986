//! Accounts, slices and usage, written by the same thread and in the same transactions as runs.

use agentry_core::ledger::{
    Ask, Balance, By, Entry, Grant, Holder, Ledger, Period, Reclaim, Report, ReportQuery, Reused,
    Scope, SliceId, Spent, Tally, UsageRecord,
};
use agentry_core::store::Error;
use agentry_core::{MicroUsd, Timestamp};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Result, params};

use super::command::{Command, Outcome, signed};
use super::{SqliteStore, mismatch};

mod report;

#[derive(Debug)]
pub(super) enum Bookkeeping {
    Reserve(Ask),
    GiveBack { slice: SliceId, version: i64, amount: i64 },
    Settle { slice: SliceId, version: i64 },
    Renew { holder: Holder, expires: Timestamp },
    Reclaim(Reclaim),
    Append(Vec<Entry>),
    Count(Tally),
    Forget { tenant: String, user: String },
}

/// One kind for each kind of command.
#[derive(Debug)]
pub(super) enum Booked {
    Granted(Grant),
    GivenBack(bool),
    Changed(u64),
    Stored,
}

impl Bookkeeping {
    /// Roughly what it adds to a transaction.
    pub(super) fn bytes(&self) -> usize {
        const ROW: usize = 128;
        match self {
            Self::Append(entries) => {
                entries.iter().map(|entry| (4 + entry.charges.len()) * ROW).sum()
            }
            Self::Count(tally) => tally.reused.len() * ROW,
            Self::Reserve(_)
            | Self::GiveBack { .. }
            | Self::Settle { .. }
            | Self::Renew { .. }
            | Self::Reclaim(_)
            | Self::Forget { .. } => ROW,
        }
    }

    pub(super) fn apply(&self, connection: &Connection) -> Result<Booked> {
        let books = Books { connection };
        match self {
            Self::Reserve(ask) => books.reserve(ask).map(Booked::Granted),
            Self::GiveBack { slice, version, amount } => {
                books.give_back(slice, *version, *amount).map(Booked::GivenBack)
            }
            Self::Settle { slice, version } => books.settle(slice, *version).map(Booked::Changed),
            Self::Renew { holder, expires } => books.renew(holder, *expires).map(Booked::Changed),
            Self::Reclaim(whose) => books.reclaim(whose).map(Booked::Changed),
            Self::Append(entries) => books.append(entries),
            Self::Count(tally) => books.count(tally),
            Self::Forget { tenant, user } => books.forget(tenant, user).map(Booked::Changed),
        }
    }
}

struct Books<'a> {
    connection: &'a Connection,
}

impl Books<'_> {
    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize> {
        self.connection.prepare_cached(sql)?.execute(values)
    }

    fn reserve(&self, ask: &Ask) -> Result<Grant> {
        let SliceId { account, period, holder } = &ask.slice;
        let period = period.to_string();
        let free = ask.cap.0.saturating_sub(committed(self.connection, account, &period)?);
        let granted = ask.share_of(MicroUsd(free)).0;
        self.execute(
            "INSERT INTO accounts (account, period, outstanding) VALUES (?1, ?2, ?3)
             ON CONFLICT (account, period) DO UPDATE
               SET outstanding = outstanding + excluded.outstanding",
            params![account, period, granted],
        )?;
        let mut slice = self.connection.prepare_cached(
            "INSERT INTO slices (account, period, instance, life, amount, opened, expires, version)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?6)
             ON CONFLICT (account, period, instance, life) DO UPDATE
               SET amount = amount + excluded.amount, version = version + 1,
                   expires = max(expires, excluded.expires)
             RETURNING amount, spent, opened, version",
        )?;
        let (now, expires) = (ask.now.as_micros(), ask.expires.as_micros());
        slice.query_row(
            params![account, period, holder.instance, holder.life, granted, now, expires],
            |row| {
                Ok(Grant {
                    granted: MicroUsd(granted),
                    amount: MicroUsd(row.get(0)?),
                    spent: MicroUsd(row.get(1)?),
                    opened: Timestamp::from_micros(row.get(2)?),
                    version: row.get(3)?,
                    free: MicroUsd(free - granted),
                })
            },
        )
    }

    fn give_back(&self, slice: &SliceId, version: i64, amount: i64) -> Result<bool> {
        let SliceId { account, period, holder } = slice;
        let period = period.to_string();
        let given = self.execute(
            "UPDATE slices SET amount = amount - ?5
             WHERE account = ?1 AND period = ?2 AND instance = ?3 AND life = ?4
               AND version = ?6 AND ?5 >= 0 AND amount - spent >= ?5",
            params![account, period, holder.instance, holder.life, amount, version],
        )? > 0;
        if given {
            self.settled(account, &period, (0, -amount))?;
        }
        Ok(given)
    }

    /// Adds to what is settled and what is outstanding.
    fn settled(&self, account: &str, period: &str, (spent, held): (i64, i64)) -> Result<()> {
        self.execute(
            "INSERT INTO accounts (account, period, settled, outstanding) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (account, period) DO UPDATE
               SET settled = settled + excluded.settled,
                   outstanding = outstanding + excluded.outstanding",
            params![account, period, spent, held],
        )?;
        Ok(())
    }

    fn settle(&self, slice: &SliceId, version: i64) -> Result<u64> {
        let SliceId { account, period, holder } = slice;
        let sql = "SELECT slice FROM slices
                   WHERE account = ?1 AND period = ?2 AND instance = ?3 AND life = ?4
                     AND version = ?5";
        let values = params![account, period.to_string(), holder.instance, holder.life, version];
        let number = self.connection.prepare_cached(sql)?.query_row(values, |row| row.get(0));
        let Some(number) = number.optional()? else { return Ok(0) };
        self.end(number)?;
        Ok(1)
    }

    fn end(&self, number: i64) -> Result<()> {
        let sql = "DELETE FROM slices WHERE slice = ?1 RETURNING account, period, spent, amount";
        let (account, period, spent, amount): (String, String, i64, i64) = self
            .connection
            .prepare_cached(sql)?
            .query_row([number], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        self.settled(&account, &period, (spent, -amount))
    }

    fn renew(&self, holder: &Holder, expires: Timestamp) -> Result<u64> {
        let renewed = self.execute(
            "UPDATE slices SET expires = max(expires, ?3) WHERE instance = ?1 AND life = ?2",
            params![holder.instance, holder.life, expires.as_micros()],
        )?;
        Ok(renewed as u64)
    }

    fn reclaim(&self, whose: &Reclaim) -> Result<u64> {
        let numbers: Vec<i64> = match whose {
            Reclaim::Former(Holder { instance, life }) => {
                let sql = "SELECT slice FROM slices WHERE instance = ?1 AND life <> ?2";
                let mut find = self.connection.prepare_cached(sql)?;
                find.query_map(params![instance, life], |row| row.get(0))?.collect::<Result<_>>()?
            }
            Reclaim::Expired { now } => {
                let sql = "SELECT slice FROM slices WHERE expires <= ?1";
                let mut find = self.connection.prepare_cached(sql)?;
                find.query_map([now.as_micros()], |row| row.get(0))?.collect::<Result<_>>()?
            }
        };
        for &number in &numbers {
            self.end(number)?;
        }
        Ok(numbers.len() as u64)
    }

    fn append(&self, entries: &[Entry]) -> Result<Booked> {
        for Entry { record, charges } in entries {
            if !self.record(record)? {
                continue;
            }
            for charge in charges {
                self.charge(&charge.slice, charge.amount.0)?;
            }
        }
        Ok(Booked::Stored)
    }

    fn count(&self, tally: &Tally) -> Result<Booked> {
        let Tally { holder, number, reused } = tally;
        for Reused { day, tenant, key, model, calls, saved } in reused {
            self.execute(
                "INSERT INTO reused (day, tenant, key, model, instance, life, number, calls, saved)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT (day, tenant, key, model, instance, life) DO UPDATE
                   SET number = excluded.number, calls = calls + excluded.calls,
                       saved = saved + excluded.saved
                   WHERE number < excluded.number",
                params![
                    day,
                    tenant,
                    key,
                    model,
                    holder.instance,
                    holder.life,
                    number,
                    signed(*calls),
                    saved.0
                ],
            )?;
        }
        Ok(Booked::Stored)
    }

    /// Says whether it is a new one.
    fn record(&self, record: &UsageRecord) -> Result<bool> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO usage (id, at, call_id, tenant, key, \"user\", team, session, run, model,
               target, status, input_tokens, cached_tokens, output_tokens, reasoning_tokens, cost,
               latency, first_token, cache, attempts, estimated)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
               ?18, ?19, ?20, ?21, ?22)
             ON CONFLICT (id) DO NOTHING",
        )?;
        let inserted = insert.execute(params![
            record.id.as_bytes(),
            record.at.as_micros(),
            record.call_id,
            record.tenant,
            record.key,
            record.user,
            record.team,
            record.session,
            record.run,
            record.model,
            record.target,
            record.status,
            signed(record.tokens.input),
            signed(record.tokens.cached),
            signed(record.tokens.output),
            signed(record.tokens.reasoning),
            record.cost.0,
            signed(record.latency.as_micros().try_into().unwrap_or(u64::MAX)),
            record.first_token.map(|it| signed(it.as_micros().try_into().unwrap_or(u64::MAX))),
            record.cache.as_str(),
            record.attempts,
            record.estimated.0,
        ])?;
        Ok(inserted > 0)
    }

    fn charge(&self, slice: &SliceId, amount: i64) -> Result<()> {
        let SliceId { account, period, holder } = slice;
        let period = period.to_string();
        let find = "SELECT slice, amount, spent FROM slices
                    WHERE account = ?1 AND period = ?2 AND instance = ?3 AND life = ?4";
        let values = params![account, period, holder.instance, holder.life];
        let open: Option<(i64, i64, i64)> = self
            .connection
            .prepare_cached(find)?
            .query_row(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((number, granted, spent)) = open else {
            return self.settled(account, &period, (amount, 0));
        };
        let spent = spent + amount;
        // More than was granted is taken from everybody.
        let over = (spent - granted).max(0);
        self.execute(
            "UPDATE slices SET spent = ?2, amount = amount + ?3 WHERE slice = ?1",
            params![number, spent, over],
        )?;
        if over > 0 {
            self.settled(account, &period, (0, over))?;
        }
        Ok(())
    }

    fn forget(&self, tenant: &str, user: &str) -> Result<u64> {
        let account = Scope::User { tenant, user }.to_string();
        self.execute("DELETE FROM slices WHERE account = ?1", [&account])?;
        self.execute("DELETE FROM accounts WHERE account = ?1", [&account])?;
        let forgotten = self.execute(
            "UPDATE usage SET \"user\" = NULL, session = NULL WHERE tenant = ?1 AND \"user\" = ?2",
            params![tenant, user],
        )?;
        Ok(forgotten as u64)
    }
}

fn committed(connection: &Connection, account: &str, period: &str) -> Result<i64> {
    let sql = "SELECT settled + outstanding FROM accounts WHERE account = ?1 AND period = ?2";
    let found = connection.prepare_cached(sql)?.query_row([account, period], |row| row.get(0));
    Ok(found.optional()?.unwrap_or(0))
}

fn balance(connection: &Connection, account: &str, period: &str) -> Result<Balance> {
    let committed = committed(connection, account, period)?;
    let sql = "SELECT coalesce(sum(amount - spent), 0) FROM slices
               WHERE account = ?1 AND period = ?2";
    let held: i64 =
        connection.prepare_cached(sql)?.query_row([account, period], |row| row.get(0))?;
    Ok(Balance { spent: MicroUsd(committed - held), held: MicroUsd(held) })
}

impl SqliteStore {
    async fn book(&self, bookkeeping: Bookkeeping) -> std::result::Result<Booked, Error> {
        let Outcome::Booked(booked) = self.call(Command::Bookkeeping(bookkeeping)).await? else {
            return Err(mismatch());
        };
        Ok(booked)
    }

    async fn book_changes(&self, bookkeeping: Bookkeeping) -> std::result::Result<u64, Error> {
        let Booked::Changed(changed) = self.book(bookkeeping).await? else {
            return Err(mismatch());
        };
        Ok(changed)
    }
}

#[async_trait]
impl Ledger for SqliteStore {
    async fn reserve_slice(&self, ask: Ask) -> std::result::Result<Grant, Error> {
        let Booked::Granted(grant) = self.book(Bookkeeping::Reserve(ask)).await? else {
            return Err(mismatch());
        };
        Ok(grant)
    }

    async fn give_back(
        &self,
        slice: &SliceId,
        version: i64,
        amount: MicroUsd,
    ) -> std::result::Result<bool, Error> {
        let slice = slice.clone();
        let given = Bookkeeping::GiveBack { slice, version, amount: amount.0 };
        let Booked::GivenBack(given) = self.book(given).await? else { return Err(mismatch()) };
        Ok(given)
    }

    async fn settle(&self, slice: &SliceId, version: i64) -> std::result::Result<bool, Error> {
        Ok(self.book_changes(Bookkeeping::Settle { slice: slice.clone(), version }).await? > 0)
    }

    async fn renew(&self, holder: &Holder, expires: Timestamp) -> std::result::Result<u64, Error> {
        self.book_changes(Bookkeeping::Renew { holder: holder.clone(), expires }).await
    }

    async fn reclaim(&self, whose: Reclaim) -> std::result::Result<u64, Error> {
        self.book_changes(Bookkeeping::Reclaim(whose)).await
    }

    async fn balance(&self, account: &str, period: Period) -> std::result::Result<Balance, Error> {
        let (account, period) = (account.to_owned(), period.to_string());
        self.readers.ask(move |connection| balance(connection, &account, &period)).await
    }

    async fn append_usage(&self, entries: Vec<Entry>) -> std::result::Result<(), Error> {
        self.book(Bookkeeping::Append(entries)).await.map(drop)
    }

    async fn append_reused(&self, tally: Tally) -> std::result::Result<(), Error> {
        self.book(Bookkeeping::Count(tally)).await.map(drop)
    }

    async fn report(&self, query: ReportQuery) -> std::result::Result<Report, Error> {
        self.readers.ask(move |connection| report::report(connection, &query)).await
    }

    async fn spending(&self, query: ReportQuery, by: By) -> std::result::Result<Vec<Spent>, Error> {
        self.readers.ask(move |connection| report::spending(connection, &query, by)).await
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> std::result::Result<u64, Error> {
        let (tenant, user) = (tenant.to_owned(), user.to_owned());
        self.book_changes(Bookkeeping::Forget { tenant, user }).await
    }
}
