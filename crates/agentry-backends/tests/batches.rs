//! Every store against the contract of a store of batches.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU32, Ordering};

use agentry_backends::memory::MemoryStore;
use agentry_backends::sqlite::SqliteStore;
use agentry_testkit::batches::Kind;
use async_trait::async_trait;

struct Memory;

#[async_trait]
impl Kind for Memory {
    type Store = MemoryStore;

    async fn fresh(&self) -> MemoryStore {
        MemoryStore::new()
    }

    /// Nothing is kept, so nothing is closed.
    async fn reopen(&self, store: MemoryStore) -> MemoryStore {
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

#[async_trait]
impl Kind for Sqlite {
    type Store = SqliteStore;

    async fn fresh(&self) -> SqliteStore {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.open()
    }

    async fn reopen(&self, store: SqliteStore) -> SqliteStore {
        drop(store);
        self.open()
    }
}

macro_rules! batches {
    ($($name:ident)*) => {
        $(mod $name {
            use super::{Memory, Sqlite};

            #[tokio::test]
            async fn memory() {
                agentry_testkit::batches::$name(&Memory).await;
            }

            #[tokio::test]
            async fn sqlite() {
                agentry_testkit::batches::$name(&Sqlite::new()).await;
            }
        })*
    };
}

agentry_testkit::for_each_batches_test!(batches);
