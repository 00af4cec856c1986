use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use agentry_testkit::shared::{self, SharedKind};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::*;

/// The server that the test runner provides.
fn server() -> Option<String> {
    let url = std::env::var_os("AGENTRY_TEST_REDIS_URL").filter(|url| !url.is_empty());
    if url.is_none() {
        let skipped = "skipped: AGENTRY_TEST_REDIS_URL is not set; `cargo xtask test` sets it";
        drop(writeln!(std::io::stderr(), "{skipped}"));
    }
    url.map(|url| url.into_string().unwrap())
}

/// Tests may share a server, even with another run of themselves.
fn settings() -> Settings {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let prefix = format!("test:{}:{number}", std::process::id());
    // A busy machine is no reason to fail.
    Settings { prefix, deadline: Duration::from_secs(5), ..Settings::default() }
}

#[derive(Default)]
struct Running {
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Running {
    fn start(&self, url: &str, settings: Settings) -> RedisShared {
        let (store, keeper) = RedisShared::open(url, settings).unwrap();
        self.tasks.spawn(keeper.run(self.shutdown.clone()));
        store
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Looks until it is so. What never comes to be is a failure after ten seconds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} never came to be");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Redis {
    url: String,
    running: Running,
}

impl SharedKind for Redis {
    async fn fresh(&self) -> Arc<dyn Shared> {
        let store = self.running.start(&self.url, settings());
        let mut hints = store.hints();
        until("a connection", async || store.is_there()).await;
        assert_eq!(hints.next().await, Some(Hint::Missed), "from here on it hears");
        Arc::new(store)
    }

    async fn pass(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

macro_rules! each {
    ($($name:ident)*) => {
        $(#[tokio::test]
        async fn $name() {
            let Some(url) = server() else { return };
            let kind = Redis { url, running: Running::default() };
            shared::$name(&kind).await;
            kind.running.stop().await;
        })*
    };
}

agentry_testkit::for_each_shared_test!(each);

/// Between us and the server: what it does changes while it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Carries,
    /// Takes connections, says nothing, and forgets what it hears.
    Hangs,
    Cuts,
}

async fn wire(server: &str, tasks: &TaskTracker) -> (String, watch::Sender<Wire>) {
    let server = server.trim_start_matches("redis://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (control, mut state) = watch::channel(Wire::Carries);
    let inner = tasks.clone();
    tasks.spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                changed = state.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            let (near, _) = accepted.unwrap();
            inner.spawn(carry(near, server.clone(), state.clone()));
        }
    });
    (url, control)
}

async fn carry(mut near: TcpStream, server: String, mut state: watch::Receiver<Wire>) {
    let mut far = TcpStream::connect(server).await.unwrap();
    loop {
        let now = *state.borrow_and_update();
        let end = match now {
            Wire::Cuts => true,
            Wire::Hangs => state.changed().await.is_err(),
            Wire::Carries => tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => true,
                changed = state.changed() => changed.is_err(),
            },
        };
        if end {
            drop(near.shutdown().await);
            return;
        }
    }
}

#[tokio::test]
async fn a_server_that_goes_away_costs_one_deadline_and_is_found_again() {
    let Some(server) = server() else { return };
    for trouble in [Wire::Hangs, Wire::Cuts] {
        let running = Running::default();
        let (url, control) = wire(&server, &running.tasks).await;
        let settings = Settings { deadline: Duration::from_millis(300), ..settings() };
        let store = running.start(&url, settings);
        until("a connection", async || store.is_there()).await;
        until("an answer", async || store.get(b"a").await.is_ok()).await;

        control.send(trouble).unwrap();
        until("trouble", async || store.get(b"a").await.is_err()).await;
        // Nobody waits now: a thousand calls take less than one deadline each would.
        let start = Instant::now();
        for _ in 0..1_000 {
            assert!(matches!(store.get(b"a").await, Err(Error::Away { .. })));
        }
        assert!(start.elapsed() < Duration::from_secs(10));

        let mut hints = store.hints();
        control.send(Wire::Carries).unwrap();
        until("an answer", async || store.get(b"a").await.is_ok()).await;
        if trouble == Wire::Cuts {
            assert_eq!(hints.next().await, Some(Hint::Missed));
        }
        drop(control);
        running.stop().await;
    }
}

#[tokio::test]
async fn callers_with_less_patience_notice_a_hanging_server_too() {
    let Some(server) = server() else { return };
    let running = Running::default();
    let (url, control) = wire(&server, &running.tasks).await;
    let store = running.start(&url, settings());
    until("an answer", async || store.get(b"a").await.is_ok()).await;
    control.send(Wire::Hangs).unwrap();
    // Far below the deadline of an operation, which is five seconds here.
    let patience = Duration::from_millis(20);
    until("noticing", async || {
        matches!(tokio::time::timeout(patience, store.get(b"a")).await, Ok(Err(Error::Away { .. })))
    })
    .await;
    control.send(Wire::Carries).unwrap();
    until("an answer", async || store.get(b"a").await.is_ok()).await;
    drop(control);
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_comes_later_is_found() {
    let Some(server) = server() else { return };
    let running = Running::default();
    let (url, control) = wire(&server, &running.tasks).await;
    control.send(Wire::Hangs).unwrap();
    let settings = Settings { connect_deadline: Duration::from_millis(100), ..settings() };
    let store = running.start(&url, settings);
    assert!(matches!(store.get(b"a").await, Err(Error::Away { .. })));
    assert!(matches!(store.present("i", Duration::from_secs(1)).await, Err(Error::Away { .. })));
    control.send(Wire::Carries).unwrap();
    until("an answer", async || store.get(b"a").await.is_ok()).await;
    drop(control);
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_the_connections_fault_leaves_it_alone() {
    let Some(server) = server() else { return };
    let running = Running::default();
    let store = running.start(&server, settings());
    until("a connection", async || store.is_there()).await;
    let mut connection = store.link.connection().unwrap();
    let key = store.entry(b"a");
    let mut set = redis::cmd("SET");
    set.arg(key).arg("not ours");
    set.query_async::<()>(&mut connection).await.unwrap();
    let Err(Error::Away { reason }) = store.get(b"a").await else {
        panic!("it is of another type")
    };
    assert!(reason.contains("wrong kind of value"), "{reason}");
    assert!(store.is_there());
    running.stop().await;
}

#[tokio::test]
async fn an_encrypted_address_is_tried_encrypted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rediss://{}", listener.local_addr().unwrap());
    let running = Running::default();
    let store = running.start(&url, settings());
    let mut hello = [0; 3];
    for _ in 0..2 {
        let (mut near, _) = listener.accept().await.unwrap();
        near.read_exact(&mut hello).await.unwrap();
        // A TLS handshake record, of whichever version.
        assert_eq!(hello[..2], [22, 3]);
    }
    assert!(!store.is_there());
    running.stop().await;
}

#[test]
fn an_address_that_is_none_says_what_to_write_and_keeps_its_password() {
    for url in ["", "localhost", "http://a:secret@b", "redis://:secret@b:port", "redis://h/zero"] {
        let problem = RedisShared::open(url, Settings::default()).err().expect(url).to_string();
        assert!(problem.contains("redis://HOST:6379"), "{problem}");
        assert!(!problem.contains("secret"), "{problem}");
    }
    assert!(RedisShared::open("rediss://u:p@h:6380/1", Settings::default()).is_ok());
}
