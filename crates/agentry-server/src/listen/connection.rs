//! One connection from its first byte to its end.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;
use tracing::debug;

use super::Door;
use super::activity::{Activity, Counted};
use super::opening::{self, Protocol};
use super::wire::{Finding, Patience, Wire};
use crate::calls;
use crate::identity::Peer;

/// After we asked to finish: how long a connection without a request may take to go.
const LINGER: Duration = Duration::from_secs(1);

const UNKNOWN: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

pub(super) async fn run(door: &Arc<Door>, mut stream: TcpStream, shutdown: &CancellationToken) {
    let settings = &door.settings;
    // Whoever has no address any more is nobody from this machine.
    let peer = Peer(stream.peer_addr().map_or(UNKNOWN, |address| address.ip()));
    let opened = tokio::select! {
        opened = opening::read(&mut stream, settings.first_byte, settings.head) => opened,
        () = shutdown.cancelled() => return,
    };
    let (protocol, opening) = match opened {
        Ok(Some(opened)) => opened,
        Ok(None) => return,
        Err(error) => return debug!(%error, "connection lost before its first request"),
    };
    let patience = Patience { head: settings.head, write_stall: settings.write_stall };
    let activity = Activity::new();
    match protocol {
        Protocol::Http1 => {
            let (wire, finding) = Wire::http1(stream, opening, patience);
            let service = service(door, &activity, (peer, Some(finding)));
            let connection = door.http1.serve_connection(TokioIo::new(wire), service_fn(service));
            drive(pin!(connection), &activity, door, shutdown).await;
        }
        Protocol::Http2 => {
            let wire = Wire::http2(stream, opening, patience);
            let service = service(door, &activity, (peer, None));
            let connection = door.http2.serve_connection(TokioIo::new(wire), service_fn(service));
            drive(pin!(connection), &activity, door, shutdown).await;
        }
    }
}

/// Both protocols, as the loop below needs them.
trait Connection: Future<Output = hyper::Result<()>> {
    fn finish(self: Pin<&mut Self>);
}

async fn drive<C: Connection>(
    mut connection: Pin<&mut C>,
    activity: &Activity,
    door: &Door,
    shutdown: &CancellationToken,
) {
    tokio::select! {
        ended = connection.as_mut() => return note(ended),
        () = shutdown.cancelled() => {}
        () = activity.quiet_for(door.settings.idle) => {}
    }
    connection.as_mut().finish();
    tokio::select! {
        ended = connection => note(ended),
        () = activity.quiet_for(LINGER) => {}
    }
}

fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        debug!(%error, "connection ended early");
    }
}

fn service(
    door: &Arc<Door>,
    activity: &Activity,
    (peer, finding): (Peer, Option<Finding>),
) -> impl Fn(Request<Incoming>) -> BoxedAnswer + use<> {
    let (door, activity) = (Arc::clone(door), activity.clone());
    let count = AtomicU64::new(0);
    move |mut request| {
        let in_flight = activity.begin();
        request.extensions_mut().insert(peer);
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(flawed) = finding.as_ref().and_then(|finding| finding.get())
            && flawed.request == number
        {
            request.extensions_mut().insert(flawed.flaw);
        }
        let door = Arc::clone(&door);
        Box::pin(async move {
            let response = match calls::short_cut(&request) {
                Some(endpoint) => calls::direct(&door.app, endpoint, request.map(Body::new)).await,
                None => {
                    let Ok(response) = door.router.clone().call(request.map(Body::new)).await;
                    response
                }
            };
            Ok(response.map(|body| Counted::new(body, in_flight)))
        })
    }
}

type BoxedAnswer =
    Pin<Box<dyn Future<Output = Result<Response<Counted>, Infallible>> + Send + 'static>>;

impl<S> Connection for hyper::server::conn::http1::Connection<TokioIo<Wire<TcpStream>>, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = Counted>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S> Connection
    for hyper::server::conn::http2::Connection<TokioIo<Wire<TcpStream>>, S, super::Tracked>
where
    S: hyper::service::HttpService<Incoming, ResBody = Counted>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
