//! The model of a store of assistants.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use agentry_core::Timestamp;
use agentry_core::assistants::{
    Added, Assistant, Assistants, Checked, Created, Definition, NewAssistant, Query, Search,
};
use agentry_core::listing::{Span, Window, contains};
use agentry_core::store::Error;
use async_trait::async_trait;
use serde_json::{Map, Value};

use super::MemoryStore;

/// By tenant and id.
pub(super) type Staff = BTreeMap<(String, String), Kept>;

pub(super) struct Kept {
    /// From version 1 on.
    versions: Vec<(Definition, Timestamp)>,
    /// Which of them it is.
    version: u32,
    created: Timestamp,
    updated: Timestamp,
}

impl Kept {
    fn definition(&self, version: u32) -> Option<&(Definition, Timestamp)> {
        self.versions.get(usize::try_from(version).ok()?.checked_sub(1)?)
    }

    fn show(&self, id: &str) -> Option<Assistant> {
        let (definition, _) = self.definition(self.version)?;
        Some(Assistant {
            id: id.to_owned(),
            version: self.version,
            definition: definition.clone(),
            created: self.created,
            updated: self.updated,
        })
    }
}

impl MemoryStore {
    fn staff(&self) -> MutexGuard<'_, Staff> {
        self.assistants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(tenant: &str, id: &str) -> (String, String) {
    (tenant.to_owned(), id.to_owned())
}

fn matching<'a>(
    staff: &'a Staff,
    tenant: &'a str,
    query: &'a Query,
) -> impl Iterator<Item = Assistant> + 'a {
    let theirs = staff.iter().filter(move |((owner, _), _)| owner == tenant);
    let shown = theirs.filter_map(|((_, id), kept)| kept.show(id));
    shown.filter(|assistant| query.matches(assistant))
}

#[async_trait]
impl Assistants for MemoryStore {
    async fn create(&self, tenant: &str, new: NewAssistant) -> Result<Created, Error> {
        let mut staff = self.staff();
        let id = new.id().to_owned();
        let created = new.created;
        if let Some(known) = staff.get(&key(tenant, &id)).and_then(|kept| kept.show(&id)) {
            return Ok(Created::Existing(known));
        }
        let definition = new.definition.definition;
        let versions = vec![(definition.clone(), created)];
        let kept = Kept { versions, version: 1, created, updated: created };
        staff.insert(key(tenant, &id), kept);
        Ok(Created::New(Assistant { id, version: 1, definition, created, updated: created }))
    }

    async fn assistant(&self, tenant: &str, id: &str) -> Result<Option<Assistant>, Error> {
        Ok(self.staff().get(&key(tenant, id)).and_then(|kept| kept.show(id)))
    }

    async fn add_version(
        &self,
        (tenant, id): (&str, &str),
        from: u32,
        definition: Checked,
        now: Timestamp,
    ) -> Result<Added, Error> {
        let mut staff = self.staff();
        let Some(kept) = staff.get_mut(&key(tenant, id)) else { return Ok(Added::NotFound) };
        if kept.version != from {
            return Ok(Added::Conflict);
        }
        kept.versions.push((definition.definition, now));
        kept.version = u32::try_from(kept.versions.len()).unwrap_or(u32::MAX);
        kept.updated = now;
        Ok(kept.show(id).map_or(Added::NotFound, |assistant| Added::Done(Box::new(assistant))))
    }

    async fn set_latest(
        &self,
        (tenant, id): (&str, &str),
        version: u32,
        now: Timestamp,
    ) -> Result<Option<Assistant>, Error> {
        let mut staff = self.staff();
        let kept = staff.get_mut(&key(tenant, id));
        let Some(kept) = kept.filter(|kept| kept.definition(version).is_some()) else {
            return Ok(None);
        };
        (kept.version, kept.updated) = (version, now);
        Ok(kept.show(id))
    }

    async fn versions(
        &self,
        (tenant, id): (&str, &str),
        metadata: &Map<String, Value>,
        span: Span,
    ) -> Result<Vec<Assistant>, Error> {
        let staff = self.staff();
        let Some(kept) = staff.get(&key(tenant, id)) else { return Ok(Vec::new()) };
        let shown = (1..).zip(&kept.versions).map(|(version, (definition, created))| Assistant {
            id: id.to_owned(),
            version,
            definition: definition.clone(),
            created: *created,
            updated: *created,
        });
        let wanted = shown.filter(|version| contains(&version.definition.metadata, metadata));
        let wanted: Vec<_> = wanted.collect();
        Ok(wanted.into_iter().rev().skip(span.offset()).take(span.limit()).collect())
    }

    async fn search(&self, tenant: &str, search: &Search) -> Result<Vec<Assistant>, Error> {
        let staff = self.staff();
        let mut window = Window::new(search.span, |left, right| search.compare(left, right));
        matching(&staff, tenant, &search.query).for_each(|assistant| window.offer(assistant));
        Ok(window.finish())
    }

    async fn count(&self, tenant: &str, query: &Query) -> Result<u64, Error> {
        Ok(matching(&self.staff(), tenant, query).count() as u64)
    }

    async fn delete(&self, tenant: &str, id: &str) -> Result<bool, Error> {
        Ok(self.staff().remove(&key(tenant, id)).is_some())
    }
}
