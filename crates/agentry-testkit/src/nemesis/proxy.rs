//! Stands between a worker and the server, and lets things go wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

pub struct Proxy {
    pub port: u16,
    cuts: broadcast::Sender<()>,
    held: watch::Sender<bool>,
    refuses: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Proxy {
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut proxy = Self {
            port,
            cuts: broadcast::channel(4).0,
            held: watch::Sender::new(false),
            refuses: Arc::default(),
            tasks: JoinSet::new(),
        };
        let (cuts, held) = (proxy.cuts.clone(), proxy.held.clone());
        let refuses = Arc::clone(&proxy.refuses);
        proxy.tasks.spawn(async move {
            let mut tasks = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if !refuses.load(Ordering::Relaxed) {
                    tasks.spawn(connect(client, server, cuts.subscribe(), held.subscribe()));
                }
            }
        });
        proxy
    }

    /// Ends all connections without a word.
    pub fn cut(&self) {
        // Perhaps there are none.
        let _ = self.cuts.send(());
    }

    /// Passes nothing on for a while.
    pub async fn hold(&self, lasts: Duration) {
        self.held.send_replace(true);
        tokio::time::sleep(lasts).await;
        self.held.send_replace(false);
    }

    /// Ends all connections and lets nobody in for a while.
    pub async fn refuse(&self, lasts: Duration) {
        self.refuses.store(true, Ordering::Relaxed);
        self.cut();
        tokio::time::sleep(lasts).await;
        self.refuses.store(false, Ordering::Relaxed);
    }
}

async fn connect(
    mut client: TcpStream,
    server: u16,
    mut cut: broadcast::Receiver<()>,
    held: watch::Receiver<bool>,
) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    // Closing it then resets it.
    for stream in [&client, &server] {
        stream.set_zero_linger().unwrap();
    }
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    tokio::select! {
        _ = cut.recv() => {}
        () = pass(&mut from_client, &mut to_server, held.clone()) => {}
        () = pass(&mut from_server, &mut to_client, held) => {}
    }
}

async fn pass(
    from: &mut tokio::net::tcp::ReadHalf<'_>,
    to: &mut tokio::net::tcp::WriteHalf<'_>,
    mut held: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if held.wait_for(|held| !held).await.is_err()
            || to.write_all(&bytes[..count]).await.is_err()
        {
            return;
        }
    }
}
