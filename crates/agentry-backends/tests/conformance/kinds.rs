//! The three kinds of stores.

use agentry_backends::memory::MemoryStore;
use agentry_backends::postgres::PostgresStore;
use agentry_backends::sqlite::SqliteStore;
use agentry_testkit::kind::{Files, Memory, Schemas};

pub(crate) fn memory() -> Memory<MemoryStore> {
    Memory::new(MemoryStore::new)
}

pub(crate) fn sqlite() -> Files<SqliteStore> {
    Files::new(|path| SqliteStore::open(path).unwrap())
}

pub(crate) fn postgres(test: &str) -> Option<Schemas<PostgresStore>> {
    // The suites bring their own time.
    Schemas::new(test, |url| {
        Box::pin(async move { PostgresStore::open(&format!("{url}&clock=caller")).await.unwrap() })
    })
}
