//! Assistants and their versions.

use agentry_core::Timestamp;
use agentry_core::assistants::{
    Added, Assistant, Assistants, Checked, Created, Definition, NewAssistant, Query, Search,
};
use agentry_core::listing::{Span, Window, contains};
use agentry_core::store::Error;
use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio_postgres::Row;

use super::pool::Values;
use super::{PostgresStore, is_unknown, migrate};

mod sql;

pub(super) const MIGRATIONS: migrate::List =
    migrate::List { name: "assistants", steps: &[include_str!("assistants/1.sql")] };

/// So many rows are read at a time where all of them must be looked at.
const AT_ONCE: i64 = 100;
/// How often one is created while another one of its name comes and goes.
const TRIES: u32 = 10;

fn json(row: &Row, column: usize) -> Result<Map<String, Value>, Error> {
    let unreadable = |problem| Error::Incompatible(format!("assistants: {problem}"));
    serde_json::from_str(row.get(column)).map_err(unreadable)
}

fn read(row: &Row) -> Result<Assistant, Error> {
    Ok(Assistant {
        id: row.get(0),
        version: version(row, 1),
        definition: Definition {
            graph: row.get(2),
            name: row.get(3),
            description: row.get(4),
            config: json(row, 5)?,
            context: json(row, 6)?,
            metadata: json(row, 7)?,
        },
        created: Timestamp::from_micros(row.get(8)),
        updated: Timestamp::from_micros(row.get(9)),
    })
}

/// It grows by one and never gets there.
fn version(row: &Row, column: usize) -> u32 {
    u32::try_from(row.get::<_, i64>(column)).unwrap_or(u32::MAX)
}

impl PostgresStore {
    async fn each_assistant(
        &self,
        (tenant, query): (&str, &Query),
        mut found: impl FnMut(Assistant) + Send,
    ) -> Result<(), Error> {
        if query.graph.as_deref().is_some_and(is_unknown) {
            return Ok(());
        }
        let mut last = String::new();
        loop {
            let values: Values<'_> = &[&tenant, &last, &query.graph, &AT_ONCE];
            let rows = self.pool.query(sql::AFTER, values).await?;
            for row in &rows {
                let assistant = read(row)?;
                if query.matches(&assistant) {
                    found(assistant);
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
impl Assistants for PostgresStore {
    async fn create(&self, tenant: &str, new: NewAssistant) -> Result<Created, Error> {
        let Checked { definition, config, context, metadata } = &new.definition;
        let Definition { graph, name, description, .. } = definition;
        let (id, now) = (new.id(), new.created.as_micros());
        let values: Values<'_> =
            &[&tenant, &id, &now, graph, name, description, config, context, metadata];
        for _ in 0..TRIES {
            if !self.pool.query(sql::CREATE, values).await?.is_empty() {
                return Ok(Created::New(Assistant {
                    id: id.to_owned(),
                    version: 1,
                    definition: definition.clone(),
                    created: new.created,
                    updated: new.created,
                }));
            }
            if let Some(known) = self.assistant(tenant, id).await? {
                return Ok(Created::Existing(known));
            }
        }
        Err(Error::Unavailable("the assistant comes and goes".to_owned()))
    }

    async fn assistant(&self, tenant: &str, id: &str) -> Result<Option<Assistant>, Error> {
        if is_unknown(id) {
            return Ok(None);
        }
        self.pool.query(sql::ONE, &[&tenant, &id]).await?.first().map(read).transpose()
    }

    async fn add_version(
        &self,
        (tenant, id): (&str, &str),
        from: u32,
        definition: Checked,
        now: Timestamp,
    ) -> Result<Added, Error> {
        if is_unknown(id) {
            return Ok(Added::NotFound);
        }
        let Checked { definition, config, context, metadata } = definition;
        let Definition { graph, name, description, .. } = &definition;
        let (micros, from) = (now.as_micros(), i64::from(from));
        let values: Values<'_> =
            &[&tenant, &id, &micros, graph, name, description, &config, &context, &metadata, &from];
        let rows = self.pool.query(sql::ADD_VERSION, values).await?;
        let Some(row) = rows.first() else {
            let known = self.assistant(tenant, id).await?.is_some();
            return Ok(if known { Added::Conflict } else { Added::NotFound });
        };
        Ok(Added::Done(Box::new(Assistant {
            id: id.to_owned(),
            version: version(row, 0),
            definition,
            created: Timestamp::from_micros(row.get(1)),
            updated: now,
        })))
    }

    async fn set_latest(
        &self,
        (tenant, id): (&str, &str),
        version: u32,
        now: Timestamp,
    ) -> Result<Option<Assistant>, Error> {
        if is_unknown(id) {
            return Ok(None);
        }
        let values: Values<'_> = &[&tenant, &id, &i64::from(version), &now.as_micros()];
        self.pool.query(sql::SET_LATEST, values).await?.first().map(read).transpose()
    }

    async fn versions(
        &self,
        (tenant, id): (&str, &str),
        metadata: &Map<String, Value>,
        span: Span,
    ) -> Result<Vec<Assistant>, Error> {
        if is_unknown(id) {
            return Ok(Vec::new());
        }
        let newest_first = |left: &Assistant, right: &Assistant| right.version.cmp(&left.version);
        let mut window = Window::new(span, newest_first);
        let mut before = i64::MAX;
        loop {
            let rows = self.pool.query(sql::VERSIONS, &[&tenant, &id, &before, &AT_ONCE]).await?;
            for row in &rows {
                let version = read(row)?;
                if contains(&version.definition.metadata, metadata) {
                    window.offer(version);
                }
            }
            match rows.last() {
                Some(row) if rows.len() as i64 == AT_ONCE => before = row.get(1),
                Some(_) | None => return Ok(window.finish()),
            }
        }
    }

    async fn search(&self, tenant: &str, search: &Search) -> Result<Vec<Assistant>, Error> {
        let mut window = Window::new(search.span, |left, right| search.compare(left, right));
        self.each_assistant((tenant, &search.query), |assistant| window.offer(assistant)).await?;
        Ok(window.finish())
    }

    async fn count(&self, tenant: &str, query: &Query) -> Result<u64, Error> {
        let mut count = 0;
        self.each_assistant((tenant, query), |_| count += 1).await?;
        Ok(count)
    }

    async fn delete(&self, tenant: &str, id: &str) -> Result<bool, Error> {
        Ok(!is_unknown(id) && !self.pool.query(sql::DELETE, &[&tenant, &id]).await?.is_empty())
    }
}
