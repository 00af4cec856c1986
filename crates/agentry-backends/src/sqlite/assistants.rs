//! Assistants and their versions.

use agentry_core::Timestamp;
use agentry_core::assistants::{
    Added, Assistant, Assistants, Checked, Created, Definition, NewAssistant, Query, Search,
};
use agentry_core::listing::{Span, Window, contains};
use agentry_core::store::Error;
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};
use serde_json::{Map, Value};

use super::command::{Command, Outcome};
use super::read::{moment, parse};
use super::{SqliteStore, mismatch};

#[derive(Debug)]
pub(super) enum Staffing {
    Create { tenant: String, new: Box<NewAssistant> },
    AddVersion { of: (String, String), from: u32, definition: Box<Checked>, now: Timestamp },
    SetLatest { of: (String, String), version: u32, now: Timestamp },
    Delete { of: (String, String) },
}

/// One kind for each kind of command.
#[derive(Debug)]
pub(super) enum Staffed {
    Created(Box<Created>),
    Added(Added),
    Latest(Option<Box<Assistant>>),
    Deleted(bool),
}

impl Staffing {
    /// Roughly what it adds to a transaction.
    pub(super) fn bytes(&self) -> usize {
        const ROW: usize = 512;
        let definition = |checked: &Checked| {
            checked.config.len() + checked.context.len() + checked.metadata.len()
        };
        match self {
            Self::Create { tenant: _, new } => ROW + definition(&new.definition),
            Self::AddVersion { definition: it, .. } => ROW + definition(it),
            Self::SetLatest { .. } | Self::Delete { .. } => ROW,
        }
    }

    pub(super) fn apply(&self, connection: &Connection) -> Result<Staffed> {
        match self {
            Self::Create { tenant, new } => {
                create(connection, tenant, new).map(|created| Staffed::Created(Box::new(created)))
            }
            Self::AddVersion { of: (tenant, id), from, definition, now } => {
                add_version(connection, (tenant, id), (*from, definition), *now).map(Staffed::Added)
            }
            Self::SetLatest { of: (tenant, id), version, now } => {
                let set = connection
                    .prepare_cached(
                        "UPDATE assistants SET version = ?3, updated = ?4
                         WHERE tenant = ?1 AND id = ?2 AND ?3 BETWEEN 1 AND newest",
                    )?
                    .execute(params![tenant, id, version, now.as_micros()])?;
                let latest = if set == 0 { None } else { one(connection, tenant, id)? };
                Ok(Staffed::Latest(latest.map(Box::new)))
            }
            Self::Delete { of: (tenant, id) } => {
                connection
                    .prepare_cached(
                        "DELETE FROM assistant_versions WHERE assistant =
                           (SELECT assistant FROM assistants WHERE tenant = ?1 AND id = ?2)",
                    )?
                    .execute([tenant, id])?;
                let deleted = connection
                    .prepare_cached("DELETE FROM assistants WHERE tenant = ?1 AND id = ?2")?
                    .execute([tenant, id])?;
                Ok(Staffed::Deleted(deleted > 0))
            }
        }
    }
}

fn create(connection: &Connection, tenant: &str, new: &NewAssistant) -> Result<Created> {
    if let Some(known) = one(connection, tenant, new.id())? {
        return Ok(Created::Existing(known));
    }
    let created = new.created;
    connection
        .prepare_cached(
            "INSERT INTO assistants (tenant, id, version, newest, created, updated)
             VALUES (?1, ?2, 1, 1, ?3, ?3)",
        )?
        .execute(params![tenant, new.id(), created.as_micros()])?;
    let row = connection.last_insert_rowid();
    insert(connection, (row, 1), &new.definition, created)?;
    Ok(Created::New(Assistant {
        id: new.id().to_owned(),
        version: 1,
        definition: new.definition.definition.clone(),
        created,
        updated: created,
    }))
}

fn add_version(
    connection: &Connection,
    (tenant, id): (&str, &str),
    (from, definition): (u32, &Checked),
    now: Timestamp,
) -> Result<Added> {
    let moved = connection
        .prepare_cached(
            "UPDATE assistants SET version = newest + 1, newest = newest + 1, updated = ?4
             WHERE tenant = ?1 AND id = ?2 AND version = ?3 RETURNING assistant, newest, created",
        )?
        .query_row(params![tenant, id, from, now.as_micros()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, moment(row, 2)?))
        })
        .optional()?;
    let Some((row, version, created)) = moved else {
        let known = one(connection, tenant, id)?.is_some();
        return Ok(if known { Added::Conflict } else { Added::NotFound });
    };
    insert(connection, (row, version), definition, now)?;
    Ok(Added::Done(Box::new(Assistant {
        id: id.to_owned(),
        version,
        definition: definition.definition.clone(),
        created,
        updated: now,
    })))
}

fn insert(
    connection: &Connection,
    (row, version): (i64, u32),
    checked: &Checked,
    now: Timestamp,
) -> Result<()> {
    let Checked { definition, config, context, metadata } = checked;
    let Definition { graph, name, description, .. } = definition;
    connection
        .prepare_cached(
            "INSERT INTO assistant_versions (assistant, version, graph, name, description, config,
               context, metadata, created)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            row,
            version,
            graph,
            name,
            description,
            config,
            context,
            metadata,
            now.as_micros()
        ])
        .map(drop)
}

