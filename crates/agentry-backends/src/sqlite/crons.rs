//! Crons.

use agentry_core::Timestamp;
use agentry_core::crons::{
    Claim, Cron, Crons, Definition, Due, NewCron, Query, Replaced, Replacement, Search,
};
use agentry_core::listing::Window;
use agentry_core::store::Error;
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};

use super::command::{Command, Outcome, signed};
use super::read::{moment, optional_moment, parse, unsigned};
use super::{SqliteStore, limit, mismatch};

#[derive(Debug)]
pub(super) enum Timing {
    Create { tenant: String, new: Box<NewCron> },
    Replace { of: (String, String), revision: u64, by: Box<Replacement> },
    Delete { of: (String, String) },
    ForgetUser { tenant: String, user: String },
    Due(Claim),
    Advance { of: (String, String), occurrence: Timestamp, next: Option<Timestamp> },
}

/// One kind for each kind of command.
#[derive(Debug)]
pub(super) enum Timed {
    Changed(u64),
    Replaced(Replaced),
    Due(Vec<Due>),
}

impl Timing {
    /// Roughly what it adds to a transaction.
    pub(super) fn bytes(&self) -> usize {
        const ROW: usize = 512;
        match self {
            Self::Create { tenant: _, new } => {
                ROW + new.definition.payload.len() + new.definition.metadata.len()
            }
            Self::Replace { by, .. } => {
                ROW + by.definition.payload.len() + by.definition.metadata.len()
            }
            Self::Due(claim) => ROW * claim.max,
            Self::Delete { .. } | Self::ForgetUser { .. } | Self::Advance { .. } => ROW,
        }
    }

    pub(super) fn apply(&self, connection: &Connection) -> Result<Timed> {
        let changed = match self {
            Self::Due(claim) => return due(connection, *claim).map(Timed::Due),
            Self::Replace { of: (tenant, id), revision, by } => {
                let replaced = replace(connection, (tenant, id), (*revision, by));
                return replaced.map(Timed::Replaced);
            }
            Self::Create { tenant, new } => create(connection, tenant, new)?,
            Self::Delete { of: (tenant, id) } => connection
                .prepare_cached("DELETE FROM crons WHERE tenant = ?1 AND id = ?2")?
                .execute([tenant, id])?,
            Self::ForgetUser { tenant, user } => connection
                .prepare_cached(r#"DELETE FROM crons WHERE tenant = ?1 AND "user" = ?2"#)?
                .execute([tenant, user])?,
            Self::Advance { of: (tenant, id), occurrence, next } => connection
                .prepare_cached(
                    "UPDATE crons SET next = ?4, held_until = NULL, revision = revision + 1
                     WHERE tenant = ?1 AND id = ?2 AND next = ?3",
                )?
                .execute(params![
                    tenant,
                    id,
                    occurrence.as_micros(),
                    next.map(Timestamp::as_micros)
                ])?,
        };
        Ok(Timed::Changed(changed as u64))
    }
}

fn create(connection: &Connection, tenant: &str, new: &NewCron) -> Result<usize> {
    let definition = &new.definition.definition;
    connection
        .prepare_cached(
            r#"INSERT INTO crons (tenant, id, assistant, thread, "user", schedule, timezone, payload,
                 metadata, end_at, enabled, next, created, updated)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13)"#,
        )?
        .execute(params![
            tenant,
            new.id(),
            definition.assistant,
            definition.thread,
            definition.user,
            definition.schedule,
            definition.timezone,
            new.definition.payload,
            new.definition.metadata,
            definition.end.map(Timestamp::as_micros),
            definition.enabled,
            new.next.map(Timestamp::as_micros),
            new.created.as_micros()
        ])
}

