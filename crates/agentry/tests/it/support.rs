//! Starts `agentry` in a folder of its own and talks to it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Nothing in these tests may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One provider that answers from a script, behind the aliases `fast` and `default`.
pub(crate) const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
[storage]
url = "memory:"
[providers.script]
kind = "scripted"
script = "answers.toml"
[models.fast]
targets = ["script/tortoise"]
retries = 0
price = { input = 1.0, output = 2.0 }
"#;

pub(crate) const ANSWERS: &str = r#"
[[rules]]
when = { user_contains = "weather", tool_results = false }
answer = { tool_calls = [{ name = "get_weather", arguments = { city = "Paris" } }] }

[[rules]]
when = { tool_results = true }
answer = { text = "It rains in Paris.", usage = { input = 40, output = 4 } }

[[rules]]
when = { user_contains = "count" }
answer = { text = "one two three four five six seven eight nine ten" }
pace = { first_ms = 1, chunk_ms = 60, chunk_chars = 3 }

[[rules]]
when = { user_contains = "dawdle" }
answer = { text = "one two" }
pace = { chunk_ms = 25000, chunk_chars = 3 }

[[rules]]
when = { user_contains = "break" }
answer = { text = "so far, so good, so long" }
pace = { chunk_chars = 3, error_after = 3 }

[[rules]]
when = { user_contains = "overload" }
error = { status = 429, message = "slow down", retry_after_ms = 100 }

[[rules]]
when = { user_contains = "hello" }
answer = { text = "Hello to you.", usage = { input = 10, output = 5 } }
"#;

/// A graph that asks whether to go on.
pub(crate) const ASK: &str = r#"
name = "ask"
start = "approve"

[input]
topic = "string"

[state]
published = { type = "boolean", default = false }

[nodes.approve]
kind = "human"
question = "Publish something about {{ input.topic }}?"
options = ["approve", "reject"]

[nodes.publish]
kind = "set"
values = { published = "true" }

[[edges]]
from = "approve"
to = "publish"
when = "answer.decision == 'approve'"
"#;

/// The command without our environment, in `folder`.
pub(crate) fn agentry(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentry"));
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs a command that must end by itself.
pub(crate) fn finish(command: Command) -> Output {
    finish_within(command, PATIENCE)
}

/// The same for one that has more to do.
pub(crate) fn finish_within(mut command: Command, patience: Duration) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (tx, rx) = mpsc::sync_channel(1);
    let pid = child.id();
    std::thread::spawn(move || tx.send(child.wait_with_output()));
    rx.recv_timeout(patience)
        .unwrap_or_else(|_| {
            kill(pid, "KILL");
            panic!("{command:?} did not end")
        })
        .unwrap()
}

pub(crate) fn kill(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status();
    assert!(sent.unwrap().success(), "kill -{signal} {pid}");
}

/// Starts `agentry serve` and waits until it says where it listens.
fn serve(folder: &Path) -> (Child, String) {
    let mut command = agentry(folder);
    let mut child =
        command.arg("serve").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (tx, rx) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        tx.send(line)
    });
    let line = rx.recv_timeout(PATIENCE).expect("to be told where it listens");
    let Some(address) = line.trim().strip_prefix("listening on http://") else {
        let output = child.wait_with_output().unwrap();
        panic!("{line:?}, and {}", String::from_utf8_lossy(&output.stderr));
    };
    (child, address.to_owned())
}

/// Status and body, when the answer is whole.
pub(crate) fn read_json(answer: &str) -> Option<(u16, Value)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

/// Asks again until `done` finds what it looks for.
pub(crate) fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(begun.elapsed() < 3 * PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `agentry serve`, killed when dropped.
pub(crate) struct Running {
    child: Reaped,
    pub(crate) address: String,
    pub(crate) folder: TempDir,
}

impl Running {
    pub(crate) fn start() -> Self {
        Self::with(CONFIG)
    }

    pub(crate) fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("agentry.toml"), config).unwrap();
        std::fs::write(folder.path().join("answers.toml"), ANSWERS).unwrap();
        Self::again(folder)
    }

    /// In a folder that is there already.
    pub(crate) fn again(folder: TempDir) -> Self {
        let (child, address) = serve(folder.path());
        Self { child: Reaped(child), address, folder }
    }

    /// Kills it with SIGKILL; the folder stays for the next one.
    pub(crate) fn kill_hard(self) -> TempDir {
        let Self { mut child, address: _, folder } = self;
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        folder
    }

    /// One request whose answer is JSON.
    pub(crate) fn json(&self, request: &[u8]) -> (u16, Value) {
        read_json(&self.exchange(request)).expect("an answer")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    pub(crate) fn connect(&self) -> Connection {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Connection(stream)
    }

    /// Sends `request` and reads until the server closes.
    pub(crate) fn exchange(&self, request: &[u8]) -> String {
        let mut connection = self.connect();
        connection.send(request);
        connection.rest()
    }

    pub(crate) fn assert_healthy(&self, after: &str) {
        let health = self.exchange(&get("/health"));
        assert!(health.starts_with("HTTP/1.1 200 "), "after {after}: {health}");
    }

    /// Waits for the end, which must be a good one; the folder stays for the next one.
    pub(crate) fn end_and_keep(mut self) -> TempDir {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        let (code, said) = self.end();
        assert_eq!(code, Some(0), "{said}");
        folder
    }

    /// Waits for the end; answers with the exit code and what was said on stderr.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        let mut stderr = self.child.0.stderr.take().unwrap();
        let status = loop {
            if let Some(status) = self.child.0.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it did not stop");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        (status.code(), said)
    }
}

/// A process that does not outlive its test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Connection(TcpStream);

impl Connection {
    /// The server may have answered and closed before it has read everything.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    pub(crate) fn rest(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// What comes until the server closes.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset after the answer loses nothing of it.
        let _ = self.0.read_to_end(&mut bytes);
        bytes
    }

    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut said = String::new();
        while !said.contains(text) {
            let mut piece = [0; 4096];
            let read = self.0.read(&mut piece).unwrap();
            assert!(read > 0, "closed without {text}: {said}");
            said.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        said
    }
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").into_bytes()
}

pub(crate) fn post(path: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    post_as("application/json", path, body)
}

pub(crate) fn post_as(kind: &str, path: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}