const ONE: &str = "
SELECT a.id, a.version, graph, name, description, config, context, metadata, a.created, a.updated
FROM assistants a JOIN assistant_versions v ON v.assistant = a.assistant AND v.version = a.version
WHERE tenant = ?1 AND id = ?2";

const ALL: &str = "
SELECT a.id, a.version, graph, name, description, config, context, metadata, a.created, a.updated
FROM assistants a JOIN assistant_versions v ON v.assistant = a.assistant AND v.version = a.version
WHERE tenant = ?1 AND (?2 IS NULL OR graph = ?2)";

const VERSIONS: &str = "
SELECT a.id, v.version, graph, name, description, config, context, metadata, v.created, v.created
FROM assistants a JOIN assistant_versions v ON v.assistant = a.assistant
WHERE tenant = ?1 AND id = ?2 ORDER BY v.version DESC";

fn read(row: &Row<'_>) -> Result<Assistant> {
    Ok(Assistant {
        id: row.get(0)?,
        version: row.get(1)?,
        definition: Definition {
            graph: row.get(2)?,
            name: row.get(3)?,
            description: row.get(4)?,
            config: parse(row, 5)?,
            context: parse(row, 6)?,
            metadata: parse(row, 7)?,
        },
        created: moment(row, 8)?,
        updated: moment(row, 9)?,
    })
}

fn one(connection: &Connection, tenant: &str, id: &str) -> Result<Option<Assistant>> {
    connection.prepare_cached(ONE)?.query_row([tenant, id], read).optional()
}

fn each(
    connection: &Connection,
    (tenant, query): (&str, &Query),
    mut found: impl FnMut(Assistant),
) -> Result<()> {
    let mut find = connection.prepare_cached(ALL)?;
    for assistant in find.query_map(params![tenant, query.graph], read)? {
        Some(assistant?)
            .filter(|assistant| query.matches(assistant))
            .into_iter()
            .for_each(&mut found);
    }
    Ok(())
}

impl SqliteStore {
    async fn staff(&self, staffing: Staffing) -> std::result::Result<Staffed, Error> {
        let Outcome::Staffed(staffed) = self.call(Command::Staffing(staffing)).await? else {
            return Err(mismatch());
        };
        Ok(staffed)
    }
}

fn owned((tenant, id): (&str, &str)) -> (String, String) {
    (tenant.to_owned(), id.to_owned())
}

#[async_trait]
impl Assistants for SqliteStore {
    async fn create(&self, tenant: &str, new: NewAssistant) -> std::result::Result<Created, Error> {
        let create = Staffing::Create { tenant: tenant.to_owned(), new: Box::new(new) };
        let Staffed::Created(created) = self.staff(create).await? else { return Err(mismatch()) };
        Ok(*created)
    }

    async fn assistant(
        &self,
        tenant: &str,
        id: &str,
    ) -> std::result::Result<Option<Assistant>, Error> {
        let (tenant, id) = owned((tenant, id));
        self.readers.ask(move |connection| one(connection, &tenant, &id)).await
    }

    async fn add_version(
        &self,
        of: (&str, &str),
        from: u32,
        definition: Checked,
        now: Timestamp,
    ) -> std::result::Result<Added, Error> {
        let definition = Box::new(definition);
        let add = Staffing::AddVersion { of: owned(of), from, definition, now };
        let Staffed::Added(added) = self.staff(add).await? else { return Err(mismatch()) };
        Ok(added)
    }

    async fn set_latest(
        &self,
        of: (&str, &str),
        version: u32,
        now: Timestamp,
    ) -> std::result::Result<Option<Assistant>, Error> {
        let set = Staffing::SetLatest { of: owned(of), version, now };
        let Staffed::Latest(latest) = self.staff(set).await? else { return Err(mismatch()) };
        Ok(latest.map(|assistant| *assistant))
    }

    async fn versions(
        &self,
        of: (&str, &str),
        metadata: &Map<String, Value>,
        span: Span,
    ) -> std::result::Result<Vec<Assistant>, Error> {
        let ((tenant, id), metadata) = (owned(of), metadata.clone());
        let ask = move |connection: &Connection| {
            let mut find = connection.prepare_cached(VERSIONS)?;
            let all = find.query_map([tenant, id], read)?;
            let wanted = |version: &Result<Assistant>| {
                version.as_ref().map_or(true, |it| contains(&it.definition.metadata, &metadata))
            };
            all.filter(wanted).skip(span.offset()).take(span.limit()).collect()
        };
        self.readers.ask(ask).await
    }

    async fn search(
        &self,
        tenant: &str,
        search: &Search,
    ) -> std::result::Result<Vec<Assistant>, Error> {
        let (tenant, search) = (tenant.to_owned(), search.clone());
        let ask = move |connection: &Connection| {
            let mut window = Window::new(search.span, |left, right| search.compare(left, right));
            each(connection, (&tenant, &search.query), |assistant| window.offer(assistant))?;
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
        let delete = Staffing::Delete { of: owned((tenant, id)) };
        let Staffed::Deleted(deleted) = self.staff(delete).await? else { return Err(mismatch()) };
        Ok(deleted)
    }
}
