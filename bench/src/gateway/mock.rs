//! A vendor that costs almost nothing: one thread, answers made beforehand.
//!
//! `POST …/chat/completions` and `…/messages`. The model's name says what comes back: `mock` a whole answer of about 1 KB,
//! `mock-64x20` a stream of 64 deltas, one every 20 ms (0 for as fast as it goes).

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::say;

/// The model's name stands within so many bytes of the start or the end of a request.
const SEARCHED: usize = 2_048;

/// Listens on a port of its own, says which, and answers until it is killed.
pub fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.context("start the runtime")?, async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let listener = listener.context("listen")?;
        say(&format!("listening on http://{}", listener.local_addr().context("listen")?))?;
        let scripts = Rc::new(Scripts::default());
        loop {
            let (stream, _) = listener.accept().await.context("accept")?;
            stream.set_nodelay(true).context("set TCP_NODELAY")?;
            let scripts = Rc::clone(&scripts);
            let service = service_fn(move |request| answer(Rc::clone(&scripts), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A caller that goes away is no news here.
            tokio::task::spawn_local(async { drop(connection.await) });
        }
    })
}

/// What each model says, made once.
#[derive(Default)]
struct Scripts {
    known: RefCell<HashMap<(Dialect, Vec<u8>), Script>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Dialect {
    Chat,
    Messages,
}

#[derive(Clone)]
enum Script {
    Whole(Bytes),
    Stream { frames: Rc<[Bytes]>, pace: Duration },
}

impl Scripts {
    fn get(&self, dialect: Dialect, model: &[u8]) -> Script {
        let mut known = self.known.borrow_mut();
        let key = (dialect, model.to_vec());
        known
            .entry(key)
            .or_insert_with(|| Script::of(dialect, &String::from_utf8_lossy(model)))
            .clone()
    }
}

impl Script {
    fn of(dialect: Dialect, model: &str) -> Self {
        match (shape(model), dialect) {
            (None, Dialect::Chat) => Self::Whole(whole_chat(model)),
            (None, Dialect::Messages) => Self::Whole(whole_message(model)),
            (Some((deltas, pace)), _) => {
                let frames = match dialect {
                    Dialect::Chat => chat_frames(model, deltas),
                    Dialect::Messages => message_frames(model, deltas),
                };
                Self::Stream { frames: frames.into(), pace: Duration::from_millis(pace) }
            }
        }
    }
}

type Reply = Either<Full<Bytes>, Paced>;

async fn answer(
    scripts: Rc<Scripts>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, hyper::Error> {
    let dialect = match request.uri().path().ends_with("/messages") {
        true => Dialect::Messages,
        false => Dialect::Chat,
    };
    let mut body = request.into_body();
    let mut model = None;
    let mut tail = Bytes::new();
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame?.into_data() else { continue };
        model = model.or_else(|| model_in(bytes.get(..SEARCHED).unwrap_or(&bytes)));
        tail = bytes;
    }
    let model = model
        .or_else(|| model_in(tail.get(tail.len().saturating_sub(SEARCHED)..).unwrap_or(&tail)));
    let (kind, reply) = match scripts.get(dialect, model.as_deref().unwrap_or(b"mock")) {
        Script::Whole(bytes) => ("application/json", Either::Left(Full::new(bytes))),
        Script::Stream { frames, pace } => {
            ("text/event-stream; charset=utf-8", Either::Right(Paced::new(frames, pace)))
        }
    };
    let mut response = Response::new(reply);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

fn model_in(bytes: &[u8]) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"\"model\":";
    let at = bytes.windows(NAME.len()).position(|window| window == NAME)?;
    let value = bytes.get(at + NAME.len()..)?.trim_ascii_start().strip_prefix(b"\"")?;
    let end = value.iter().position(|byte| *byte == b'"')?;
    value.get(..end).map(<[u8]>::to_vec)
}

/// Frames, each at its time.
struct Paced {
    frames: Rc<[Bytes]>,
    at: usize,
    pace: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    fn new(frames: Rc<[Bytes]>, pace: Duration) -> Self {
        Self { frames, at: 0, pace, alarm: None }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let Some(frame) = this.frames.get(this.at) else { return Poll::Ready(None) };
        // The first one waits for nothing.
        match &mut this.alarm {
            None if this.pace.is_zero() => {}
            None => this.alarm = Some(Box::pin(sleep_until(Instant::now() + this.pace))),
            Some(alarm) => {
                ready!(alarm.as_mut().poll(cx));
                let next = alarm.deadline() + this.pace;
                alarm.as_mut().reset(next);
            }
        }
        this.at += 1;
        Poll::Ready(Some(Ok(Frame::data(frame.clone()))))
    }
}

/// How many deltas a model streams, and at which pace in milliseconds; nothing when it answers whole.
pub(crate) fn shape(model: &str) -> Option<(usize, u64)> {
    let (deltas, pace) = model.rsplit_once('-')?.1.split_once('x')?;
    Some((deltas.parse().ok()?, pace.parse().ok()?))
}

/// The text of a delta. Whoever reads it can tell which one is missing.
#[must_use]
pub fn word(number: usize) -> String {
    format!("w{number:05} ")
}

fn whole_chat(model: &str) -> Bytes {
    json!({
        "id": "chatcmpl-mock", "object": "chat.completion", "created": 1_750_000_000, "model": model,
        "choices": [{
            "index": 0,
            "message": { "role": "assistant", "content": words(100), "refusal": null },
            "logprobs": null, "finish_reason": "stop",
        }],
        "usage": { "prompt_tokens": 200, "completion_tokens": 100, "total_tokens": 300 },
    })
    .to_string()
    .into()
}

fn words(count: usize) -> String {
    (0..count).map(word).collect()
}

fn chat_frames(model: &str, deltas: usize) -> Vec<Bytes> {
    let chunk = |choices: serde_json::Value, usage: serde_json::Value| {
        let chunk = json!({
            "id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1_750_000_000, "model": model,
            "choices": choices, "usage": usage,
        });
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let choice = |delta: serde_json::Value, reason: Option<&str>| {
        let choice =
            json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": reason }]);
        chunk(choice, serde_json::Value::Null)
    };
    let mut frames: Vec<Bytes> = (0..deltas)
        .map(|number| match number {
            0 => choice(json!({ "role": "assistant", "content": word(0) }), None),
            _ => choice(json!({ "content": word(number) }), None),
        })
        .collect();
    frames.push(choice(json!({}), Some("stop")));
    let usage =
        json!({ "prompt_tokens": 200, "completion_tokens": deltas, "total_tokens": 200 + deltas });
    frames.push(chunk(json!([]), usage));
    frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
    frames
}

fn whole_message(model: &str) -> Bytes {
    json!({
        "id": "msg_mock", "type": "message", "role": "assistant", "model": model,
        "content": [{ "type": "text", "text": words(100) }],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": { "input_tokens": 200, "output_tokens": 100 },
    })
    .to_string()
    .into()
}

fn message_frames(model: &str, deltas: usize) -> Vec<Bytes> {
    let event = |name: &str, mut data: serde_json::Value| {
        if let serde_json::Value::Object(fields) = &mut data {
            fields.insert("type".to_owned(), name.into());
        }
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = write!(text, "event: {name}\ndata: {data}\n\n");
        Bytes::from(text)
    };
    let message = json!({
        "id": "msg_mock", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": 200, "output_tokens": 1 },
    });
    let mut frames = vec![
        event("message_start", json!({ "message": message })),
        event(
            "content_block_start",
            json!({ "index": 0, "content_block": { "type": "text", "text": "" } }),
        ),
    ];
    frames.extend((0..deltas).map(|number| {
        let delta = json!({ "type": "text_delta", "text": word(number) });
        event("content_block_delta", json!({ "index": 0, "delta": delta }))
    }));
    frames.push(event("content_block_stop", json!({ "index": 0 })));
    let delta = json!({ "stop_reason": "end_turn", "stop_sequence": null });
    frames.push(event(
        "message_delta",
        json!({ "delta": delta, "usage": { "output_tokens": deltas } }),
    ));
    frames.push(event("message_stop", json!({})));
    frames
}
