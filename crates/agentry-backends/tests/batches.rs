//! Every store against the contract of a store of batches.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use agentry_backends::memory::MemoryStore;
use agentry_backends::postgres::PostgresStore;
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

/// Each store in a schema of its own, on the server that `cargo xtask test` starts.
struct Postgres {
    url: String,
    schemas: AtomicU32,
}

impl Postgres {
    fn new(test: &str) -> Option<Self> {
        let url = std::env::var_os("AGENTRY_TEST_POSTGRES_URL").filter(|url| !url.is_empty());
        let Some(url) = url else {
            let skipped =
                "skipped: AGENTRY_TEST_POSTGRES_URL is not set; `cargo xtask test` sets it";
            let mut terminal = std::io::stderr();
            writeln!(terminal, "{skipped}").unwrap();
            return None;
        };
        // A name that no other test has, cut to what the server keeps.
        let name: String = test.chars().take(40).collect();
        let url = url.into_string().unwrap();
        let name = format!("t{}_{name}", std::process::id());
        let url = format!("{url}?connections=4&application_name={name}&schema={name}");
        Some(Self { url, schemas: AtomicU32::new(0) })
    }

    async fn open(&self) -> PostgresStore {
        let number = self.schemas.load(Ordering::Relaxed);
        PostgresStore::open(&format!("{}_{number}", self.url)).await.unwrap()
    }
}

#[async_trait]
impl Kind for Postgres {
    type Store = PostgresStore;

    async fn fresh(&self) -> PostgresStore {
        self.schemas.fetch_add(1, Ordering::Relaxed);
        self.open().await
    }

    async fn reopen(&self, store: PostgresStore) -> PostgresStore {
        drop(store);
        self.open().await
    }
}

macro_rules! batches {
    ($($name:ident)*) => {
        $(mod $name {
            use super::{Memory, Postgres, Sqlite};

            #[tokio::test]
            async fn memory() {
                agentry_testkit::batches::$name(&Memory).await;
            }

            #[tokio::test]
            async fn sqlite() {
                agentry_testkit::batches::$name(&Sqlite::new()).await;
            }

            #[tokio::test]
            async fn postgres() {
                let Some(kind) = Postgres::new(stringify!($name)) else { return };
                agentry_testkit::batches::$name(&kind).await;
            }
        })*
    };
}

agentry_testkit::for_each_batches_test!(batches);
