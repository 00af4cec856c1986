//! A closed loop of callers: each sends its next request when it has read the whole answer to the last.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::config::KEY;
use super::mock::shape;
use super::sse;

/// An answer that takes longer counts as failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Where requests go, and with which headers.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    headers: HeaderMap,
}

impl Target {
    pub(crate) fn at(address: &str) -> Result<Self> {
        let headers = [
            (HOST, HeaderValue::try_from(address).context("an address")?),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (AUTHORIZATION, HeaderValue::try_from(format!("Bearer {KEY}")).context("a key")?),
        ];
        let address = address.parse().with_context(|| format!("{address} is no HOST:PORT"))?;
        Ok(Self { address, headers: headers.into_iter().collect() })
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Result<Self> {
        let value = HeaderValue::try_from(value).with_context(|| format!("the header {name}"))?;
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    pub(crate) async fn connect(&self) -> Result<Caller> {
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.with_context(|| format!("connect to {}", self.address))?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.context("connect")?;
        // What goes wrong with it, its requests tell.
        tokio::task::spawn_local(async { drop(connection.await) });
        Ok(Caller { sender, headers: self.headers.clone() })
    }
}

/// A request body of about `bytes`, made once; each copy differs from the others unless it shall not.
pub(crate) struct Prompt {
    text: Vec<u8>,
    /// Where the number stands that makes a copy its own.
    number_at: usize,
    /// How many deltas are to come; nothing when the answer is whole.
    deltas: Option<usize>,
    varies: bool,
}

const DIGITS: usize = 12;

impl Prompt {
    /// The same every time: what a cache answers.
    pub(crate) fn repeated(self) -> Self {
        Self { varies: false, ..self }
    }

    /// `model` says whether the answer is streamed.
    pub(crate) fn new(model: &str, bytes: usize) -> Self {
        let deltas = shape(model).map(|(deltas, _)| deltas);
        let stream = if deltas.is_some() { r#","stream":true"# } else { "" };
        let mut text = format!(
            r#"{{"model":"{model}"{stream},"max_tokens":256,"messages":[{{"role":"user","content":"request "#
        );
        let number_at = text.len();
        text.push_str(&"0".repeat(DIGITS));
        let end = r#""}]}"#;
        while text.len() + end.len() + 9 <= bytes {
            text.push_str(" and more");
        }
        text.push_str(end);
        Self { text: text.into_bytes(), number_at, deltas, varies: true }
    }

    fn numbered(&self, number: u64) -> Bytes {
        let mut text = self.text.clone();
        if self.varies
            && let Some(digits) = text.get_mut(self.number_at..self.number_at + DIGITS)
        {
            let mut rest = number;
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
                rest /= 10;
            }
        }
        text.into()
    }
}

thread_local! {
    /// No two requests of a run are alike, whichever scene sends them.
    static NEXT: Cell<u64> = const { Cell::new(1) };
}

fn next_number() -> u64 {
    NEXT.with(|next| next.replace(next.get() + 1))
}

/// One kept-alive connection.
pub(crate) struct Caller {
    sender: SendRequest<Full<Bytes>>,
    headers: HeaderMap,
}

/// What one call took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    /// Until the first token of a streamed answer; the same as `whole` otherwise.
    pub(crate) first: Duration,
    pub(crate) whole: Duration,
    /// The longest silence between two tokens.
    pub(crate) gap_max: Duration,
}

impl Caller {
    /// Fails when the answer is not the mock's, complete and undamaged.
    pub(crate) async fn call(&mut self, prompt: &Prompt) -> Result<Took> {
        self.call_telling(prompt, || ()).await
    }

    /// `on_first` runs when the first token is there.
    pub(crate) async fn call_telling(
        &mut self,
        prompt: &Prompt,
        on_first: impl FnOnce(),
    ) -> Result<Took> {
        let mut request = Request::new(Full::new(prompt.numbered(next_number())));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = http::Uri::from_static("/v1/chat/completions");
        *request.headers_mut() = self.headers.clone();
        let answer = self.answer(request, prompt.deltas, on_first);
        timeout(ANSWER_WITHIN, answer).await.context("no answer in time")?
    }

