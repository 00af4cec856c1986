//! One process of the shop: what the binary runs when it is executed again.

mod client;
mod faults;
mod kernel;
mod lines;
mod metrics;
mod server;
pub(crate) mod services;
mod shared;
mod shopper;
mod spans;
mod work;

use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::deployment::{self, Launch};
use crate::{Error, Fault};

pub(crate) use lines::Lines;
use shared::Shared;

/// Telemetry reaches its files at least this often.
const FLUSH_EVERY: Duration = Duration::from_millis(200);
/// How long a stopping process finishes what it has begun.
const DRAIN: Duration = Duration::from_millis(400);
const BIND_TRIES: u32 = 40;

/// One line on a process's standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(crate) enum Command {
    Fault {
        fault: Fault,
    },
    /// Read the configuration again.
    Reload,
    Stop,
}

/// The one line on a process's standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) listening: SocketAddr,
    pub(crate) pid: u32,
}

/// Serves as one process of the shop until standard input says stop or closes. The argument is the launch file that
/// [`crate::Shop`] wrote.
pub async fn run(args: &[String]) -> Result<(), Error> {
    let [path] = args else { return Err(Error::Arguments { got: args.len() }) };
    let launch: Launch = deployment::read(Path::new(path))?;
    let listener = listen(launch.listen).await?;
    let tracker = TaskTracker::new();
    let stopping = CancellationToken::new();
    let shared = Arc::new(Shared::new(launch, tracker.clone())?);
    let commands = commands_from_stdin();

    tracker.spawn(server::accept(Arc::clone(&shared), listener.socket, stopping.clone()));
    tracker.spawn(flush(Arc::clone(&shared), stopping.clone()));
    if shared.launch.service == crate::Service::Shopper {
        tracker.spawn(shopper::visit(Arc::clone(&shared), stopping.clone()));
    }
    shared.started(listener.address);
    announce(listener.address)
        .map_err(|source| Error::file("write to", Path::new("stdout"), source))?;

    let told = obey(&shared, commands).await;
    stopping.cancel();
    tracker.close();
    if told == Ending::Told {
        // What is still underway then is cut off, as any supervisor would.
        let _cut_off = tokio::time::timeout(DRAIN, tracker.wait()).await;
    }
    shared.flush();
    Ok(())
}

struct Listening {
    socket: TcpListener,
    address: SocketAddr,
}

/// A new process listens beside the one that it replaces, so that a deployment loses no request.
async fn listen(address: SocketAddr) -> Result<Listening, Error> {
    let mut tries = 0;
    loop {
        match bind(address) {
            Ok(listening) => return Ok(listening),
            Err(source) if tries == BIND_TRIES => return Err(Error::Listen { address, source }),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn bind(address: SocketAddr) -> std::io::Result<Listening> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    let socket = socket.listen(512)?;
    let address = socket.local_addr()?;
    Ok(Listening { socket, address })
}

fn announce(listening: SocketAddr) -> std::io::Result<()> {
    let line = serde_json::to_string(&Ready { listening, pid: std::process::id() })?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

#[derive(PartialEq, Eq)]
enum Ending {
    Told,
    /// Standard input closed: whoever started this process is gone.
    Orphaned,
}

async fn obey(shared: &Arc<Shared>, mut commands: mpsc::Receiver<Command>) -> Ending {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Fault { fault } => faults::switch(shared, fault),
            Command::Reload => shared.reload(),
            Command::Stop => return Ending::Told,
        }
    }
    Ending::Orphaned
}

/// A thread, not a task: a blocked read of standard input would keep the runtime from shutting down.
fn commands_from_stdin() -> mpsc::Receiver<Command> {
    let (tx, rx) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Ok(command) = serde_json::from_str(&line)
                && tx.blocking_send(command).is_err()
            {
                return;
            }
        }
    });
    rx
}

async fn flush(shared: Arc<Shared>, stopping: CancellationToken) {
    let mut every = tokio::time::interval(FLUSH_EVERY);
    while stopping.run_until_cancelled(every.tick()).await.is_some() {
        shared.flush();
    }
}
