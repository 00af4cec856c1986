//! A vendor that does as it is told, and badly if that is what it is told: one HTTP/1.1 server on a port of its own whose
//! every answer is scripted down to the bytes and to how the connection ends.
//!
//! It runs on threads of its own, so that any test can use it, with or without a runtime. Dropping it ends them all.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

mod answer;
mod failure;
mod received;
mod reply;

pub use answer::{Answer, Dialect};
pub use received::Received;
pub use reply::{Ending, Framing, Reply, Writes};

/// Nobody waits for a byte longer than this: a test that forgets its vendor still ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running vendor.
pub struct Vendor {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// For requests whose model has no script of its own.
    usual: Script,
    by_model: HashMap<String, Script>,
    received: Vec<Received>,
    /// Open connections, to cut those that hang.
    open: HashMap<u64, TcpStream>,
    talking: Vec<JoinHandle<()>>,
    /// How many of them wait for the other side to end.
    hanging: usize,
    stopping: bool,
}

/// Replies in order; the last one again and again.
#[derive(Default)]
struct Script {
    replies: Vec<Reply>,
    next: usize,
}

impl Script {
    fn reply(&mut self) -> Option<Reply> {
        let reply = self.replies.get(self.next).or_else(|| self.replies.last()).cloned();
        self.next += 1;
        reply
    }
}

impl Vendor {
    /// Answers one request after the other with `replies`, whatever is asked; the last reply is repeated.
    #[must_use]
    pub fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        shared.state().usual = Script { replies, next: 0 };
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Requests for `model` get these replies from now on.
    pub fn script(&self, model: &str, replies: Vec<Reply>) {
        self.shared.state().by_model.insert(model.to_owned(), Script { replies, next: 0 });
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stands in a configuration as `base_url`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// All requests that came, in their order; also those that were not answered.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.state().received.clone()
    }

    #[must_use]
    pub fn received_for(&self, model: &str) -> Vec<Received> {
        let mut received = self.received();
        received.retain(|received| received.model() == model);
        received
    }

    /// How many are open: a caller that gives up closes its own.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.state().open.len()
    }

    /// How many answers wait for their caller to give up.
    #[must_use]
    pub fn hanging(&self) -> usize {
        self.shared.state().hanging
    }

    /// Panics unless `model` was asked for so many times.
    #[track_caller]
    pub fn assert_called(&self, model: &str, times: usize) {
        let called = self.received_for(model).len();
        assert_eq!(called, times, "calls of {model}");
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.stopping = true;
        for stream in state.open.values() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let talking = std::mem::take(&mut self.shared.state().talking);
        for thread in talking {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (number, stream) in (0..).zip(listener.incoming()) {
        let Ok(stream) = stream else { continue };
        let mut state = shared.state();
        if state.stopping {
            return;
        }
        let Ok(copy) = stream.try_clone() else { continue };
        state.open.insert(number, copy);
        let talking = std::thread::spawn({
            let shared = Arc::clone(shared);
            move || {
                // Callers that go away are part of the play.
                let _ = talk(stream, &shared, number);
                shared.state().open.remove(&number);
            }
        });
        state.talking.push(talking);
    }
}

/// One connection, until a reply or the caller ends it.
fn talk(stream: TcpStream, shared: &Shared, number: u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut stream = stream;
    while let Some((received, last)) = received::read(&mut stream)? {
        let reply = {
            let mut state = shared.state();
            let model = received.model();
            state.received.push(received);
            let script = state.by_model.get_mut(&model);
            let reply = match script {
                Some(script) => script.reply(),
                None => state.usual.reply(),
            };
            reply.unwrap_or_else(|| Reply::error(500).saying("the vendor has no script for this"))
        };
        if reply.ending == Ending::Reset {
            // A socket that is closed with something unread tells the other side with a reset. The copy that could still
            // hold it open goes first.
            shared.state().open.remove(&number);
            let _ = reply.write(&mut stream);
            return Ok(());
        }
        last.consume(&mut stream)?;
        reply.write(&mut stream)?;
        match reply.ending {
            Ending::KeepAlive => {}
            Ending::Close | Ending::Reset => return stream.shutdown(Shutdown::Both),
            Ending::Hang => {
                shared.state().hanging += 1;
                let ended = received::wait_for_the_end(&mut stream);
                shared.state().hanging -= 1;
                return ended;
            }
        }
    }
    Ok(())
}

/// Where nobody listens: whoever connects is refused. The port stays taken for as long as this lives.
pub struct ClosedPort {
    address: SocketAddr,
    _ends: (TcpStream, TcpStream),
}

impl ClosedPort {
    #[must_use]
    pub fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let near = TcpStream::connect(address).expect("a connection");
        let (far, _) = listener.accept().expect("a connection");
        // The near end's port belongs to a connection, so that nobody else can have it, and nobody listens there.
        Self { address: near.local_addr().expect("an address"), _ends: (near, far) }
    }

    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

/// How long the caller waited between its requests for a model.
#[must_use]
pub fn gaps(received: &[Received]) -> Vec<Duration> {
    let times: Vec<Instant> = received.iter().map(|received| received.at).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// The models that were asked for.
#[must_use]
pub fn models(received: &[Received]) -> HashSet<String> {
    received.iter().map(Received::model).collect()
}

#[cfg(test)]
mod tests;
