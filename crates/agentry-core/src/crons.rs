//! The port of crons: runs that begin when their time comes, again and again.
//!
//! An occurrence is handed to one process at a time, for a while; it is over when that one says that the run is submitted.
//! Whoever submits runs under [`Due::key`] starts each occurrence exactly once, also when a process dies in between. What
//! was missed while nobody looked happens once, not once for each time.

use std::cmp::Ordering;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::listing::{Order, Span, contains};
use crate::store::Error;
use crate::{Code, Failure, Fault, Retry, Timestamp};

mod fields;
mod schedule;

pub use schedule::Schedule;

pub const ID_BYTES_MAX: usize = 255;
/// Of payload and metadata together, as JSON.
pub const DEFINITION_BYTES_MAX: usize = 256 << 10;
/// How often a change is tried again because others were faster.
const TRIES: u32 = 100;

#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    pub id: String,
    pub tenant: String,
    pub definition: Definition,
    /// Nothing when it is disabled or has come to its end.
    pub next: Option<Timestamp>,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// Grows with every change, that of `next` included.
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    pub assistant: String,
    /// Without one each run has a thread of its own.
    pub thread: Option<String>,
    /// The person it belongs to.
    pub user: Option<String>,
    /// As [`Schedule::new`] reads it.
    pub schedule: String,
    /// UTC when there is none.
    pub timezone: Option<String>,
    /// What the run is to be; nobody here looks into it.
    pub payload: Map<String, Value>,
    pub metadata: Map<String, Value>,
    /// Nothing happens from then on.
    pub end: Option<Timestamp>,
    pub enabled: bool,
}

/// What is to be different; the rest stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    pub schedule: Option<String>,
    pub timezone: Option<Option<String>>,
    pub end: Option<Option<Timestamp>>,
    pub enabled: Option<bool>,
    /// Fields that are set; the others stay.
    pub payload: Map<String, Value>,
    /// Fields that are set; the others stay.
    pub metadata: Map<String, Value>,
}

impl Change {
    #[must_use]
    pub fn apply(&self, to: &Definition) -> Definition {
        let Self { schedule, timezone, end, enabled, payload, metadata } = self.clone();
        let mut changed = to.clone();
        changed.schedule = schedule.unwrap_or(changed.schedule);
        changed.timezone = timezone.unwrap_or(changed.timezone);
        changed.end = end.unwrap_or(changed.end);
        changed.enabled = enabled.unwrap_or(changed.enabled);
        changed.payload.extend(payload);
        changed.metadata.extend(metadata);
        changed
    }
}

/// What was asked for cannot be a cron.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(crate) String);

impl Failure for Invalid {
    fn code(&self) -> Code {
        Code("cron_invalid")
    }

    fn fault(&self) -> Fault {
        Fault::Caller
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// A [`Definition`] within the bounds, whose schedule is understood.
#[derive(Debug, Clone)]
pub struct Checked {
    pub definition: Definition,
    /// As JSON.
    pub payload: String,
    pub metadata: String,
    schedule: Schedule,
}

impl Definition {
    pub fn check(self) -> Result<Checked, Invalid> {
        let Self { assistant, thread, user, schedule, timezone, payload, metadata, .. } = &self;
        let names = [
            ("assistant_id", Some(assistant)),
            ("thread_id", thread.as_ref()),
            ("user_id", user.as_ref()),
        ];
        for (field, name) in names {
            if name.is_some_and(|name| !is_id(name)) {
                return Err(Invalid(format!(
                    "`{field}` is empty, longer than {ID_BYTES_MAX} bytes or has a NUL in it"
                )));
            }
        }
        let schedule = Schedule::new(schedule, timezone.as_deref())?;
        let json = |part: &Map<String, Value>| {
            serde_json::to_string(part).map_err(|problem| Invalid(problem.to_string()))
        };
        let (payload, metadata) = (json(payload)?, json(metadata)?);
        let bytes = payload.len() + metadata.len();
        if bytes > DEFINITION_BYTES_MAX {
            return Err(Invalid(format!(
                "the cron has {bytes} bytes; keep it within {DEFINITION_BYTES_MAX}"
            )));
        }
        Ok(Checked { definition: self, payload, metadata, schedule })
    }

    /// Whether both come at the same times.
    fn keeps_time_with(&self, other: &Self) -> bool {
        let Self { schedule, timezone, end, enabled, .. } = self;
        (schedule, timezone, end, enabled)
            == (&other.schedule, &other.timezone, &other.end, &other.enabled)
    }
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= ID_BYTES_MAX && !text.contains('\0')
}

impl Checked {
    /// When it comes next.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let Definition { end, enabled, .. } = self.definition;
        let next = self.schedule.next(after).filter(|_| enabled);
        next.filter(|next| end.is_none_or(|end| *next < end))
    }
}

#[derive(Debug, Clone)]
pub struct NewCron {
    id: String,
    pub definition: Checked,
    pub created: Timestamp,
    pub next: Option<Timestamp>,
}

impl NewCron {
    pub fn new(id: String, definition: Definition, created: Timestamp) -> Result<Self, Invalid> {
        if !is_id(&id) {
            return Err(Invalid(format!(
                "`cron_id` is empty, longer than {ID_BYTES_MAX} bytes or has a NUL in it"
            )));
        }
        let definition = definition.check()?;
        let next = definition.next(created);
        Ok(Self { id, definition, created, next })
    }

    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    #[must_use]
    pub fn into_cron(self, tenant: &str) -> Cron {
        Cron {
            id: self.id,
            tenant: tenant.to_owned(),
            definition: self.definition.definition,
            next: self.next,
            created: self.created,
            updated: self.created,
            revision: 0,
        }
    }
}

/// What is to take the place of a cron.
#[derive(Debug, Clone)]
pub struct Replacement {
    pub definition: Checked,
    pub next: Option<Timestamp>,
    pub updated: Timestamp,
}

/// What has become of a [`Replacement`].
#[derive(Debug, Clone, PartialEq)]
pub enum Replaced {
    Done(Box<Cron>),
    /// The cron has another revision by now.
    Conflict,
    NotFound,
}

/// What has become of a [`Change`].
#[derive(Debug, Clone, PartialEq)]
pub enum Updated {
    Done(Box<Cron>),
    NotFound,
    /// What it would be is out of bounds, or never comes.
    Invalid(Invalid),
}

/// Who asks for what is due holds it for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub now: Timestamp,
    pub lease_until: Timestamp,
    pub max: usize,
}

