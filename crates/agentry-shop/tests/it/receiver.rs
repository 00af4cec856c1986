//! A receiver of webhooks that refuses the first one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

#[derive(Default)]
struct Seen {
    received: Vec<Value>,
    refused: u32,
}

pub(crate) struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _stop: DropGuard,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stopping = CancellationToken::new();
        let tracker = TaskTracker::new();
        let (serving, for_connections) = (stopping.clone(), Arc::clone(&seen));
        tracker.clone().spawn(async move {
            while let Some(Ok((stream, _))) = serving.run_until_cancelled(listener.accept()).await {
                let seen = Arc::clone(&for_connections);
                let answer = service_fn(move |request| take(Arc::clone(&seen), request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer);
                let stopping = serving.clone();
                tracker.spawn(async move { stopping.run_until_cancelled(connection).await });
            }
        });
        Self { address, seen, _stop: stopping.drop_guard() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Value> {
        self.seen.lock().unwrap().received.clone()
    }

    pub(crate) fn refused(&self) -> u32 {
        self.seen.lock().unwrap().refused
    }
}

async fn take(
    seen: Arc<Mutex<Seen>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut seen = seen.lock().unwrap();
    let mut response = Response::new(Full::new(Bytes::new()));
    if seen.refused == 0 {
        seen.refused += 1;
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    } else {
        seen.received.push(serde_json::from_slice(&body).unwrap());
    }
    Ok(response)
}
