//! Redis, in memory only.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::net;
use crate::watchdog::{Guarded, Watched};
use crate::workspace::on_path;

pub(super) fn find() -> Option<PathBuf> {
    on_path(&["redis-server", "valkey-server"])
}

pub(super) fn start(program: &Path, folder: &Path) -> Result<(String, Guarded)> {
    let port = net::free_port()?;
    let data = folder.join("redis");
    std::fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
    let mut server = Watched::new(program)
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
        ])
        .args([&data])
        .log(&folder.join("redis.log"))
        .remove(&data)
        .spawn()?;
    server.ready_within(Duration::from_secs(30), || ping(net::loopback(port)))?;
    Ok((format!("redis://127.0.0.1:{port}"), server))
}

/// Asks whether somebody who speaks Redis answers.
pub(super) fn ping(address: SocketAddr) -> Result<()> {
    let mut stream = net::connect(address)?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    ensure!(&answer == b"+PONG\r\n", "not a Redis answer: {}", answer.escape_ascii());
    Ok(())
}
