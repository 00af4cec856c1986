//! Crons.

use agentry_core::Timestamp;
use agentry_core::crons::{
    Claim, Cron, Crons, Definition, Due, NewCron, Query, Replaced, Replacement, Search,
};
use agentry_core::listing::Window;
use agentry_core::store::Error;
use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio_postgres::Row;

use super::pool::Values;
use super::{PostgresStore, is_unknown, migrate};

mod sql;

pub(super) const MIGRATIONS: migrate::List =
    migrate::List { name: "crons", steps: &[include_str!("crons/1.sql")] };

/// So many rows are read at a time where all of them must be looked at.
const AT_ONCE: i64 = 100;

fn json(row: &Row, column: usize) -> Result<Map<String, Value>, Error> {
    let unreadable = |problem| Error::Incompatible(format!("crons: {problem}"));
    serde_json::from_str(row.get(column)).map_err(unreadable)
}

fn moment(row: &Row, column: usize) -> Option<Timestamp> {
    row.get::<_, Option<i64>>(column).map(Timestamp::from_micros)
}

fn read(row: &Row) -> Result<Cron, Error> {
    Ok(Cron {
        id: row.get(0),
        tenant: row.get(1),
        definition: Definition {
            assistant: row.get(2),
            thread: row.get(3),
            user: row.get(4),
            schedule: row.get(5),
            timezone: row.get(6),
            payload: json(row, 7)?,
            metadata: json(row, 8)?,
            end: moment(row, 9),
            enabled: row.get(10),
        },
        next: moment(row, 11),
        created: Timestamp::from_micros(row.get(12)),
        updated: Timestamp::from_micros(row.get(13)),
        revision: u64::try_from(row.get::<_, i64>(14)).unwrap_or(0),
    })
}

impl PostgresStore {
    async fn each_cron(
        &self,
        (tenant, query): (&str, &Query),
        mut found: impl FnMut(Cron) + Send,
    ) -> Result<(), Error> {
        if [&query.assistant, &query.thread].into_iter().flatten().any(|id| is_unknown(id)) {
            return Ok(());
        }
        let mut last = String::new();
        loop {
            let values: Values<'_> = &[&tenant, &last, &query.assistant, &query.thread, &AT_ONCE];
            let rows = self.pool.query(sql::AFTER, values).await?;
            for row in &rows {
                let cron = read(row)?;
                if query.matches(&cron) {
                    found(cron);
                }
            }
            match rows.last() {
                Some(row) if rows.len() as i64 == AT_ONCE => last = row.get(0),
                Some(_) | None => return Ok(()),
            }
        }
    }
}

#[async_trait]
impl Crons for PostgresStore {
    async fn create(&self, tenant: &str, new: NewCron) -> Result<Cron, Error> {
        let definition = &new.definition.definition;
        let (id, created) = (new.id(), new.created.as_micros());
        let end = definition.end.map(Timestamp::as_micros);
        let next = new.next.map(Timestamp::as_micros);
        let values: Values<'_> = &[
            &tenant,
            &id,
            &definition.assistant,
            &definition.thread,
            &definition.user,
            &definition.schedule,
            &definition.timezone,
            &new.definition.payload,
            &new.definition.metadata,
            &end,
            &definition.enabled,
            &next,
            &created,
        ];
        self.pool.query(sql::CREATE, values).await?;
        Ok(new.into_cron(tenant))
    }

    async fn cron(&self, tenant: &str, id: &str) -> Result<Option<Cron>, Error> {
        if is_unknown(id) {
            return Ok(None);
        }
        self.pool.query(sql::ONE, &[&tenant, &id]).await?.first().map(read).transpose()
    }

    async fn replace(
        &self,
        (tenant, id): (&str, &str),
        revision: u64,
        by: Replacement,
    ) -> Result<Replaced, Error> {
        if is_unknown(id) {
            return Ok(Replaced::NotFound);
        }
        let definition = &by.definition.definition;
        let end = definition.end.map(Timestamp::as_micros);
        let next = by.next.map(Timestamp::as_micros);
        // It grows by one and never gets there.
        let revision = i64::try_from(revision).unwrap_or(i64::MAX);
        let values: Values<'_> = &[
            &tenant,
            &id,
            &definition.assistant,
            &definition.thread,
            &definition.user,
            &definition.schedule,
            &definition.timezone,
            &by.definition.payload,
            &by.definition.metadata,
            &end,
            &definition.enabled,
            &next,
            &by.updated.as_micros(),
            &revision,
        ];
        let rows = self.pool.query(sql::REPLACE, values).await?;
        if let Some(row) = rows.first() {
            return Ok(Replaced::Done(Box::new(read(row)?)));
        }
        let known = self.cron(tenant, id).await?.is_some();
        Ok(if known { Replaced::Conflict } else { Replaced::NotFound })
    }

    async fn search(&self, tenant: &str, search: &Search) -> Result<Vec<Cron>, Error> {
        let mut window = Window::new(search.span, |left, right| search.compare(left, right));
        self.each_cron((tenant, &search.query), |cron| window.offer(cron)).await?;
        Ok(window.finish())
    }

    async fn count(&self, tenant: &str, query: &Query) -> Result<u64, Error> {
        let mut count = 0;
        self.each_cron((tenant, query), |_| count += 1).await?;
        Ok(count)
    }

    async fn delete(&self, tenant: &str, id: &str) -> Result<bool, Error> {
        Ok(!is_unknown(id) && !self.pool.query(sql::DELETE, &[&tenant, &id]).await?.is_empty())
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        if is_unknown(user) {
            return Ok(0);
        }
        self.pool.count(sql::FORGET_USER, &[&tenant, &user]).await
    }

    async fn due(&self, claim: Claim) -> Result<Vec<Due>, Error> {
        let Claim { now, lease_until, max } = claim;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let values: Values<'_> = &[&now.as_micros(), &lease_until.as_micros(), &max];
        let rows = self.pool.query(sql::DUE, values).await?;
        let mut due = Vec::with_capacity(rows.len());
        for row in &rows {
            let cron = read(row)?;
            due.extend(cron.next.map(|occurrence| Due { cron, occurrence }));
        }
        let age = |due: &Due| (due.occurrence, due.cron.tenant.clone(), due.cron.id.clone());
        due.sort_by_cached_key(age);
        Ok(due)
    }

    async fn advance(&self, due: &Due, next: Option<Timestamp>) -> Result<bool, Error> {
        let (occurrence, next) = (due.occurrence.as_micros(), next.map(Timestamp::as_micros));
        let values: Values<'_> = &[&due.cron.tenant, &due.cron.id, &occurrence, &next];
        Ok(!self.pool.query(sql::ADVANCE, values).await?.is_empty())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        let row = self.pool.query_one(sql::NEXT_DUE, &[]).await?;
        Ok(moment(&row, 0))
    }
}
