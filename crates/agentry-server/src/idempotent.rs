//! Keys under which a call is made once: whoever sends it again gets the answer that was given, and nothing is paid for it.
//!
//! A call with a key belongs to a task, not to the connection: a caller who goes away leaves an answer behind that is
//! finished and kept. Only complete answers are kept; after a failure the key is free again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agentry_core::idempotency::{ANSWER_BYTES_MAX, Begin, Begun, Idempotency, KEPT, Ticket};
use agentry_core::{Clock, MicroUsd, store};
use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::question::Complete;
use crate::{Refusal, answering};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const X_REPLAYED: HeaderName = HeaderName::from_static("x-agentry-replayed");
const KEY_BYTES_MAX: usize = 255;

/// The gateway ends a call by itself when its time is over; this much later it is ended here.
const GRACE: Duration = Duration::from_secs(1);
/// For keeping the answer. After that the key is somebody else's.
const KEEPING: Duration = Duration::from_secs(5);
/// So much of a stream may wait for its caller. Whoever is further behind reads it from the store.
const BEHIND_BYTES_MAX: usize = ANSWER_BYTES_MAX;
const BEHIND_PIECES_MAX: usize = 32_768;

/// The key that a request names.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let printable = |key: &&str| {
        (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|b| (b' '..=b'~').contains(&b))
    };
    let one = headers.get_all(IDEMPOTENCY_KEY).iter().count() == 1;
    match value.to_str().ok().filter(printable) {
        Some(key) if one => Ok(Some(key)),
        _ => Err(Refusal::bad_request(
            "header_invalid",
            "the header idempotency-key is wrong: send it once, with 1 to 255 printable characters of ASCII",
        )
        .param("idempotency-key")),
    }
}

/// A call that is to be made once.
pub(crate) struct Asking {
    pub(crate) tenant: String,
    /// Who asks, where that is known.
    pub(crate) user: Option<String>,
    /// With what tells it from keys of another kind.
    pub(crate) key: String,
    pub(crate) request: [u8; 32],
    /// After this long the call is over, whatever happens.
    pub(crate) timeout: Duration,
}

/// Makes calls once. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Once {
    pub(crate) store: Arc<dyn Idempotency>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Owns calls from their beginning to the moment when their answer is kept.
    pub(crate) tracker: TaskTracker,
}

type Told = oneshot::Sender<Result<Response, Refusal>>;

impl Once {
    /// Answers what is kept, or makes the call. It goes on when nobody waits for it any more.
    pub(crate) async fn answer<F>(
        &self,
        asking: Asking,
        call: impl FnOnce(Complete) -> F + Send + 'static,
    ) -> Result<Response, Refusal>
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let this = self.clone();
        self.tracker.spawn(async move { this.begin(asking, call, tell).await });
        told.await.unwrap_or_else(|_| {
            let message =
                "a defect in the server ended this call: the log has it under this x-request-id";
            Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message))
        })
    }

    async fn begin<F>(
        self,
        asking: Asking,
        call: impl FnOnce(Complete) -> F + Send + 'static,
        tell: Told,
    ) where
        F: Future<Output = Response> + Send + 'static,
    {
        let Asking { tenant, user, key, request, timeout } = asking;
        let now = self.clock.now();
        let begin = Begin {
            tenant,
            key,
            user,
            request,
            now,
            busy_until: now.plus(timeout + GRACE + KEEPING),
            keep_until: now.plus(KEPT),
        };
        let end = Instant::now() + timeout + GRACE;
        let known = match self.store.begin(begin).await {
            Ok(Begun::New(ticket)) => return self.make(ticket, (call, end), tell).await,
            Ok(Begun::Replay(kept)) => replay(&kept),
            Ok(Begun::InProgress) => Err(in_progress()),
            Ok(Begun::NotKept) => Err(not_kept()),
            Ok(Begun::Conflict) => Err(conflict()),
            Err(problem) => Err(Refusal::of(&problem)),
        };
        // Whoever is gone by now does not want to know.
        let _ = tell.send(known);
    }

    async fn make<F>(
        &self,
        ticket: Ticket,
        (call, end): (impl FnOnce(Complete) -> F + Send + 'static, Instant),
        tell: Told,
    ) where
        F: Future<Output = Response> + Send + 'static,
    {
        let complete = Complete::default();
        let Ok(response) = timeout_at(end, call(complete.clone())).await else {
            self.abandon(&ticket).await;
            let message = "the time for the call was over before it was answered";
            let late = Refusal::new(StatusCode::GATEWAY_TIMEOUT, "model_timed_out", message);
            let _ = tell.send(Err(late));
            return;
        };
        if !response.status().is_success() {
            self.abandon(&ticket).await;
            let _ = tell.send(Ok(response));
            return;
        }
        let (parts, body) = response.into_parts();
        let head = Kept::of(parts.status, &parts.headers);
        if complete.is_marked() {
            let whole = match body.collect().await {
                Ok(body) => body.to_bytes(),
                // A whole answer is in memory already.
                Err(_) => Bytes::new(),
            };
            self.keep(&ticket, &head, &whole).await;
            let _ = tell.send(Ok(Response::from_parts(parts, Body::from(whole))));
            return;
        }
        let (tx, rx) = mpsc::channel(BEHIND_PIECES_MAX);
        let behind = Arc::new(AtomicUsize::new(0));
        let pieces = stream::unfold((rx, Arc::clone(&behind)), |(mut rx, behind)| async move {
            let piece: Bytes = rx.recv().await?;
            behind.fetch_sub(piece.len(), Ordering::Relaxed);
            Some((Ok::<_, std::convert::Infallible>(piece), (rx, behind)))
        });
        let _ = tell.send(Ok(Response::from_parts(parts, Body::from_stream(pieces))));
        let gathered = Gathering { once: self, ticket: &ticket, head: &head, complete, end };
        if !gathered.run(body, (tx, behind)).await {
            self.abandon(&ticket).await;
        }
    }

    /// What was paid for must not get lost because the store was away for a moment.
    async fn keep(&self, ticket: &Ticket, head: &Kept, body: &[u8]) {
        let Ok(mut answer) = serde_json::to_vec(head) else { return };
        answer.push(b'\n');
        answer.extend_from_slice(body);
        let answer = Bytes::from(answer);
        let mut pause = Duration::from_millis(100);
        loop {
            match self.store.finish(ticket, answer.clone()).await {
                Ok(true) => return,
                Ok(false) => {
                    warn!("an answer came after its key was given to somebody else");
                    return;
                }
                Err(problem) if pause > Duration::from_secs(1) => {
                    error!(%problem, "an answer could not be kept for its idempotency key");
                    return;
                }
                Err(_) => sleep(pause).await,
            }
            pause *= 4;
        }
    }

    async fn abandon(&self, ticket: &Ticket) {
        if let Err(problem) = self.store.abandon(ticket).await {
            warn!(%problem, "an idempotency key stays taken until its time is over");
        }
    }
}

