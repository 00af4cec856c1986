//! Alerts per second that one core takes in durably, and what an idle instance costs.
//!
//! The real `agentry serve` on SQLite, pinned to one core; webhooks of 100 distinct firings come over kept-alive
//! connections from the other. Every alert counts when its webhook was answered 200, which is after the disk has it.
//!
//! `cargo xtask bench ingest [--seconds N] [--connections N]`

use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agentry_bench::{Connection, Server, agentry, figure, provenance, say};
use anyhow::{Context as _, Result, ensure};

const ALERTS_PER_WEBHOOK: u64 = 100;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when even this cannot be written.
            let _ = say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn option(name: &str, default: u64) -> Result<u64> {
    let mut args = std::env::args().skip_while(|arg| arg != name).skip(1);
    args.next()
        .map_or(Ok(default), |value| value.parse().with_context(|| format!("{name} is a number")))
}

fn run() -> Result<()> {
    let (seconds, connections) = (option("--seconds", 8)?, option("--connections", 8)?);
    let program = agentry()?;
    let folder = std::env::temp_dir().join(format!("agentry-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).context("make a folder")?;
    let result = measure(&program, &folder, seconds, connections);
    std::fs::remove_dir_all(&folder).context("remove the folder")?;
    result
}

fn measure(
    program: &std::path::Path,
    folder: &std::path::Path,
    seconds: u64,
    connections: u64,
) -> Result<()> {
    let config = folder.join("agentry.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[storage]\nurl = \"sqlite:{}\"\n",
        folder.join("agentry.db").display()
    );
    std::fs::write(&config, text).context("write the configuration")?;
    say(&provenance().to_string())?;
    let mut command = Command::new("taskset");
    command
        .args(["-c", "0"])
        .arg(program)
        .arg("--config")
        .arg(&config)
        .arg("serve")
        .current_dir(folder);
    let began = Instant::now();
    let server = Server::start(command)?;
    figure("serve.ready", began.elapsed().as_secs_f64() * 1e3, "ms")?;
    std::thread::sleep(Duration::from_secs(2));
    figure("serve.idle_memory", server.memory()? as f64 / 1e6, "MB")?;

    let sent = AtomicU64::new(0);
    let next = AtomicU64::new(0);
    let (cpu, began) = (server.cpu()?, Instant::now());
    let until = began + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| load(&server.address, &next, &sent, until)))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().map_err(|_| anyhow::anyhow!("a sender panicked"))?
        })
    })?;
    let (elapsed, used) = (began.elapsed().as_secs_f64(), server.cpu()?.since(cpu).as_secs_f64());
    let alerts = sent.load(Ordering::Relaxed) as f64;
    figure("ingest.alerts_per_second_one_core", alerts / elapsed, "alerts/s")?;
    figure("ingest.cpu_per_alert", used / alerts * 1e6, "us")?;
    figure("serve.memory_after_load", server.memory()? as f64 / 1e6, "MB")
}

fn load(address: &str, next: &AtomicU64, sent: &AtomicU64, until: Instant) -> Result<()> {
    let mut connection = Connection::open(address)?;
    while Instant::now() < until {
        let first = next.fetch_add(ALERTS_PER_WEBHOOK, Ordering::Relaxed);
        let (status, body) =
            connection.request("POST", "/v1/alerts/alertmanager", &webhook(first))?;
        ensure!(status == 200, "refused with {status}: {}", String::from_utf8_lossy(&body));
        sent.fetch_add(ALERTS_PER_WEBHOOK, Ordering::Relaxed);
    }
    Ok(())
}

/// Distinct firings of many services; one in a hundred is critical.
fn webhook(first: u64) -> String {
    let alerts: Vec<String> = (first..first + ALERTS_PER_WEBHOOK)
        .map(|number| {
            let severity = if number % 100 == 0 { "critical" } else { "warning" };
            format!(
                r#"{{"status":"firing","labels":{{"alertname":"HighErrorRate","service":"service-{}","instance":"10.0.0.{}:9090","severity":"{severity}","pod":"pod-{number}"}},"annotations":{{"summary":"more than 5 % of requests fail","description":"value {number}"}},"startsAt":"2026-11-20T12:00:00Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus/graph","fingerprint":"{number:016x}"}}"#,
                number % 50,
                number % 250
            )
        })
        .collect();
    format!(
        r#"{{"version":"4","groupKey":"g","status":"firing","receiver":"agentry","alerts":[{}]}}"#,
        alerts.join(",")
    )
}
