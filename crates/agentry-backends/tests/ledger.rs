//! Every store against the contract of a ledger and of a store of answered requests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use agentry_backends::memory::MemoryStore;
use agentry_backends::postgres::PostgresStore;
use agentry_backends::sqlite::SqliteStore;
use agentry_core::idempotency::Idempotency as _;
use agentry_testkit::ledger::Kind;
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

macro_rules! ledgers {
    ($($name:ident)*) => {
        mod ledger {
            $(mod $name {
                use super::super::{Memory, Postgres, Sqlite};

                #[tokio::test]
                async fn memory() {
                    agentry_testkit::ledger::$name(&Memory).await;
                }

                #[tokio::test]
                async fn sqlite() {
                    agentry_testkit::ledger::$name(&Sqlite::new()).await;
                }

                #[tokio::test]
                async fn postgres() {
                    let Some(kind) = Postgres::new(stringify!($name)) else { return };
                    agentry_testkit::ledger::$name(&kind).await;
                }
            })*
        }
    };
}

macro_rules! requests {
    ($($name:ident)*) => {
        mod requests {
            $(mod $name {
                use super::super::{Memory, Postgres, Sqlite};

                #[tokio::test]
                async fn memory() {
                    agentry_testkit::idempotency::$name(&Memory).await;
                }

                #[tokio::test]
                async fn sqlite() {
                    agentry_testkit::idempotency::$name(&Sqlite::new()).await;
                }

                #[tokio::test]
                async fn postgres() {
                    let Some(kind) = Postgres::new(stringify!($name)) else { return };
                    agentry_testkit::idempotency::$name(&kind).await;
                }
            })*
        }
    };
}

agentry_testkit::for_each_ledger_test!(ledgers);
agentry_testkit::for_each_idempotency_test!(requests);

/// Asks the server directly.
async fn client(kind: &Postgres) -> tokio_postgres::Client {
    let url = kind.url.split('?').next().unwrap();
    let (client, driver) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio_util::task::TaskTracker::new().spawn(driver);
    client
}

#[tokio::test]
async fn a_store_whose_connections_were_cut_goes_on() {
    let Some(kind) = Postgres::new("cut") else { return };
    let store = kind.fresh().await;
    let now = agentry_core::Timestamp::from_seconds(1_800_000_000);
    let server = client(&kind).await;
    for _ in 0..3 {
        store.forget_expired(now).await.unwrap();
        let ours = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                    WHERE application_name = $1";
        let name = kind.url.split("schema=").nth(1).unwrap();
        let cut = server.query(ours, &[&name]).await.unwrap();
        assert!(cut.iter().all(|row| row.get(0)) && !cut.is_empty());
        store.forget_expired(now).await.unwrap();
    }
}

#[tokio::test]
async fn many_processes_may_open_a_new_schema_at_once_and_a_newer_one_is_left_alone() {
    let Some(kind) = Postgres::new("opening") else { return };
    let opened = futures_util::future::join_all((0..6).map(|_| kind.open())).await;
    assert_eq!(opened.len(), 6);
    let schema = kind.url.split("schema=").nth(1).unwrap();
    let newer = format!("UPDATE {schema}_0.versions SET version = 99 WHERE list = 'ledger'");
    client(&kind).await.batch_execute(&newer).await.unwrap();
    let problem = PostgresStore::open(&format!("{}_0", kind.url)).await.err().unwrap().to_string();
    assert!(problem.contains("newer Agentry (ledger 99, this one knows 1)"), "{problem}");
}