/// A stream that is told to its caller and gathered at the same time.
struct Gathering<'a> {
    once: &'a Once,
    ticket: &'a Ticket,
    head: &'a Kept,
    complete: Complete,
    end: Instant,
}

impl Gathering<'_> {
    /// To the end, whether or not the caller stays, and however slowly it reads. Says whether all of it has come.
    async fn run(
        self,
        mut body: Body,
        (tx, behind): (mpsc::Sender<Bytes>, Arc<AtomicUsize>),
    ) -> bool {
        let Self { once, ticket, head, complete, end } = self;
        let mut gathered = BytesMut::new();
        let mut caller = Some(tx);
        let mut is_kept = false;
        while let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await {
            let Ok(data) = frame.into_data() else { continue };
            // What is larger is not kept, and the store is to know that it was.
            if gathered.len() <= ANSWER_BYTES_MAX {
                gathered.extend_from_slice(&data);
            }
            // Kept before its caller knows that this is the end, and may ask again.
            if complete.is_marked() && !is_kept {
                once.keep(ticket, head, &gathered).await;
                is_kept = true;
            }
            let waiting = behind.fetch_add(data.len(), Ordering::Relaxed);
            let told = |tx: mpsc::Sender<Bytes>| tx.try_send(data).is_ok().then_some(tx);
            caller = caller.filter(|_| waiting <= BEHIND_BYTES_MAX).and_then(told);
        }
        is_kept
    }
}

/// What stands before the body of an answer that is kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Kept {
    #[serde(rename = "1")]
    V1 { status: u16, content_type: String },
}

impl Kept {
    fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let content_type = kind.unwrap_or("application/json").to_owned();
        Self::V1 { status: status.as_u16(), content_type }
    }
}

fn replay(kept: &Bytes) -> Result<Response, Refusal> {
    let unreadable = || {
        let problem = store::Error::Incompatible("an answer under an idempotency key".to_owned());
        Refusal::of(&problem)
    };
    let end = kept.iter().position(|byte| *byte == b'\n').ok_or_else(unreadable)?;
    let head = serde_json::from_slice(kept.get(..end).unwrap_or_default());
    let Kept::V1 { status, content_type } = head.map_err(|_| unreadable())?;
    let mut response = Response::new(Body::from(kept.slice(end + 1..)));
    *response.status_mut() = StatusCode::from_u16(status).map_err(|_| unreadable())?;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_str(&content_type).map_err(|_| unreadable())?;
    if content_type.starts_with("text/event-stream") {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(X_REPLAYED, HeaderValue::from_static("true"));
    answering::cost(headers, MicroUsd(0));
    Ok(response)
}

fn in_progress() -> Refusal {
    Refusal::new(
        StatusCode::CONFLICT,
        "idempotency_in_progress",
        "the request with this idempotency-key is being answered: send it again in a moment",
    )
    .retry_after(Duration::from_secs(1))
}

fn not_kept() -> Refusal {
    Refusal::new(
        StatusCode::CONFLICT,
        "idempotency_not_kept",
        "the request with this idempotency-key was answered, but the answer was too large to be kept: \
         to pay for another one, send it with a new key",
    )
}

fn conflict() -> Refusal {
    Refusal::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency_conflict",
        "another request was sent with this idempotency-key: each request needs a key of its own",
    )
    .param("idempotency-key")
}