/// An occurrence, and the right to start its run.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    pub cron: Cron,
    /// When it was to happen; the latest of those that were missed need not be this one.
    pub occurrence: Timestamp,
}

impl Due {
    /// The idempotency key of the run, within its tenant.
    #[must_use]
    pub fn key(&self) -> String {
        format!("cron:{}:{}", self.cron.id, self.occurrence)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    Id,
    Assistant,
    Thread,
    #[default]
    Created,
    Updated,
    /// What never comes is last.
    Next,
}

/// Which crons are meant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    pub assistant: Option<String>,
    pub thread: Option<String>,
    pub enabled: Option<bool>,
    /// What the metadata contain.
    pub metadata: Map<String, Value>,
}

impl Query {
    #[must_use]
    pub fn matches(&self, cron: &Cron) -> bool {
        let Definition { assistant, thread, enabled, metadata, .. } = &cron.definition;
        self.assistant.as_ref().is_none_or(|wanted| wanted == assistant)
            && self.thread.as_ref().is_none_or(|wanted| Some(wanted) == thread.as_ref())
            && self.enabled.is_none_or(|wanted| wanted == *enabled)
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
    pub fn compare(&self, left: &Cron, right: &Cron) -> Ordering {
        let (a, b) = (&left.definition, &right.definition);
        let ordering = match self.sort {
            Sort::Id => Ordering::Equal,
            Sort::Assistant => a.assistant.cmp(&b.assistant),
            Sort::Thread => a.thread.cmp(&b.thread),
            Sort::Created => left.created.cmp(&right.created),
            Sort::Updated => left.updated.cmp(&right.updated),
            Sort::Next => (left.next.is_none(), left.next).cmp(&(right.next.is_none(), right.next)),
        };
        self.order.of(ordering.then_with(|| left.id.cmp(&right.id)))
    }
}

/// Keeps crons.
#[async_trait]
pub trait Crons: Send + Sync {
    /// Refuses an id that the tenant has already.
    async fn create(&self, tenant: &str, new: NewCron) -> Result<Cron, Error>;
    async fn cron(&self, tenant: &str, id: &str) -> Result<Option<Cron>, Error>;
    /// Takes the place of the cron, if that still has the revision. Who holds an occurrence that is no more holds nothing.
    async fn replace(
        &self,
        (tenant, id): (&str, &str),
        revision: u64,
        by: Replacement,
    ) -> Result<Replaced, Error>;
    async fn search(&self, tenant: &str, search: &Search) -> Result<Vec<Cron>, Error>;
    async fn count(&self, tenant: &str, query: &Query) -> Result<u64, Error>;
    async fn delete(&self, tenant: &str, id: &str) -> Result<bool, Error>;
    /// Deletes the crons of a person; says how many they were.
    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error>;

    /// What is due and held by nobody, of all tenants, what has waited longest first.
    async fn due(&self, claim: Claim) -> Result<Vec<Due>, Error>;
    /// The occurrence is over and `next` comes; says whether it still was to happen.
    async fn advance(&self, due: &Due, next: Option<Timestamp>) -> Result<bool, Error>;
    /// When [`Crons::due`] may have something.
    async fn next_due(&self) -> Result<Option<Timestamp>, Error>;

    /// The run of an occurrence is submitted. All those that were missed until `now` are over with it.
    async fn fired(&self, due: &Due, now: Timestamp) -> Result<bool, Error> {
        let definition = due.cron.definition.clone().check();
        let unreadable = |problem: Invalid| Error::Incompatible(problem.to_string());
        let next = definition.map_err(unreadable)?.next(due.occurrence.max(now));
        self.advance(due, next).await
    }

    /// Changes what the cron is now. No change of anybody's gets lost.
    async fn update(
        &self,
        (tenant, id): (&str, &str),
        change: &Change,
        now: Timestamp,
    ) -> Result<Updated, Error> {
        for _ in 0..TRIES {
            let Some(known) = self.cron(tenant, id).await? else { return Ok(Updated::NotFound) };
            let definition = match change.apply(&known.definition).check() {
                Ok(definition) => definition,
                Err(invalid) => return Ok(Updated::Invalid(invalid)),
            };
            let next = if definition.definition.keeps_time_with(&known.definition) {
                known.next
            } else {
                definition.next(now)
            };
            let by = Replacement { definition, next, updated: now };
            match self.replace((tenant, id), known.revision, by).await? {
                Replaced::Done(cron) => return Ok(Updated::Done(cron)),
                Replaced::NotFound => return Ok(Updated::NotFound),
                Replaced::Conflict => {}
            }
        }
        Err(Error::Unavailable("the cron changes too often".to_owned()))
    }
}

#[cfg(test)]
mod tests;