    async fn answer(
        &mut self,
        request: Request<Full<Bytes>>,
        deltas: Option<usize>,
        on_first: impl FnOnce(),
    ) -> Result<Took> {
        let start = Instant::now();
        self.sender.ready().await.context("wait for the connection")?;
        let response = self.sender.send_request(request).await.context("send")?;
        let status = response.status();
        let mut body = response.into_body();
        if status != StatusCode::OK {
            let said = body.collect().await.context("read a refusal")?.to_bytes();
            bail!("refused with {status}: {}", String::from_utf8_lossy(&said));
        }
        let Some(deltas) = deltas else {
            let mut length = 0;
            while let Some(frame) = body.frame().await {
                length += frame.context("read")?.data_ref().map_or(0, Bytes::len);
            }
            ensure!(length > 0, "the answer is empty");
            let whole = start.elapsed();
            return Ok(Took { first: whole, whole, gap_max: Duration::ZERO });
        };
        let (mut reader, mut on_first) = (sse::Reader::default(), Some(on_first));
        let (mut first, mut last, mut gap_max) = (None, start, Duration::ZERO);
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame.context("read")?.into_data() else { continue };
            if reader.push(&bytes)? == 0 {
                continue;
            }
            let now = Instant::now();
            if first.is_some() {
                gap_max = gap_max.max(now - last);
            } else {
                first = Some(now - start);
                on_first.take().into_iter().for_each(|tell| tell());
            }
            last = now;
        }
        reader.finish(deltas)?;
        let first = first.ok_or_else(|| anyhow!("the stream had no token"))?;
        Ok(Took { first, whole: start.elapsed(), gap_max })
    }
}

/// What a turn of many callers gave.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) took: Vec<Took>,
    pub(crate) failed: u64,
    pub(crate) first_failure: Option<String>,
    pub(crate) elapsed: Duration,
}

impl Ran {
    fn fail(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| format!("{error:#}"));
    }

    /// Nothing failed.
    pub(crate) fn flawless(self, what: &str) -> Result<Self> {
        match &self.first_failure {
            None => Ok(self),
            Some(failure) => {
                bail!(
                    "{what}: {} of {} calls failed: {failure}",
                    self.failed,
                    self.took.len() as u64 + self.failed
                )
            }
        }
    }
}

/// A turn: `concurrency` callers until `requests` are done or `within` is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) concurrency: usize,
    pub(crate) requests: u64,
    pub(crate) within: Duration,
}

pub(crate) async fn run(target: &Target, prompt: &Rc<Prompt>, turn: Turn) -> Result<Ran> {
    let mut callers = Vec::new();
    for _ in 0..turn.concurrency {
        callers.push(target.connect().await?);
    }
    let left = Rc::new(Cell::new(turn.requests));
    let ran = Rc::new(RefCell::new(Ran::default()));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for mut caller in callers {
        let (left, ran, prompt, target) =
            (Rc::clone(&left), Rc::clone(&ran), Rc::clone(prompt), target.clone());
        tasks.spawn_local(async move {
            while left.get() > 0 && start.elapsed() < turn.within {
                left.set(left.get() - 1);
                match caller.call(&prompt).await {
                    Ok(took) => ran.borrow_mut().took.push(took),
                    Err(error) => {
                        ran.borrow_mut().fail(&error);
                        // The connection may be gone with it.
                        caller = target.connect().await?;
                    }
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.context("a caller panicked")??;
    }
    let mut ran =
        Rc::try_unwrap(ran).map_err(|_| anyhow!("a caller outlived its turn"))?.into_inner();
    ran.elapsed = start.elapsed();
    Ok(ran)
}
