//! The port of assistants: what they are to work with, and how they are described. Graph, name and metadata are searched.

use agentry_core::Timestamp;
use agentry_core::assistants::{
    Added, Assistant, Assistants, Checked, Created, NewAssistant, Query, Search,
};
use agentry_core::listing::Span;
use agentry_core::store::Error;
use async_trait::async_trait;
use serde_json::{Map, Value};

use super::Sealed;
use super::keyring::{Keyring, Safe};

const CONFIG: &str = "config";
const CONTEXT: &str = "context";
const DESCRIPTION: &str = "description";

impl Keyring {
    fn assistant(&self, tenant: &str, id: &str) -> Result<Safe<'_>, Error> {
        self.safe(format!("assistant\0{tenant}\0{id}").into_bytes())
    }

    fn defined(&self, (tenant, id): (&str, &str), checked: &mut Checked) -> Result<(), Error> {
        let safe = self.assistant(tenant, id)?;
        let Checked { definition, config, context, metadata: _ } = checked;
        *config = safe.whole(CONFIG, &mut definition.config)?;
        *context = safe.whole(CONTEXT, &mut definition.context)?;
        if let Some(description) = &mut definition.description {
            *description = safe.string(DESCRIPTION, description)?;
        }
        Ok(())
    }

    fn assistant_of(&self, tenant: &str, assistant: &mut Assistant) -> Result<(), Error> {
        let safe = self.assistant(tenant, &assistant.id)?;
        let definition = &mut assistant.definition;
        safe.whole_of(CONFIG, &mut definition.config)?;
        safe.whole_of(CONTEXT, &mut definition.context)?;
        if let Some(description) = definition.description.take() {
            definition.description = Some(safe.string_of(DESCRIPTION, description)?);
        }
        Ok(())
    }

    fn assistants_of(
        &self,
        tenant: &str,
        mut all: Vec<Assistant>,
    ) -> Result<Vec<Assistant>, Error> {
        all.iter_mut().try_for_each(|assistant| self.assistant_of(tenant, assistant))?;
        Ok(all)
    }
}

#[async_trait]
impl<S: Assistants + ?Sized> Assistants for Sealed<S> {
    async fn create(&self, tenant: &str, mut new: NewAssistant) -> Result<Created, Error> {
        let id = new.id().to_owned();
        self.keys.defined((tenant, &id), &mut new.definition)?;
        let mut created = self.inner.create(tenant, new).await?;
        let (Created::New(assistant) | Created::Existing(assistant)) = &mut created;
        self.keys.assistant_of(tenant, assistant)?;
        Ok(created)
    }

    async fn assistant(&self, tenant: &str, id: &str) -> Result<Option<Assistant>, Error> {
        let mut found = self.inner.assistant(tenant, id).await?;
        found.iter_mut().try_for_each(|it| self.keys.assistant_of(tenant, it))?;
        Ok(found)
    }

    async fn add_version(
        &self,
        (tenant, id): (&str, &str),
        from: u32,
        mut definition: Checked,
        now: Timestamp,
    ) -> Result<Added, Error> {
        self.keys.defined((tenant, id), &mut definition)?;
        let mut added = self.inner.add_version((tenant, id), from, definition, now).await?;
        if let Added::Done(assistant) = &mut added {
            self.keys.assistant_of(tenant, assistant)?;
        }
        Ok(added)
    }

    async fn set_latest(
        &self,
        (tenant, id): (&str, &str),
        version: u32,
        now: Timestamp,
    ) -> Result<Option<Assistant>, Error> {
        let mut found = self.inner.set_latest((tenant, id), version, now).await?;
        found.iter_mut().try_for_each(|it| self.keys.assistant_of(tenant, it))?;
        Ok(found)
    }

    async fn versions(
        &self,
        (tenant, id): (&str, &str),
        metadata: &Map<String, Value>,
        span: Span,
    ) -> Result<Vec<Assistant>, Error> {
        let all = self.inner.versions((tenant, id), metadata, span).await?;
        self.keys.assistants_of(tenant, all)
    }

    async fn search(&self, tenant: &str, search: &Search) -> Result<Vec<Assistant>, Error> {
        let all = self.inner.search(tenant, search).await?;
        self.keys.assistants_of(tenant, all)
    }

    async fn count(&self, tenant: &str, query: &Query) -> Result<u64, Error> {
        self.inner.count(tenant, query).await
    }

    async fn delete(&self, tenant: &str, id: &str) -> Result<bool, Error> {
        self.inner.delete(tenant, id).await
    }
}
