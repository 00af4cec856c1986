//! What the gateway costs, beside a direct call, a bare proxy and the peers that are installed.
//!
//! The measure is CPU time of the gateway's process per request, at a fixed concurrency, against a mock of one thread: on a
//! machine that is shared it is the only figure that stays what it is. Everything is measured in the same run, in turns.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tokio::task::LocalSet;

pub mod bare;
mod config;
mod latency;
mod load;
pub mod mock;
mod options;
mod peers;
mod report;
mod sides;
mod sse;
mod streams;
mod throughput;

pub use options::{Options, Scene};

use report::Report;
use sides::{Placement, Sides};

/// Measures what `options` wants and prints it.
pub fn run(options: &Options) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("agentry-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).context("make a folder")?;
    let result = measure(options, &folder);
    if result.is_ok() {
        std::fs::remove_dir_all(&folder).context("remove the folder")?;
    }
    result.with_context(|| format!("the logs are in {}", folder.display()))
}

fn measure(options: &Options, folder: &std::path::Path) -> Result<()> {
    let mut report = Report::begin(options);
    if options.pinned {
        pin_self()?;
    }
    let sides = Sides::start(options, folder, &report)?;
    report.circumstances(options, &sides.policies)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    LocalSet::new()
        .block_on(&runtime, async {
            for scene in &options.scenes {
                sides.place(match scene {
                    Scene::Streams | Scene::Cpu | Scene::Hit => Placement::Apart,
                    Scene::Latency | Scene::FirstToken => Placement::Together,
                })?;
                match scene {
                    Scene::Streams => streams::measure(options, &sides, &mut report).await?,
                    Scene::Cpu => throughput::measure(options, &sides, &mut report).await?,
                    Scene::Hit => throughput::hits(options, &sides, &mut report).await?,
                    Scene::Latency => latency::measure(options, &sides, &mut report).await?,
                    Scene::FirstToken => latency::first_token(options, &sides, &mut report).await?,
                }
            }
            Ok(())
        })
        .and_then(|()| report.end())
}

/// The load and the mock share the last core, what is measured has the first one to itself.
fn pin_self() -> Result<()> {
    let pid = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-cp", &sides::last_core(), &pid]).output();
    let pinned = pinned.context("start taskset (part of util-linux; or say --unpinned)")?;
    ensure!(pinned.status.success(), "taskset: {}", String::from_utf8_lossy(&pinned.stderr));
    Ok(())
}
