//! End-to-end measurements of the real binary: what they share.
//!
//! It drives `agentry` from outside, over its command line and HTTP; only what steps of graphs cost is measured from inside.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

pub mod gateway;
mod server;

pub use server::{Cpu, Server};

/// Prints one figure: `{"name", "value", "unit"}`, and against what, where it is a comparison.
pub fn figure(name: &str, value: f64, unit: &str) -> Result<()> {
    say(&json!({ "name": name, "value": (value * 1000.0).round() / 1000.0, "unit": unit })
        .to_string())
}

pub fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("write to stdout")
}

/// Where the numbers come from: commit, processor, cores.
pub fn provenance() -> Value {
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let commit = commit
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({ "commit": commit, "processor": model, "cores": cores })
}

/// User and system time of this process, in seconds.
pub fn cpu() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    let after = stat.rsplit(')').next().context("the name ends")?;
    let ticks = after.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum();
    Ok(ticks as f64 / 100.0)
}

/// The release binary beside this one, built when it is not there or old.
pub fn agentry() -> Result<PathBuf> {
    let status =
        Command::new("cargo").args(["build", "--release", "--quiet", "-p", "agentry"]).status();
    ensure!(status.context("start cargo")?.success(), "agentry does not build");
    let path = std::env::current_exe().context("find this program")?.with_file_name("agentry");
    ensure!(path.is_file(), "{} is not there: run this with --release", path.display());
    Ok(path)
}

/// One kept-alive connection.
pub struct Connection {
    reader: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    pub fn open(address: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).context("set a deadline")?;
        Ok(Self { reader: BufReader::new(stream), host: address.to_owned() })
    }

    /// Sends one request and reads the whole answer: status and body.
    pub fn request(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, Vec<u8>)> {
        self.request_with(&[], method, path, body)
    }

    /// The same with headers of its own.
    pub fn request_with(
        &mut self,
        headers: &[(&str, String)],
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, Vec<u8>)> {
        let headers: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        let stream = self.reader.get_mut();
        stream.write_all(head.as_bytes()).context("send")?;
        stream.write_all(body.as_bytes()).context("send")?;
        let mut line = String::new();
        self.reader.read_line(&mut line).context("read the answer")?;
        let status = line
            .split_whitespace()
            .nth(1)
            .and_then(|code| code.parse().ok())
            .context("read the status")?;
        let mut length = 0;
        loop {
            line.clear();
            self.reader.read_line(&mut line).context("read the answer")?;
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().context("read content-length")?;
            }
        }
        let mut answer = vec![0; length];
        self.reader.read_exact(&mut answer).context("read the answer")?;
        Ok((status, answer))
    }
}
