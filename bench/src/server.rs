//! A process that is measured: started, watched, killed when dropped.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// A tick of the kernel's coarse CPU clock.
const TICK: Duration = Duration::from_millis(10);

/// A running server, killed when dropped.
pub struct Server {
    child: Child,
    pub address: String,
}

/// CPU time of a process and its children so far, by two clocks.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// To the nanosecond, of the threads that are alive.
    threads: Duration,
    /// In ticks, threads that have ended included.
    ticks: Duration,
}

impl Cpu {
    /// The exact clock, unless threads have ended and took their time with them.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let threads = self.threads.saturating_sub(earlier.threads);
        let ticks = self.ticks.saturating_sub(earlier.ticks);
        if ticks > threads + 2 * TICK { ticks } else { threads }
    }
}

impl Server {
    /// Runs `command` and waits until it says where it listens.
    pub fn start(mut command: Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {program}"))?;
        let stdout = child.stdout.take().context("read what it prints")?;
        for line in BufReader::new(stdout).lines() {
            let line = line.context("read what it prints")?;
            if let Some(address) = line.split("listening on http://").nth(1) {
                return Ok(Self { child, address: address.trim().to_owned() });
            }
        }
        let status = child.wait().context("wait for its end")?;
        anyhow::bail!("{program} ended with {status} before it listened")
    }

    /// Runs `command`, which does not say when it is ready, and waits until `is_ready` with its address.
    pub fn start_at(
        mut command: Command,
        address: &str,
        patience: Duration,
        is_ready: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = child.spawn().with_context(|| format!("start {program}"))?;
        let mut server = Self { child, address: address.to_owned() };
        let begun = Instant::now();
        while !is_ready(address) {
            if let Some(status) = server.child.try_wait().context("look after it")? {
                anyhow::bail!("{program} ended with {status} before it listened");
            }
            ensure!(begun.elapsed() < patience, "{program} was not ready in {patience:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// User and system time that the process and its children have used so far.
    pub fn cpu(&self) -> Result<Cpu> {
        let mut used = Cpu { threads: Duration::ZERO, ticks: Duration::ZERO };
        for pid in self.family() {
            let ticks = ticks(pid).with_context(|| format!("read the CPU time of {pid}"))?;
            used.ticks += TICK * ticks;
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).context("list threads")?;
            for thread in threads.flatten() {
                // A thread may end while we look.
                let nanos = std::fs::read_to_string(thread.path().join("schedstat"));
                let nanos = nanos.unwrap_or_default();
                let nanos = nanos.split_whitespace().next().and_then(|text| text.parse().ok());
                used.threads += Duration::from_nanos(nanos.unwrap_or(0));
            }
        }
        Ok(used)
    }

    /// Keeps all its threads on one core from now on.
    pub fn pin(&self, core: &str) -> Result<()> {
        for pid in self.family() {
            let output =
                Command::new("taskset").args(["-a", "-cp", core, &pid.to_string()]).output();
            let output = output.context("start taskset (part of util-linux; or say --unpinned)")?;
            ensure!(
                output.status.success(),
                "taskset: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// The process and its descendants, itself first.
    fn family(&self) -> Vec<u32> {
        let mut family = vec![self.pid()];
        let mut at = 0;
        while let Some(&pid) = family.get(at) {
            let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
            for thread in threads.into_iter().flatten().flatten() {
                let children = std::fs::read_to_string(thread.path().join("children"));
                let children = children.unwrap_or_default();
                family
                    .extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            }
            at += 1;
        }
        family
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// The most resident memory that it ever had.
    pub fn memory_peak(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .context("read its memory")?;
        let kib = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        let kib: u64 =
            kib.trim().trim_end_matches(" kB").trim().parse().context("read its memory")?;
        Ok(kib * 1024)
    }
}

fn ticks(pid: u32) -> Result<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program stands in parentheses and may contain anything.
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok()).unwrap_or(0);
    Ok(ticks(11) + ticks(12))
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in self.family().into_iter().skip(1) {
            let _ = Command::new("kill").args(["-KILL", &child.to_string()]).status();
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