fn replace(
    connection: &Connection,
    (tenant, id): (&str, &str),
    (revision, by): (u64, &Replacement),
) -> Result<Replaced> {
    let definition = &by.definition.definition;
    let replaced = connection
        .prepare_cached(
            r#"UPDATE crons SET assistant = ?4, thread = ?5, "user" = ?6, schedule = ?7,
                 timezone = ?8, payload = ?9, metadata = ?10, end_at = ?11, enabled = ?12,
                 held_until = CASE WHEN next IS ?13 THEN held_until END, next = ?13, updated = ?14,
                 revision = revision + 1
               WHERE tenant = ?1 AND id = ?2 AND revision = ?3"#,
        )?
        .execute(params![
            tenant,
            id,
            signed(revision),
            definition.assistant,
            definition.thread,
            definition.user,
            definition.schedule,
            definition.timezone,
            by.definition.payload,
            by.definition.metadata,
            definition.end.map(Timestamp::as_micros),
            definition.enabled,
            by.next.map(Timestamp::as_micros),
            by.updated.as_micros()
        ])?;
    Ok(match one(connection, tenant, id)? {
        None => Replaced::NotFound,
        Some(_) if replaced == 0 => Replaced::Conflict,
        Some(cron) => Replaced::Done(Box::new(cron)),
    })
}

fn due(connection: &Connection, claim: Claim) -> Result<Vec<Due>> {
    let Claim { now, lease_until, max } = claim;
    connection
        .prepare_cached(
            "UPDATE crons SET next = NULL, revision = revision + 1
             WHERE next <= ?1 AND end_at <= ?1",
        )?
        .execute([now.as_micros()])?;
    let mut find = connection.prepare_cached(FREE)?;
    let free = find.query_map(params![now.as_micros(), limit(max)], read)?;
    let free = free.collect::<Result<Vec<_>>>()?;
    let mut hold = connection
        .prepare_cached("UPDATE crons SET held_until = ?3 WHERE tenant = ?1 AND id = ?2")?;
    let mut due = Vec::with_capacity(free.len());
    for cron in free {
        hold.execute(params![cron.tenant, cron.id, lease_until.as_micros()])?;
        due.extend(cron.next.map(|occurrence| Due { cron, occurrence }));
    }
    Ok(due)
}

const ONE: &str = r#"
SELECT id, tenant, assistant, thread, "user", schedule, timezone, payload, metadata, end_at,
  enabled, next, created, updated, revision
FROM crons WHERE tenant = ?1 AND id = ?2"#;

const ALL: &str = r#"
SELECT id, tenant, assistant, thread, "user", schedule, timezone, payload, metadata, end_at,
  enabled, next, created, updated, revision
FROM crons WHERE tenant = ?1 AND (?2 IS NULL OR assistant = ?2) AND (?3 IS NULL OR thread = ?3)"#;

const FREE: &str = r#"
SELECT id, tenant, assistant, thread, "user", schedule, timezone, payload, metadata, end_at,
  enabled, next, created, updated, revision
FROM crons WHERE next <= ?1 AND (held_until IS NULL OR held_until <= ?1)
ORDER BY next, tenant, id LIMIT ?2"#;

fn read(row: &Row<'_>) -> Result<Cron> {
    Ok(Cron {
        id: row.get(0)?,
        tenant: row.get(1)?,
        definition: Definition {
            assistant: row.get(2)?,
            thread: row.get(3)?,
            user: row.get(4)?,
            schedule: row.get(5)?,
            timezone: row.get(6)?,
            payload: parse(row, 7)?,
            metadata: parse(row, 8)?,
            end: optional_moment(row, 9)?,
            enabled: row.get(10)?,
        },
        next: optional_moment(row, 11)?,
        created: moment(row, 12)?,
        updated: moment(row, 13)?,
        revision: unsigned(row, 14)?,
    })
}

fn one(connection: &Connection, tenant: &str, id: &str) -> Result<Option<Cron>> {
    connection.prepare_cached(ONE)?.query_row([tenant, id], read).optional()
}

fn each(
    connection: &Connection,
    (tenant, query): (&str, &Query),
    mut found: impl FnMut(Cron),
) -> Result<()> {
    let mut find = connection.prepare_cached(ALL)?;
    for cron in find.query_map(params![tenant, query.assistant, query.thread], read)? {
        Some(cron?).filter(|cron| query.matches(cron)).into_iter().for_each(&mut found);
    }
    Ok(())
}

