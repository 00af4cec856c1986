//! A server on a free port, a model that does as it is told, and a client that speaks raw bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::chat::{ChatRequest, Event, FinishReason, Head, Usage};
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError};
use agentry_core::{Clock, MicroUsd, Timestamp};
use agentry_gateway::{Alias, Gateway, Price, Surroundings, Target};
use agentry_server::{App, BodyLimits, Drained, Metrics, Settings, serve};
use async_trait::async_trait;
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Nothing in these tests may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Deadlines short enough to wait for, long enough for a busy machine.
pub(crate) fn settings() -> Settings {
    Settings {
        connections_max: 64,
        first_byte: Duration::from_millis(400),
        head: Duration::from_millis(400),
        idle: Duration::from_millis(400),
        write_stall: Duration::from_millis(400),
        ping: Duration::from_millis(400),
        body: BodyLimits {
            bytes_max: 10_000,
            idle: Duration::from_millis(400),
            bytes_per_second_min: 1024,
            total: Duration::from_secs(10),
        },
        drain: Duration::from_secs(10),
        ..Settings::default()
    }
}

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) model: Arc<Puppet>,
    pub(crate) shutdown: CancellationToken,
    task: JoinHandle<Drained>,
}

impl Server {
    pub(crate) async fn start(settings: Settings) -> Self {
        Self::start_with(settings, |app| app).await
    }

    /// With more than the usual faces.
    pub(crate) async fn start_with(settings: Settings, more: impl FnOnce(App) -> App) -> Self {
        let model = Arc::new(Puppet::new());
        let price = Price {
            input: MicroUsd(1_000_000),
            cached_input: MicroUsd(500_000),
            cache_write: MicroUsd(1_000_000),
            output: MicroUsd(2_000_000),
        };
        let target = Target {
            price: Some(price),
            ..Target::new("puppet", "p-1", Arc::clone(&model) as Arc<dyn ChatModel>)
        };
        let alias = Alias { retries: 0, ..Alias::new("fast", vec![target]) };
        let metrics = Arc::new(Metrics::new());
        let gateway = Gateway::new(
            vec![alias],
            Surroundings::new(Arc::clone(&metrics) as _, Arc::new(Noon), 7),
        );
        let gateway = gateway.unwrap();
        let app = App::new(Arc::new(gateway), metrics, Arc::new(Noon)).settings(settings);
        let app = more(app);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "the test awaits it in `stop`")]
        let task = tokio::spawn(serve(listener, app, shutdown.clone()));
        Self { addr, model, shutdown, task }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.addr).await.unwrap())
    }

    /// Sends `request` and reads until the server closes.
    pub(crate) async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(request).await;
        client.rest().await
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.exchange(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> String {
        self.exchange(post(path, body)).await
    }

    pub(crate) async fn assert_healthy(&self, after: &str) {
        let health = self.get("/health").await;
        assert!(health.starts_with("HTTP/1.1 200 "), "after {after}: {health}");
    }

    pub(crate) async fn stop(self) -> Drained {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }
}

pub(crate) fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) struct Client(TcpStream);

impl Client {
    /// The other side may have closed already: what it said is what counts.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = timeout(PATIENCE, self.0.write_all(bytes.as_ref())).await.expect("to be read");
    }

    /// Everything until the server closes the connection, which it must.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await;
        let _ = read.unwrap_or_else(|_| panic!("still open, got {}", show(&bytes)));
        show(&bytes)
    }

    /// Reads until `text` has come.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let mut bytes = Vec::new();
        while !show(&bytes).contains(text) {
            let mut piece = [0; 4096];
            let read = timeout(PATIENCE, self.0.read(&mut piece)).await;
            let read = read.unwrap_or_else(|_| panic!("no {text} in {}", show(&bytes))).unwrap();
            assert!(read > 0, "closed without {text}: {}", show(&bytes));
            bytes.extend_from_slice(&piece[..read]);
        }
        show(&bytes)
    }

    /// Sends `piece` again and again until the server closes, and returns what it said.
    pub(crate) async fn drip(self, piece: &[u8], every: Duration) -> String {
        let (mut read, mut write) = self.0.into_split();
        let drip = async {
            loop {
                if write.write_all(piece).await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(every).await;
            }
        };
        let mut bytes = Vec::new();
        let rest = async { read.read_to_end(&mut bytes).await };
        tokio::select! {
            () = drip => unreachable!("it drips for ever"),
            rest = timeout(PATIENCE, rest) => { let _ = rest.expect("to be closed"); }
        }
        show(&bytes)
    }
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_795_180_800_000)
    }
}

