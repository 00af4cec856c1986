//! What the command line asks for.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Memory, before anything else has used it: idle, under many streams, and when they are over.
    Streams,
    /// CPU per request at fixed concurrency, small and large bodies, streamed answers.
    Cpu,
    /// CPU per answer that the cache has.
    Hit,
    /// What one caller waits longer than without a gateway.
    Latency,
    FirstToken,
}

const SCENES: [(&str, Scene); 5] = [
    ("streams", Scene::Streams),
    ("cpu", Scene::Cpu),
    ("hit", Scene::Hit),
    ("latency", Scene::Latency),
    ("first-token", Scene::FirstToken),
];

#[derive(Debug)]
pub struct Options {
    pub json: bool,
    pub quick: bool,
    pub scenes: Vec<Scene>,
    /// The gateway has one core, the rest of the machine is the load's.
    pub pinned: bool,
    pub peers: bool,
    /// Measured instead of what this tree builds.
    pub binary: Option<PathBuf>,
    pub streams: usize,
}

impl Options {
    /// `cargo xtask bench gateway [--json] [--quick] [--only a,b] [--no-peers] [--unpinned] [--streams N] [--binary PATH]`
    pub fn parse(args: &[String]) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Self {
            json: false,
            quick: false,
            scenes: SCENES.map(|(_, scene)| scene).to_vec(),
            pinned: cores > 1,
            peers: true,
            binary: None,
            streams: 2_000,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--json" => options.json = true,
                "--quick" => options.quick = true,
                "--unpinned" => options.pinned = false,
                "--no-peers" => options.peers = false,
                "--binary" => options.binary = Some(value()?.into()),
                "--streams" => {
                    options.streams = value()?.parse().context("--streams is a number")?;
                }
                "--only" => {
                    options.scenes = value()?.split(',').map(scene).collect::<Result<_>>()?;
                }
                other => bail!(
                    "`{other}` is no option; there are --json, --quick, --only SCENES, --no-peers, --unpinned, \
                     --streams N and --binary PATH"
                ),
            }
        }
        ensure!(options.streams > 0, "--streams must be at least 1");
        Ok(options)
    }

    /// As many rounds are measured, and the middle one is told.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }

    /// A turn ends after so many requests or after so long, whichever is first.
    pub(crate) fn turn(&self) -> (u64, Duration) {
        if self.quick { (4_000, Duration::from_secs(2)) } else { (20_000, Duration::from_secs(5)) }
    }
}

fn scene(name: &str) -> Result<Scene> {
    let known = SCENES.iter().find(|(known, _)| *known == name);
    let names = || SCENES.map(|(name, _)| name).join(", ");
    Ok(known.with_context(|| format!("there is no scene `{name}`; there are {}", names()))?.1)
}