impl SqliteStore {
    async fn time(&self, timing: Timing) -> std::result::Result<Timed, Error> {
        let Outcome::Timed(timed) = self.call(Command::Timing(timing)).await? else {
            return Err(mismatch());
        };
        Ok(timed)
    }

    async fn cron_changes(&self, timing: Timing) -> std::result::Result<u64, Error> {
        let Timed::Changed(changed) = self.time(timing).await? else { return Err(mismatch()) };
        Ok(changed)
    }
}

fn owned((tenant, id): (&str, &str)) -> (String, String) {
    (tenant.to_owned(), id.to_owned())
}

#[async_trait]
impl Crons for SqliteStore {
    async fn create(&self, tenant: &str, new: NewCron) -> std::result::Result<Cron, Error> {
        let create = Timing::Create { tenant: tenant.to_owned(), new: Box::new(new.clone()) };
        self.cron_changes(create).await?;
        Ok(new.into_cron(tenant))
    }

    async fn cron(&self, tenant: &str, id: &str) -> std::result::Result<Option<Cron>, Error> {
        let (tenant, id) = owned((tenant, id));
        self.readers.ask(move |connection| one(connection, &tenant, &id)).await
    }

    async fn replace(
        &self,
        of: (&str, &str),
        revision: u64,
        by: Replacement,
    ) -> std::result::Result<Replaced, Error> {
        let replace = Timing::Replace { of: owned(of), revision, by: Box::new(by) };
        let Timed::Replaced(replaced) = self.time(replace).await? else { return Err(mismatch()) };
        Ok(replaced)
    }

    async fn search(&self, tenant: &str, search: &Search) -> std::result::Result<Vec<Cron>, Error> {
        let (tenant, search) = (tenant.to_owned(), search.clone());
        let ask = move |connection: &Connection| {
            let mut window = Window::new(search.span, |left, right| search.compare(left, right));
            each(connection, (&tenant, &search.query), |cron| window.offer(cron))?;
            Ok(window.finish())
        };
        self.readers.ask(ask).await
    }

    async fn count(&self, tenant: &str, query: &Query) -> std::result::Result<u64, Error> {
        let (tenant, query) = (tenant.to_owned(), query.clone());
        let ask = move |connection: &Connection| {
            let mut count = 0;
            each(connection, (&tenant, &query), |_| count += 1)?;
            Ok(count)
        };
        self.readers.ask(ask).await
    }

    async fn delete(&self, tenant: &str, id: &str) -> std::result::Result<bool, Error> {
        Ok(self.cron_changes(Timing::Delete { of: owned((tenant, id)) }).await? > 0)
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> std::result::Result<u64, Error> {
        let (tenant, user) = owned((tenant, user));
        self.cron_changes(Timing::ForgetUser { tenant, user }).await
    }

    async fn due(&self, claim: Claim) -> std::result::Result<Vec<Due>, Error> {
        let Timed::Due(due) = self.time(Timing::Due(claim)).await? else {
            return Err(mismatch());
        };
        Ok(due)
    }

    async fn advance(
        &self,
        due: &Due,
        next: Option<Timestamp>,
    ) -> std::result::Result<bool, Error> {
        let (of, occurrence) = (owned((&due.cron.tenant, &due.cron.id)), due.occurrence);
        Ok(self.cron_changes(Timing::Advance { of, occurrence, next }).await? > 0)
    }

    async fn next_due(&self) -> std::result::Result<Option<Timestamp>, Error> {
        let ask = |connection: &Connection| {
            let sql = "SELECT min(max(next, coalesce(held_until, next))) FROM crons
                       WHERE next IS NOT NULL";
            connection.prepare_cached(sql)?.query_row([], |row| optional_moment(row, 0))
        };
        self.readers.ask(ask).await
    }
}
