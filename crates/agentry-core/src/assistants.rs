//! The port of assistants: a graph with what it is to work with, under a name.
//!
//! Each change makes a new version, and none is ever changed itself. An assistant *is* one of its versions, usually the
//! newest.

use std::cmp::Ordering;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::listing::{Order, Span, contains};
use crate::store::Error;
use crate::{Code, Failure, Fault, Retry, Timestamp};

pub const ID_BYTES_MAX: usize = 255;
pub const NAME_BYTES_MAX: usize = 255;
/// Of everything that is defined, as JSON.
pub const DEFINITION_BYTES_MAX: usize = 256 << 10;
/// How often a change is tried again because others were faster.
const TRIES: u32 = 100;

#[derive(Debug, Clone, PartialEq)]
pub struct Assistant {
    pub id: String,
    /// Which of its versions this is, from 1.
    pub version: u32,
    pub definition: Definition,
    /// Of an assistant when the first version was made, of a version when that one was.
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// Everything that has versions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Definition {
    pub graph: String,
    pub name: String,
    pub description: Option<String>,
    pub config: Map<String, Value>,
    pub context: Map<String, Value>,
    pub metadata: Map<String, Value>,
}

/// What is to be different; the rest stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    pub graph: Option<String>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub config: Option<Map<String, Value>>,
    pub context: Option<Map<String, Value>>,
    /// Fields that are set; the others stay.
    pub metadata: Map<String, Value>,
}

impl Change {
    #[must_use]
    pub fn apply(&self, to: &Definition) -> Definition {
        let Self { graph, name, description, config, context, metadata } = self.clone();
        let mut all = to.metadata.clone();
        all.extend(metadata);
        Definition {
            graph: graph.unwrap_or_else(|| to.graph.clone()),
            name: name.unwrap_or_else(|| to.name.clone()),
            description: description.or_else(|| to.description.clone()),
            config: config.unwrap_or_else(|| to.config.clone()),
            context: context.unwrap_or_else(|| to.context.clone()),
            metadata: all,
        }
    }
}

/// What was asked for cannot be an assistant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Failure for Invalid {
    fn code(&self) -> Code {
        Code("assistant_invalid")
    }

    fn fault(&self) -> Fault {
        Fault::Caller
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// A [`Definition`] within the bounds, with its parts as JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub definition: Definition,
    pub config: String,
    pub context: String,
    pub metadata: String,
}

