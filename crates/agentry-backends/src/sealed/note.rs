//! The note in a database that says with which key it was last written, so that a missing key is found at once.

use agentry_core::Timestamp;
use agentry_core::items::{Batch, Id, Index, Item, Items, Namespace, Put, Write};
use agentry_core::store::Error;
use serde_json::{Map, Value};

use super::keyring::{KeyError, Keyring};

/// Nobody's: tenants have names.
const TENANT: &str = "";
const WRITTEN: &str = "key";

/// Holds the keys there are against the note in the store, and renews the note.
pub async fn arrange(
    items: &dyn Items,
    keys: Option<&Keyring>,
    now: Timestamp,
) -> Result<Result<(), KeyError>, Error> {
    let id = place()?;
    let found = items.item(TENANT, &id, now).await?;
    let written = found.as_ref().and_then(written);
    let Some(keys) = keys else {
        return Ok(match written {
            Some(key) => Err(KeyError::Missing(key.to_owned())),
            None => Ok(()),
        });
    };
    if let Some(written) = written
        && !keys.ids().any(|id| id == written)
    {
        let given = keys.ids().collect::<Vec<_>>().join(", ");
        return Ok(Err(KeyError::Other { written: written.to_owned(), given }));
    }
    if written != Some(keys.writes_with()) {
        let value = Map::from_iter([(WRITTEN.to_owned(), Value::from(keys.writes_with()))]);
        let put = Put { id, value, index: Index::Nothing, ttl: None };
        let batch = Batch::new(vec![Write::Put(put)]);
        items.write(TENANT, batch.map_err(|it| Error::Refused(it.to_string()))?, now).await?;
    }
    Ok(Ok(()))
}

fn place() -> Result<Id, Error> {
    let namespace = Namespace::new(["agentry"]).map_err(|it| Error::Refused(it.to_string()))?;
    Ok(Id { namespace, key: "encryption".to_owned() })
}

fn written(item: &Item) -> Option<&str> {
    item.value.get(WRITTEN).and_then(Value::as_str)
}
