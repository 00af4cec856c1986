//! Where the stores come from that a conformance suite is run on.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tempfile::TempDir;

/// Makes stores of one kind.
#[async_trait]
pub trait Kind: Sync {
    type Store: Send + Sync + 'static;

    /// An empty one.
    async fn fresh(&self) -> Self::Store;
    /// The same store after a restart of its process.
    async fn reopen(&self, store: Self::Store) -> Self::Store;
}

/// Runs each part of a suite on every kind of store. Where it is called there is a module `kinds` with the functions
/// `memory` and `sqlite`, and with `postgres`, which takes the name of the test and has nothing where there is no server.
#[macro_export]
macro_rules! on_every_kind {
    ($suite:ident: $($name:ident)*) => {
        mod $suite {
            $(mod $name {
                #[tokio::test]
                async fn memory() {
                    $crate::$suite::$name(&super::super::kinds::memory()).await;
                }

                #[tokio::test]
                async fn sqlite() {
                    $crate::$suite::$name(&super::super::kinds::sqlite()).await;
                }

                #[tokio::test]
                async fn postgres() {
                    let name = concat!(stringify!($suite), "_", stringify!($name));
                    let Some(kind) = super::super::kinds::postgres(name) else { return };
                    $crate::$suite::$name(&kind).await;
                }
            })*
        }
    };
}

/// Stores that nothing is left of.
pub struct Memory<S> {
    new: fn() -> S,
}

impl<S> Memory<S> {
    pub fn new(new: fn() -> S) -> Self {
        Self { new }
    }
}

#[async_trait]
impl<S: Send + Sync + 'static> Kind for Memory<S> {
    type Store = S;

    async fn fresh(&self) -> S {
        (self.new)()
    }

    /// Nothing is kept, so nothing is closed.
    async fn reopen(&self, store: S) -> S {
        store
    }
}

/// Stores that are a file each, in a folder that goes with this.
pub struct Files<S> {
    open: fn(&Path) -> S,
    folder: TempDir,
    made: AtomicU32,
}

impl<S> Files<S> {
    pub fn new(open: fn(&Path) -> S) -> Self {
        Self { open, folder: tempfile::tempdir().unwrap(), made: AtomicU32::new(0) }
    }

    fn latest(&self) -> S {
        let number = self.made.load(Ordering::Relaxed);
        (self.open)(&self.folder.path().join(format!("{number}.db")))
    }
}

#[async_trait]
impl<S: Send + Sync + 'static> Kind for Files<S> {
    type Store = S;

    async fn fresh(&self) -> S {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.latest()
    }

    async fn reopen(&self, store: S) -> S {
        drop(store);
        self.latest()
    }
}

/// How a store is opened on a server.
pub type Open<S> = fn(String) -> BoxFuture<'static, S>;

/// Stores that are a schema each, on the server that `cargo xtask test` starts.
pub struct Schemas<S> {
    open: Open<S>,
    url: String,
    name: String,
    made: AtomicU32,
}

impl<S> Schemas<S> {
    /// Nothing where there is no server; says so.
    pub fn new(test: &str, open: Open<S>) -> Option<Self> {
        let url = std::env::var_os("AGENTRY_TEST_POSTGRES_URL").filter(|url| !url.is_empty());
        let Some(url) = url else {
            let skipped =
                "skipped: AGENTRY_TEST_POSTGRES_URL is not set; `cargo xtask test` sets it";
            let mut terminal = std::io::stderr();
            writeln!(terminal, "{skipped}").unwrap();
            return None;
        };
        // A name that no other test has, cut to what the server keeps.
        let test: String = test.chars().take(48).collect();
        let name = format!("t{}_{test}", std::process::id());
        Some(Self { open, url: url.into_string().unwrap(), name, made: AtomicU32::new(0) })
    }

    /// Of the server, for a client that asks it directly.
    pub fn server(&self) -> &str {
        &self.url
    }

    /// What connections call themselves, and how the name of each schema begins.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Of the latest store.
    pub fn schema(&self) -> String {
        format!("{}_{}", self.name, self.made.load(Ordering::Relaxed))
    }

    /// The latest store once more, as another process would open it.
    pub async fn latest(&self) -> S {
        (self.open)(self.url()).await
    }

    /// Of the latest store.
    pub fn url(&self) -> String {
        let (server, name, schema) = (&self.url, &self.name, self.schema());
        format!("{server}?connections=4&application_name={name}&schema={schema}")
    }
}

#[async_trait]
impl<S: Send + Sync + 'static> Kind for Schemas<S> {
    type Store = S;

    async fn fresh(&self) -> S {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.latest().await
    }

    async fn reopen(&self, store: S) -> S {
        drop(store);
        self.latest().await
    }
}