impl Definition {
    pub fn check(self) -> Result<Checked, Invalid> {
        let Self { graph, name, description, config, context, metadata } = &self;
        if graph.is_empty() || graph.len() > NAME_BYTES_MAX || graph.contains('\0') {
            return Err(Invalid(format!(
                "`graph_id` is empty, longer than {NAME_BYTES_MAX} bytes or has a NUL in it"
            )));
        }
        if name.len() > NAME_BYTES_MAX || name.contains('\0') {
            return Err(Invalid(format!(
                "`name` is longer than {NAME_BYTES_MAX} bytes or has a NUL in it"
            )));
        }
        let description = description.as_deref().unwrap_or_default();
        if description.contains('\0') {
            return Err(Invalid("`description` has a NUL in it".to_owned()));
        }
        let json = |part: &Map<String, Value>| {
            serde_json::to_string(part).map_err(|problem| Invalid(problem.to_string()))
        };
        let (config, context, metadata) = (json(config)?, json(context)?, json(metadata)?);
        let bytes = description.len() + config.len() + context.len() + metadata.len();
        if bytes > DEFINITION_BYTES_MAX {
            return Err(Invalid(format!(
                "the assistant has {bytes} bytes; keep it within {DEFINITION_BYTES_MAX}"
            )));
        }
        Ok(Checked { definition: self, config, context, metadata })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewAssistant {
    id: String,
    pub definition: Checked,
    pub created: Timestamp,
}

impl NewAssistant {
    pub fn new(id: String, definition: Definition, created: Timestamp) -> Result<Self, Invalid> {
        if id.is_empty() || id.len() > ID_BYTES_MAX || id.contains('\0') {
            return Err(Invalid(format!(
                "`assistant_id` is empty, longer than {ID_BYTES_MAX} bytes or has a NUL in it"
            )));
        }
        Ok(Self { id, definition: definition.check()?, created })
    }

    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Created {
    New(Assistant),
    /// It was there before, as it is.
    Existing(Assistant),
}

/// What has become of a new version.
#[derive(Debug, Clone, PartialEq)]
pub enum Added {
    Done(Box<Assistant>),
    /// The assistant is another version by now.
    Conflict,
    NotFound,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    Id,
    Graph,
    Name,
    #[default]
    Created,
    Updated,
}

/// Which assistants are meant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    pub graph: Option<String>,
    /// A part of the name, in small or large letters.
    pub name: Option<String>,
    /// What the metadata contain.
    pub metadata: Map<String, Value>,
}

impl Query {
    #[must_use]
    pub fn matches(&self, assistant: &Assistant) -> bool {
        let Definition { graph, name, metadata, .. } = &assistant.definition;
        let named = |part: &String| name.to_lowercase().contains(&part.to_lowercase());
        self.graph.as_ref().is_none_or(|wanted| wanted == graph)
            && self.name.as_ref().is_none_or(named)
            && contains(metadata, &self.metadata)
    }
}

/// Some of them, in order. What is equal comes by its id.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    pub query: Query,
    pub sort: Sort,
    pub order: Order,
    pub span: Span,
}

impl Search {
    #[must_use]
    pub fn compare(&self, left: &Assistant, right: &Assistant) -> Ordering {
        let ordering = match self.sort {
            Sort::Id => Ordering::Equal,
            Sort::Graph => left.definition.graph.cmp(&right.definition.graph),
            Sort::Name => left.definition.name.cmp(&right.definition.name),
            Sort::Created => left.created.cmp(&right.created),
            Sort::Updated => left.updated.cmp(&right.updated),
        };
        self.order.of(ordering.then_with(|| left.id.cmp(&right.id)))
    }
}

/// Keeps assistants and all of their versions.
#[async_trait]
pub trait Assistants: Send + Sync {
    async fn create(&self, tenant: &str, new: NewAssistant) -> Result<Created, Error>;
    async fn assistant(&self, tenant: &str, id: &str) -> Result<Option<Assistant>, Error>;
    /// The assistant becomes a new version, if it is still the version `from`.
    async fn add_version(
        &self,
        (tenant, id): (&str, &str),
        from: u32,
        definition: Checked,
        now: Timestamp,
    ) -> Result<Added, Error>;
    /// The assistant becomes this version of it; nothing when there is no such.
    async fn set_latest(
        &self,
        (tenant, id): (&str, &str),
        version: u32,
        now: Timestamp,
    ) -> Result<Option<Assistant>, Error>;
    /// Newest first, those whose metadata contain `metadata`.
    async fn versions(
        &self,
        (tenant, id): (&str, &str),
        metadata: &Map<String, Value>,
        span: Span,
    ) -> Result<Vec<Assistant>, Error>;
    async fn search(&self, tenant: &str, search: &Search) -> Result<Vec<Assistant>, Error>;
    async fn count(&self, tenant: &str, query: &Query) -> Result<u64, Error>;
    /// Deletes all of its versions; says whether there were any.
    async fn delete(&self, tenant: &str, id: &str) -> Result<bool, Error>;

    /// Makes a version of what it is with the change. No change of anybody's gets lost.
    async fn update(
        &self,
        (tenant, id): (&str, &str),
        change: &Change,
        now: Timestamp,
    ) -> Result<Updated, Error> {
        for _ in 0..TRIES {
            let Some(known) = self.assistant(tenant, id).await? else {
                return Ok(Updated::NotFound);
            };
            let changed = match change.apply(&known.definition).check() {
                Ok(changed) => changed,
                Err(invalid) => return Ok(Updated::Invalid(invalid)),
            };
            match self.add_version((tenant, id), known.version, changed, now).await? {
                Added::Done(assistant) => return Ok(Updated::Done(assistant)),
                Added::NotFound => return Ok(Updated::NotFound),
                Added::Conflict => {}
            }
        }
        Err(Error::Unavailable("the assistant changes too often".to_owned()))
    }
}

/// What has become of a [`Change`].
#[derive(Debug, Clone, PartialEq)]
pub enum Updated {
    Done(Box<Assistant>),
    NotFound,
    /// What it would be is out of bounds.
    Invalid(Invalid),
}

#[cfg(test)]
mod tests;