/// This instance keeps no answers.
pub(crate) fn off() -> Refusal {
    Refusal::bad_request(
        "idempotency_off",
        "this instance keeps no answers, so it cannot promise to make a call once: leave idempotency-key out",
    )
    .param("idempotency-key")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use agentry_core::Timestamp;
    use async_trait::async_trait;

    use super::*;

    /// Keeps the answer to one request.
    #[derive(Default)]
    struct One(Mutex<Option<Bytes>>);

    #[async_trait]
    impl Idempotency for One {
        async fn begin(&self, begin: Begin) -> Result<Begun, store::Error> {
            let Begin { tenant, key, .. } = begin;
            Ok(match &*self.0.lock().unwrap() {
                Some(answer) => Begun::Replay(answer.clone()),
                None => Begun::New(Ticket { tenant, key, attempt: 1 }),
            })
        }

        async fn finish(&self, _: &Ticket, answer: Bytes) -> Result<bool, store::Error> {
            *self.0.lock().unwrap() = Some(answer);
            Ok(true)
        }

        async fn abandon(&self, _: &Ticket) -> Result<(), store::Error> {
            Ok(())
        }

        async fn forget_expired(&self, _: Timestamp) -> Result<u64, store::Error> {
            Ok(0)
        }

        async fn forget_user(&self, _: &str, _: &str) -> Result<u64, store::Error> {
            Ok(0)
        }
    }

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(0)
        }
    }

    #[test]
    fn an_answer_of_the_first_version_stays_readable() {
        let stored =
            b"{\"v\":\"1\",\"status\":200,\"content_type\":\"text/event-stream\"}\ndata: 1\n\n";
        let response = replay(&Bytes::from_static(stored)).unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        assert_eq!(response.headers()["x-agentry-replayed"], "true");
        let written = Kept::of(response.status(), response.headers());
        let kept = Kept::V1 { status: 200, content_type: "text/event-stream".to_owned() };
        assert_eq!(written, kept);
        for broken in [&b"{}\nx"[..], b"no line", b"{\"v\":\"2\"}\nx"] {
            assert!(replay(&Bytes::from_static(broken)).is_err());
        }
    }

    #[tokio::test]
    async fn a_caller_that_does_not_read_leaves_an_answer_behind() {
        let once = Once {
            store: Arc::new(One::default()),
            clock: Arc::new(Stopped),
            tracker: TaskTracker::new(),
        };
        let asking = || Asking {
            tenant: "main".to_owned(),
            user: None,
            key: "call:k".to_owned(),
            request: [7; 32],
            timeout: Duration::from_millis(100),
        };
        let piece = |number: usize, complete: &Complete| {
            if number == 99 {
                complete.mark();
            }
            Ok::<_, std::convert::Infallible>(Bytes::from_static(b"data: so\n\n"))
        };
        let streams = move |complete: Complete| async move {
            let pieces = stream::iter((0..100).map(move |number| piece(number, &complete)));
            Response::new(Body::from_stream(pieces))
        };
        let unread = once.answer(asking(), streams).await.unwrap();
        once.tracker.close();
        once.tracker.wait().await;
        let never = |_| async { panic!("it is paid for again") };
        let again = once.answer(asking(), never).await.unwrap();
        assert_eq!(again.headers()["x-agentry-replayed"], "true");
        for response in [unread, again] {
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.len(), 1_000);
        }
    }

    #[test]
    fn a_key_is_printable_and_not_too_long() {
        let check = |values: &[&[u8]], expected: Option<Option<&str>>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
            }
            assert_eq!(key(&headers).ok(), expected, "{values:?}");
        };
        check(&[], Some(None));
        check(&[b"a key~"], Some(Some("a key~")));
        check(&[b""], None);
        check(&[b"\xc3\xa4"], None);
        check(&[b"a\tb"], None);
        check(&[b"a", b"b"], None);
        check(&[&[b'x'; 256]], None);
        let longest = "x".repeat(255);
        check(&[longest.as_bytes()], Some(Some(&longest)));
    }
}
