//! Both embedded stores against the contract of a store.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};

use agentry_backends::memory::MemoryStore;
use agentry_backends::sqlite::SqliteStore;
use agentry_testkit::store::Kind;

struct Memory;

impl Kind for Memory {
    type Store = MemoryStore;

    fn fresh(&self) -> MemoryStore {
        MemoryStore::new()
    }

    /// Nothing is kept, so nothing is closed.
    fn reopen(&self, store: MemoryStore) -> MemoryStore {
        store
    }
}

struct Sqlite {
    folder: tempfile::TempDir,
    files: AtomicU32,
}

impl Sqlite {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), files: AtomicU32::new(0) }
    }

    fn open(&self) -> SqliteStore {
        let number = self.files.load(Ordering::Relaxed);
        SqliteStore::open(self.folder.path().join(format!("{number}.db"))).unwrap()
    }
}

impl Kind for Sqlite {
    type Store = SqliteStore;

    fn fresh(&self) -> SqliteStore {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.open()
    }

    fn reopen(&self, store: SqliteStore) -> SqliteStore {
        drop(store);
        self.open()
    }
}

macro_rules! memory {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $name() {
                agentry_testkit::store::$name(&super::Memory).await;
            })*
        }
    };
}

macro_rules! sqlite {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() {
                agentry_testkit::store::$name(&super::Sqlite::new()).await;
            })*
        }
    };
}

agentry_testkit::for_each_store_test!(memory);
agentry_testkit::for_each_store_test!(sqlite);
