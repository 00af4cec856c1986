//! One connection from its first byte to its end.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use agentry_http1::{Flaw, Incoming, serve};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::DATE;
use http::{HeaderMap, Request};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;
use tracing::debug;

use super::Door;
use super::activity::{Activity, Counted};
use super::opening::{self, Protocol};
use super::wire::Wire;
use crate::identity::Peer;
use crate::{calls, edge};

/// After we asked to finish: how long a connection without a request may take to go.
pub(super) const LINGER: Duration = Duration::from_secs(1);

const UNKNOWN: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

pub(super) async fn run(door: &Arc<Door>, mut stream: TcpStream, shutdown: &CancellationToken) {
    let settings = &door.settings;
    // Whoever has no address any more is nobody from this machine.
    let peer = Peer(stream.peer_addr().map_or(UNKNOWN, |address| address.ip()));
    let opened = tokio::select! {
        opened = opening::read(&mut stream, settings.first_byte, settings.head) => opened,
        () = shutdown.cancelled() => return,
    };
    match opened {
        Ok(Some((Protocol::Http1, opening))) => {
            let answer = |request| answer_http1(door, peer, request);
            let served =
                serve((stream, opening), &door.patience, answer, shutdown.cancelled()).await;
            if let Err(ended) = served {
                debug!(%ended, "connection ended early");
            }
        }
        Ok(Some((Protocol::Http2, opening))) => {
            // In a box of its own: its state is large, and most connections have none.
            Box::pin(http2(door, (stream, opening), peer, shutdown)).await;
        }
        Ok(None) => {}
        Err(error) => debug!(%error, "connection lost before its first request"),
    }
}

/// In a box of its own: a connection that waits for its next request does not hold it.
fn answer_http1(
    door: &Arc<Door>,
    peer: Peer,
    request: Result<Request<Incoming>, Flaw>,
) -> Pin<Box<dyn Future<Output = Response> + Send>> {
    let door = Arc::clone(door);
    Box::pin(async move {
        let mut response = match request {
            Ok(mut request) => {
                request.extensions_mut().insert(peer);
                answer(&door, request.map(Body::new)).await
            }
            Err(flaw) => edge::refuse_flawed(&door.app, flaw).await,
        };
        date(&door, response.headers_mut());
        response
    })
}

async fn answer(door: &Arc<Door>, request: Request<Body>) -> Response {
    match calls::short_cut(&request) {
        Some(endpoint) => calls::direct(&door.app, endpoint, request).await,
        None => {
            let Ok(response) = door.router.clone().call(request).await;
            response
        }
    }
}

fn date(door: &Door, headers: &mut HeaderMap) {
    if let Some(date) = door.dates.now(door.app.clock.now()) {
        headers.insert(DATE, date);
    }
}

async fn http2(
    door: &Arc<Door>,
    (stream, opening): (TcpStream, Bytes),
    peer: Peer,
    shutdown: &CancellationToken,
) {
    let wire = Wire::new(stream, opening, door.settings.write_stall);
    let activity = Activity::new();
    let service = service_fn(|mut request: Request<hyper::body::Incoming>| {
        let in_flight = activity.begin();
        request.extensions_mut().insert(peer);
        let door = Arc::clone(door);
        async move {
            let response = answer(&door, request.map(Body::new)).await;
            Ok::<_, Infallible>(response.map(|body| Counted::new(body, in_flight)))
        }
    });
    let mut connection = pin!(door.http2.serve_connection(TokioIo::new(wire), service));
    let note = |ended: hyper::Result<()>| {
        if let Err(error) = ended {
            debug!(%error, "connection ended early");
        }
    };
    tokio::select! {
        ended = connection.as_mut() => return note(ended),
        () = shutdown.cancelled() => {}
        () = activity.quiet_for(door.settings.idle) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => note(ended),
        () = activity.quiet_for(LINGER) => {}
    }
}
