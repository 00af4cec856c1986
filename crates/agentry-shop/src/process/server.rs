//! The HTTP side of a process.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentry_core::telemetry::{Level, SpanKind};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::clock;

use super::services::{self, Asked, Cx, Reply};
use super::shared::{Entry, Shared};
use super::spans::{Span, Trace};

const CONNECTIONS_MAX: usize = 1_024;
const HEADERS_WITHIN: Duration = Duration::from_secs(60);
/// Beyond this many unanswered requests new ones are turned away.
const IN_FLIGHT_MAX: i64 = 4_096;

/// Serves until it is told to stop, then lets every connection finish the request that it is in.
pub(crate) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    stopping: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let Some(Some((slot, accepted))) = stopping.run_until_cancelled(accepted).await else {
            break;
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, or the peer left: neither is a reason to stop serving.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _untuned = stream.set_nodelay(true);
        let for_requests = Arc::clone(&shared);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_WITHIN)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| answer(Arc::clone(&for_requests), request)),
            );
        let connection = graceful.watch(connection);
        shared.tracker.spawn(async move {
            let _closed = connection.await;
            drop(slot);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/metrics" {
        let deployment = shared.deployment();
        let text = shared.metrics.text(&deployment.version, &deployment.revision);
        return Ok(response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text));
    }
    let parent = request
        .headers()
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .and_then(Trace::parse);
    let asked = Asked::new(request.method(), request.uri());
    // A task of its own: a caller that hangs up does not undo what has been begun.
    let handled = shared.tracker.spawn({
        let shared = Arc::clone(&shared);
        async move {
            shared.faults.hop(&shared).await;
            serve(shared, asked, parent).await
        }
    });
    let Reply { status, content_type, body } = handled.await.unwrap_or_else(|_| Reply::crashed());
    Ok(response(status, content_type, body))
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// From the start of the server span to its end.
async fn serve(shared: Arc<Shared>, asked: Asked, parent: Option<Trace>) -> Reply {
    let start = clock::now();
    let begun = Instant::now();
    let _in_flight = shared.metrics.begin();
    let trace = Trace {
        trace_id: parent.map_or_else(|| new_trace_id(&shared), |parent| parent.trace_id),
        span_id: shared.random(|random| random.next() | 1),
    };
    let cx = Cx { shared: Arc::clone(&shared), trace };
    let service = shared.launch.service;
    let route = services::route(service, &asked);
    let reply = if shared.metrics.in_flight() > IN_FLIGHT_MAX {
        Reply::unavailable()
    } else {
        shared.faults.pass().await;
        services::handle(&cx, route, &asked).await
    };
    let took = begun.elapsed();

    let status = reply.status.as_u16();
    let route = route.unwrap_or("unmatched");
    let failed = reply.status.is_server_error();
    shared.metrics.served(route, status, took);
    let took_ms = took.as_secs_f64() * 1e3;
    if services::logs_access(service) || failed {
        shared.log(Entry {
            level: if failed { Level::Error } else { Level::Info },
            logger: "http.server",
            message: &format!("{} {} {status} in {took_ms:.1} ms", asked.method, asked.path),
            trace: Some(trace),
            fields: &[("route", json!(route)), ("status", json!(status))],
        });
    }
    shared.spans.push(Span {
        trace,
        parent_id: parent.map(|parent| parent.span_id),
        name: format!("{} {route}", asked.method),
        kind: SpanKind::Server,
        start,
        end: start.plus(took),
        failed: failed.then(|| format!("status {status}")),
        attributes: vec![
            ("http.request.method", json!(asked.method.as_str())),
            ("http.route", json!(route)),
            ("url.path", json!(asked.path)),
            ("http.response.status_code", json!(status)),
        ],
    });
    reply
}

pub(crate) fn new_trace_id(shared: &Shared) -> u128 {
    shared.random(|random| u128::from(random.next()) << 64 | u128::from(random.next() | 1))
}
