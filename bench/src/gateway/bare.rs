//! The floor: a proxy on bare hyper that decides nothing. One thread per core with its own listener and its own connections
//! to the upstream; heads and bodies go through as they come.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::LocalSet;

use crate::say;

const BACKLOG: u32 = 4_096;

/// Listens on a port of its own, says which, and passes everything on to `upstream` until it is killed.
pub fn serve(upstream: &str) -> Result<()> {
    let upstream: SocketAddr = upstream.parse().context("the upstream is HOST:PORT")?;
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|probe| probe.local_addr());
    let address = address.context("find a free port")?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|number| scope.spawn(move || thread(address, upstream, number + 1 == cores)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })
}

fn thread(address: SocketAddr, upstream: SocketAddr, is_last: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.context("start the runtime")?, async {
        let listener = listen(address)?;
        if is_last {
            say(&format!("listening on http://{address}"))?;
        }
        let pool = Rc::new(Pool { upstream, idle: RefCell::default() });
        loop {
            let (stream, _) = listener.accept().await.context("accept")?;
            stream.set_nodelay(true).context("set TCP_NODELAY")?;
            let pool = Rc::clone(&pool);
            let service = service_fn(move |request| forward(Rc::clone(&pool), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A caller that goes away is no news here.
            tokio::task::spawn_local(async { drop(connection.await) });
        }
    })
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4().context("make a socket")?;
    socket.set_reuseport(true).context("set SO_REUSEPORT")?;
    socket.bind(address).context("bind")?;
    socket.listen(BACKLOG).context("listen")
}

/// Connections to the upstream that nobody uses.
struct Pool {
    upstream: SocketAddr,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
}

async fn forward(pool: Rc<Pool>, request: Request<Incoming>) -> Result<Response<Returning>> {
    let mut sender = pool.take().await?;
    let response = sender.send_request(request).await.context("ask the upstream")?;
    Ok(response.map(|incoming| Returning { incoming, borrowed: Some((sender, pool)) }))
}

impl Pool {
    async fn take(&self) -> Result<SendRequest<Incoming>> {
        loop {
            let idle = self.idle.borrow_mut().pop();
            let Some(mut sender) = idle else { return self.connect().await };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>> {
        let stream = TcpStream::connect(self.upstream).await.context("connect")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("connect")?;
        tokio::task::spawn_local(async { drop(connection.await) });
        Ok(sender)
    }
}

/// A body that gives its connection back when it has ended.
struct Returning {
    incoming: Incoming,
    borrowed: Option<(SendRequest<Incoming>, Rc<Pool>)>,
}

impl Returning {
    fn give_back(&mut self) {
        if let Some((sender, pool)) = self.borrowed.take() {
            pool.idle.borrow_mut().push(sender);
        }
    }
}

impl Body for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.incoming.is_end_stream() {
            self.give_back();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
