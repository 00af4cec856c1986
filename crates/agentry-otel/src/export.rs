//! The way out: batches, one after the other, each tried for a while and then given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentry_http::{Client, Deadlines};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::otlp::Span;
use crate::record::Noted;
use crate::{Settings, genai, otlp};

/// Owns what is not sent yet.
pub struct Exporter {
    pub(crate) settings: Settings,
    pub(crate) url: Uri,
    pub(crate) client: Client,
    pub(crate) incoming: mpsc::Receiver<Noted>,
    /// The batch that is being collected.
    pub(crate) pending: Vec<Noted>,
    /// How many calls had no room.
    pub(crate) dropped: Arc<AtomicU64>,
}

/// How often a batch is tried again.
const RETRIES: u32 = 4;
const WAIT_FIRST: Duration = Duration::from_millis(500);
const WAIT_LONGEST: Duration = Duration::from_secs(30);
/// What is left at the end gets so long in all.
const DRAIN: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Troubles are told no more often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

enum Sent {
    Yes,
    /// The same may work later.
    Later(Option<Duration>, String),
    Never(String),
}

impl Exporter {
    /// Until told to stop, and then until all is sent or a few seconds are over.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut told = None;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.collect() => {}
            }
            let batch = std::mem::take(&mut self.pending);
            if batch.is_empty() {
                return;
            }
            let spans = batch.len();
            let sending = self.deliver(&batch);
            let failed = tokio::select! {
                biased;
                failed = sending => failed,
                () = shutdown.cancelled() => {
                    let sent = timeout(DRAIN, self.send(self.written(&batch))).await;
                    debug!(spans, is_sent = matches!(sent, Ok(Sent::Yes)), "the last batch of traces");
                    break;
                }
            };
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if let Some(problem) = failed.or_else(|| no_room(dropped))
                && told.is_none_or(|at: Instant| at.elapsed() >= TOLD_EVERY)
            {
                told = Some(Instant::now());
                warn!(spans, dropped, problem, "traces are lost: look at the collector");
            }
        }
        self.drain().await;
    }

    /// Until there are enough, or the first one has waited for long enough. Nothing when nobody will ever send any more.
    /// What was collected is not lost when this is dropped.
    async fn collect(&mut self) {
        let Self { settings, incoming, pending, .. } = self;
        let max = settings.batch_max.max(1);
        if pending.is_empty() && incoming.recv_many(pending, max).await == 0 {
            return;
        }
        let until = Instant::now() + settings.linger;
        while pending.len() < max {
            let room = max - pending.len();
            match timeout_at(until, incoming.recv_many(pending, room)).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn written(&self, batch: &[Noted]) -> Bytes {
        let (mut calls, mut spans): (Vec<Span>, Vec<&Span>) = (Vec::new(), Vec::new());
        for noted in batch {
            match noted {
                Noted::Call(record) => {
                    genai::spans(record, &self.settings.providers, &mut calls);
                }
                Noted::Span(span) => spans.push(span),
            }
        }
        spans.extend(&calls);
        otlp::request(&self.settings, &spans).to_string().into()
    }

    /// Says what was wrong with the last try, if none went well.
    async fn deliver(&self, batch: &[Noted]) -> Option<String> {
        let body = self.written(batch);
        let mut wait = WAIT_FIRST;
        for attempt in 0..=RETRIES {
            match self.send(body.clone()).await {
                Sent::Yes => return None,
                Sent::Never(problem) => return Some(problem),
                Sent::Later(_, problem) if attempt == RETRIES => return Some(problem),
                Sent::Later(after, _) => {
                    sleep(after.unwrap_or(wait).min(WAIT_LONGEST)).await;
                    wait = wait.saturating_mul(2);
                }
            }
        }
        None
    }

    async fn send(&self, body: Bytes) -> Sent {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        request.headers_mut().clone_from(&self.settings.headers);
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let within = Deadlines::within(self.settings.deadline);
        // On the heap: a request is large, and there are several places where one may be under way.
        match Box::pin(self.client.fetch(request, &within, ANSWER_BYTES_MAX)).await {
            Ok(answer) if answer.status().is_success() => Sent::Yes,
            Ok(answer) => {
                let problem = format!("the collector answered {}", answer.status());
                match answer.status() {
                    StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT => {
                        let after = answer.headers().get(header::RETRY_AFTER);
                        let after = after.and_then(|after| after.to_str().ok()?.parse().ok());
                        Sent::Later(after.map(Duration::from_secs), problem)
                    }
                    _ => Sent::Never(problem),
                }
            }
            Err(error) => Sent::Later(None, error.to_string()),
        }
    }

    async fn drain(&mut self) {
        self.incoming.close();
        let until = Instant::now() + DRAIN;
        loop {
            let mut batch = std::mem::take(&mut self.pending);
            if batch.is_empty() {
                let more = self.incoming.recv_many(&mut batch, self.settings.batch_max.max(1));
                match timeout_at(until, more).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
            let sending = self.send(self.written(&batch));
            let Ok(Sent::Yes) = timeout_at(until, sending).await else {
                warn!(calls = batch.len(), "the last traces could not be sent");
                return;
            };
        }
    }
}

fn no_room(dropped: u64) -> Option<String> {
    (dropped > 0).then(|| "calls end faster than their traces can be sent".to_owned())
}
