//! The port of items: what agents remember for one another, beyond any thread.
//!
//! An item is a JSON object under a tenant, a [`Namespace`] and a key. It may have a time to live; from the moment at which
//! it expires nobody sees it, whether or not it was swept away.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::store::Error;
use crate::{Code, Failure, Fault, Retry, Timestamp};

mod filter;
mod namespace;
mod search;
mod words;

pub use filter::Filter;
pub use namespace::{
    LABEL_BYTES_MAX, LABELS_MAX, NAMESPACE_BYTES_MAX, Namespace, Namespaces, Outline,
};
pub use search::{Hit, Hits, Search};
pub use words::Words;

pub const KEY_BYTES_MAX: usize = 1_024;
/// Of a value as JSON.
pub const VALUE_BYTES_MAX: usize = 512 << 10;
pub const WRITES_MAX: usize = 1_000;
/// Of all values of a batch together.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
pub const FIELDS_MAX: usize = 32;
pub const TTL_MIN: Duration = Duration::from_secs(1);
pub const TTL_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// What names an item among those of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub namespace: Namespace,
    pub key: String,
}

impl Id {
    /// Whether an item may have it.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let Self { namespace, key } = self;
        let is_key = !key.is_empty() && key.len() <= KEY_BYTES_MAX && !key.contains('\0');
        is_key && !namespace.is_root()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub id: Id,
    pub value: Map<String, Value>,
    pub index: Index,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub ttl: Option<Duration>,
    /// There exactly when there is a time to live.
    pub expires: Option<Timestamp>,
}

impl Item {
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }
}

/// Which text of an item a query is held against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Index {
    #[default]
    All,
    Nothing,
    /// Paths of names with dots between them, as in `author.name`. Lists are gone through, with or without `[*]`.
    Fields(Vec<String>),
}

impl Index {
    /// A list of fields as JSON; nothing for all.
    fn write(&self) -> Result<Option<String>, serde_json::Error> {
        let fields = match self {
            Self::All => return Ok(None),
            Self::Nothing => &[],
            Self::Fields(fields) => fields.as_slice(),
        };
        serde_json::to_string(fields).map(Some)
    }