/// Answers according to the last user text: `say …`, `hang`, `break`, `slow`, `fail …`.
pub(crate) struct Puppet {
    /// Lets `slow` go on.
    pub(crate) go_on: watch::Sender<bool>,
    /// How many answers are being written.
    pub(crate) open: Arc<watch::Sender<usize>>,
}

struct Open(Arc<watch::Sender<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl Puppet {
    fn new() -> Self {
        Self { go_on: watch::Sender::new(false), open: Arc::new(watch::Sender::new(0)) }
    }

    /// Waits until exactly `count` answers are being written.
    pub(crate) async fn wait_open(&self, count: usize) {
        let mut open = self.open.subscribe();
        let waited = timeout(PATIENCE, open.wait_for(|open| *open == count)).await;
        waited.unwrap_or_else(|_| panic!("never {count} calls in flight")).unwrap();
    }
}

fn text(text: &str) -> Result<Event, ModelError> {
    Ok(Event::Text { choice: 0, text: text.to_owned() })
}

fn end() -> Vec<Result<Event, ModelError>> {
    vec![
        Ok(Event::Finished { choice: 0, reason: FinishReason::Stop }),
        Ok(Event::Usage(Usage::new(10, 5))),
        Ok(Event::Done),
    ]
}

#[async_trait]
impl ChatModel for Puppet {
    fn capabilities(&self) -> Capabilities {
        Capabilities { tools: true, ..Capabilities::default() }
    }

    async fn stream(
        &self,
        _cx: &CallContext,
        request: ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        self.open.send_modify(|open| *open += 1);
        let open = Open(Arc::clone(&self.open));
        let head = Head { id: "p1".to_owned(), model: "p-1".to_owned(), ..Head::default() };
        let asked = request.last_user_text();
        let (verb, rest) = asked.split_once(' ').unwrap_or((asked.as_str(), ""));
        let mut events = vec![Ok(Event::Started(head))];
        match verb {
            "say" => {
                events.push(text(rest));
                events.extend(end());
            }
            "hang" => std::future::pending::<()>().await,
            "break" => {
                events.push(text("so far"));
                events.push(Err(ModelError::BrokeOff { message: "power cut".to_owned() }));
            }
            "cut" => events.push(text("so far")),
            "slow" => {
                events.push(text("begun"));
                let mut go_on = self.go_on.subscribe();
                let first = stream::iter(events);
                let later = stream::once(async move {
                    let _ = go_on.wait_for(|go_on| *go_on).await;
                    let _open = open;
                    text(" and done")
                });
                let all = futures_util::StreamExt::chain(
                    futures_util::StreamExt::chain(first, later),
                    stream::iter(end()),
                );
                return Ok(Box::pin(all));
            }
            "flood" => {
                let piece = "x".repeat(64 * 1024);
                let flood = stream::repeat_with(move || {
                    let _open = &open;
                    text(&piece)
                });
                return Ok(Box::pin(flood));
            }
            "invalid" => {
                return Err(ModelError::Invalid {
                    message: "too long".to_owned(),
                    param: Some("messages".to_owned()),
                    upstream_code: Some("context_length_exceeded".to_owned()),
                });
            }
            "limited" => {
                let after = Some(Duration::from_millis(1500));
                return Err(ModelError::RateLimited { message: "slow down".to_owned(), after });
            }
            "panic" => panic!("the puppet was told to"),
            other => panic!("the puppet does not know `{other}`"),
        }
        Ok(Box::pin(stream::iter(events)))
    }
}
