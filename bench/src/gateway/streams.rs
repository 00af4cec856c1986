//! Thousands of paced streams at once: whether every frame arrives, and what memory it takes.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::config::STREAM_SLOW;
use super::load::Prompt;
use super::options::Options;
use super::report::{Report, percentile};
use super::sides::{Side, Sides};
use super::throughput::micros;

/// Between two deltas of a stream.
const PACE: Duration = Duration::from_millis(100);
/// After which a start is over, with all that it begins.
const SETTLED: Duration = Duration::from_secs(3);
/// After which memory should have been given back.
const REST: Duration = Duration::from_secs(15);
const CONNECTS_AT_ONCE: usize = 100;

pub(crate) async fn measure(options: &Options, sides: &Sides, report: &mut Report) -> Result<()> {
    for side in sides.ours() {
        let Side { name, server, .. } = side;
        sleep(SETTLED).await;
        report.figure(format!("gateway.{name}.memory_idle"), mb(server.memory()?), "MB", None)?;
        let before = server.cpu()?;
        let burst = burst(side, options.streams, report).await?;
        let used = server.cpu()?.since(before);
        let mut tell = |what: &str, value, unit| {
            report.figure(format!("gateway.{name}.{what}"), value, unit, None)
        };
        tell("streams_at_once", burst.at_once as f64, "streams")?;
        tell("streams_broken", burst.broken as f64, "streams")?;
        tell("streams_late", burst.late as f64, "streams")?;
        tell("streams_gap_p99", percentile(burst.gaps_us, 99.0) / 1e3, "ms")?;
        tell("streams_cpu", micros(used) / options.streams as f64, "us")?;
        tell("memory_streams", mb(burst.memory), "MB")?;
        tell("memory_peak", mb(server.memory_peak()?), "MB")?;
        sleep(REST).await;
        tell("memory_after", mb(server.memory()?), "MB")?;
    }
    Ok(())
}

struct Burst {
    /// The most streams that had begun and not ended.
    at_once: usize,
    broken: usize,
    /// Silent for ten times their pace.
    late: usize,
    gaps_us: Vec<f64>,
    /// The most that was resident while they ran.
    memory: u64,
}

async fn burst(side: &Side, streams: usize, report: &Report) -> Result<Burst> {
    report.note(&format!("{streams} streams through {}", side.name))?;
    let prompt = Rc::new(Prompt::new(STREAM_SLOW, 1 << 10));
    let mut callers = Vec::new();
    while callers.len() < streams {
        for _ in 0..CONNECTS_AT_ONCE.min(streams - callers.len()) {
            callers.push(side.target.connect().await?);
        }
        sleep(Duration::from_millis(5)).await;
    }
    let (open, at_once) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let mut tasks = JoinSet::new();
    for mut caller in callers {
        let (prompt, open, at_once) = (Rc::clone(&prompt), Rc::clone(&open), Rc::clone(&at_once));
        tasks.spawn_local(async move {
            let begun = Cell::new(false);
            let took = caller
                .call_telling(&prompt, || {
                    begun.set(true);
                    open.set(open.get() + 1);
                    at_once.set(at_once.get().max(open.get()));
                })
                .await;
            if begun.get() {
                open.set(open.get() - 1);
            }
            took
        });
    }
    let mut burst = Burst { at_once: 0, broken: 0, late: 0, gaps_us: Vec::new(), memory: 0 };
    let mut sample = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            _ = sample.tick() => burst.memory = burst.memory.max(side.server.memory()?),
            joined = tasks.join_next() => match joined {
                None => break,
                Some(joined) => match joined.context("a caller panicked")? {
                    Ok(took) => {
                        burst.late += usize::from(took.gap_max > 10 * PACE);
                        burst.gaps_us.push(micros(took.gap_max));
                    }
                    Err(error) => {
                        if burst.broken == 0 {
                            report.note(&format!("{}: {error:#}", side.name))?;
                        }
                        burst.broken += 1;
                    }
                },
            },
        }
    }
    burst.at_once = at_once.get();
    Ok(burst)
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