    /// What stands in [`Checked::fields`].
    pub fn read(fields: Option<&str>) -> Result<Self, serde_json::Error> {
        let fields = fields.map(serde_json::from_str::<Vec<String>>).transpose()?;
        Ok(match fields {
            None => Self::All,
            Some(fields) if fields.is_empty() => Self::Nothing,
            Some(fields) => Self::Fields(fields),
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Put {
    pub id: Id,
    pub value: Map<String, Value>,
    pub index: Index,
    pub ttl: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Makes the item, or takes the place of one that is there. One that has expired is not.
    Put(Put),
    /// Deletes the item if it is there.
    Delete(Id),
}

/// Writes that are within the bounds, at most one for each item.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    writes: BTreeMap<Id, Option<Checked>>,
}

/// What an item is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub value: Map<String, Value>,
    /// The value as JSON.
    pub json: String,
    pub index: Index,
    /// The index as it is stored.
    pub fields: Option<String>,
    pub ttl: Option<Duration>,
}

impl Checked {
    /// What becomes of it; `before` is what is there and has not expired.
    #[must_use]
    pub fn into_item(self, id: Id, before: Option<&Item>, now: Timestamp) -> Item {
        let Self { value, json: _, index, fields: _, ttl } = self;
        Item {
            id,
            value,
            index,
            created: before.map_or(now, |before| before.created),
            updated: now,
            ttl,
            expires: ttl.map(|ttl| now.plus(ttl)),
        }
    }
}

/// What was asked for cannot be an item, or is no search for one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(crate) String);

impl Failure for Invalid {
    fn code(&self) -> Code {
        Code("item_invalid")
    }

    fn fault(&self) -> Fault {
        Fault::Caller
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl Batch {
    /// Of several writes to one item, the last one counts.
    pub fn new(writes: Vec<Write>) -> Result<Self, Invalid> {
        if writes.len() > WRITES_MAX {
            let many = writes.len();
            return Err(Invalid(format!("{many} writes at once; send at most {WRITES_MAX}")));
        }
        let mut batch = Self::default();
        let mut bytes = 0;
        for write in writes {
            let (id, checked) = match write {
                Write::Put(put) => check(put)?,
                // There is nothing to delete.
                Write::Delete(id) if !id.is_possible() => continue,
                Write::Delete(id) => (id, None),
            };
            bytes += checked.as_ref().map_or(0, |checked| checked.json.len());
            batch.writes.insert(id, checked);
        }
        if bytes > BATCH_BYTES_MAX {
            return Err(Invalid(format!(
                "{bytes} bytes at once; send at most {BATCH_BYTES_MAX}, in several batches"
            )));
        }
        Ok(batch)
    }

    /// The same writes of other values, as a store in front of another one has them kept. Bounds hold for what people
    /// wrote, not for these.
    pub fn with_values<E>(
        mut self,
        mut other: impl FnMut(&Id, Map<String, Value>) -> Result<Map<String, Value>, E>,
    ) -> Result<Self, E> {
        for (id, checked) in &mut self.writes {
            if let Some(checked) = checked {
                checked.value = other(id, std::mem::take(&mut checked.value))?;
                checked.json = serde_json::json!(checked.value).to_string();
            }
        }
        Ok(self)
    }

    /// Items that are put, and those that are deleted, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&Id, Option<&Checked>)> {
        self.writes.iter().map(|(id, checked)| (id, checked.as_ref()))
    }
}

impl IntoIterator for Batch {
    type Item = (Id, Option<Checked>);
    type IntoIter = std::collections::btree_map::IntoIter<Id, Option<Checked>>;

    fn into_iter(self) -> Self::IntoIter {
        self.writes.into_iter()
    }
}

fn check(put: Put) -> Result<(Id, Option<Checked>), Invalid> {
    let Put { id, value, index, ttl } = put;
    if id.namespace.is_root() {
        return Err(Invalid("`namespace` is empty; name at least one label".to_owned()));
    }
    if !id.is_possible() {
        return Err(Invalid(format!(
            "`key` is empty, longer than {KEY_BYTES_MAX} bytes or has a NUL in it"
        )));
    }
    if let Index::Fields(fields) = &index
        && (fields.len() > FIELDS_MAX || fields.iter().any(|field| field.len() > KEY_BYTES_MAX))
    {
        return Err(Invalid(format!(
            "`index` names more than {FIELDS_MAX} fields or one of more than {KEY_BYTES_MAX} bytes"
        )));
    }
    if ttl.is_some_and(|ttl| !(TTL_MIN..=TTL_MAX).contains(&ttl)) {
        return Err(Invalid("`ttl` is less than a second or more than ten years".to_owned()));
    }
    let json = serde_json::to_string(&value).map_err(|problem| Invalid(problem.to_string()))?;
    if json.len() > VALUE_BYTES_MAX {
        let bytes = json.len();
        return Err(Invalid(format!(
            "`value` has {bytes} bytes; keep it within {VALUE_BYTES_MAX}, or in several items"
        )));
    }
    let fields = index.write().map_err(|problem| Invalid(problem.to_string()))?;
    Ok((id, Some(Checked { value, json, index, fields, ttl })))
}

/// Keeps items. Reading does not prolong an item's life; whoever wants that asks for [`Items::refresh`] after it.
#[async_trait]
pub trait Items: Send + Sync {
    /// All of it is stored, or none.
    async fn write(&self, tenant: &str, batch: Batch, now: Timestamp) -> Result<(), Error>;
    async fn item(&self, tenant: &str, id: &Id, now: Timestamp) -> Result<Option<Item>, Error>;
    /// What matches best first, then what was updated last.
    async fn search(
        &self,
        tenant: &str,
        search: &Search,
        now: Timestamp,
    ) -> Result<Vec<Hit>, Error>;
    /// Namespaces that have items, in their order.
    async fn namespaces(
        &self,
        tenant: &str,
        wanted: &Namespaces,
        now: Timestamp,
    ) -> Result<Vec<Namespace>, Error>;
    /// Items that have a time to live have all of it before them again; says how many they are.
    async fn refresh(&self, tenant: &str, ids: &[Id], now: Timestamp) -> Result<u64, Error>;
    /// Removes at most `max` items that nobody sees any more, of any tenant; says how many they were.
    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, Error>;
}

#[cfg(test)]
mod tests;
