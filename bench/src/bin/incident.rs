//! The incident agent against a live system that is really broken: every fault, several seeds, the truth beside the answer.
//!
//! `cargo xtask bench incident [--seeds N] [--faults a,b] [--json]`

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use agentry_bench::{agentry, figure, provenance, say};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;

const FAULTS: [&str; 6] = ["cpu", "latency", "bad-deploy", "leak", "hang", "none"];
/// The promise is 90 s; what takes longer is ended and counts as wrong.
const RUN_MAX: Duration = Duration::from_secs(90);

struct Options {
    seeds: std::ops::Range<u64>,
    faults: Vec<String>,
    json: bool,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when even this cannot be written.
            let _ = say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut options =
        Options { seeds: 1..6, faults: FAULTS.map(str::to_owned).to_vec(), json: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--seeds" => {
                options.seeds = 1..value()?.parse::<u64>().context("--seeds is a number")? + 1;
            }
            "--first" => {
                let first: u64 = value()?.parse().context("--first is a number")?;
                let count = options.seeds.end - options.seeds.start;
                options.seeds = first..first + count;
            }
            "--faults" => options.faults = value()?.split(',').map(str::to_owned).collect(),
            "--json" => options.json = true,
            other => bail!(
                "unknown option {other}: there are --seeds N, --first N, --faults a,b and --json"
            ),
        }
    }
    Ok(options)
}

#[derive(Default)]
struct Tally {
    runs: u32,
    first: u32,
    in_three: u32,
    quiet_runs: u32,
    quiet: u32,
    detect: Vec<f64>,
    diagnose: Vec<f64>,
    longest: f64,
}

fn run(options: &Options) -> Result<()> {
    let program = agentry()?;
    let mut tally = Tally::default();
    if !options.json {
        say(&provenance().to_string())?;
        say(
            "fault       seed  truth      first suspect    rank  firings  incidents  detect s  diagnose s  audit  total s",
        )?;
    }
    for fault in &options.faults {
        for seed in options.seeds.clone() {
            let began = Instant::now();
            let result = demo(&program, fault, seed)?;
            let total = began.elapsed().as_secs_f64();
            tally.add(fault, &result, total);
            if !options.json {
                say(&row(fault, seed, &result, total))?;
            }
        }
    }
    tally.print()
}

/// The last line of the demo's stdout, or why there is none.
fn demo(program: &Path, fault: &str, seed: u64) -> Result<Value> {
    let mut child = Command::new(program)
        .args(["demo", "--once", "--json", "--fault", fault, "--seed", &seed.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start agentry demo")?;
    let began = Instant::now();
    while child.try_wait().context("wait for the demo")?.is_none() {
        if began.elapsed() > RUN_MAX {
            child.kill().context("end the demo")?;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let output = child.wait_with_output().context("read the demo's output")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    Ok(serde_json::from_str(last).unwrap_or(Value::Null))
}

impl Tally {
    fn add(&mut self, fault: &str, result: &Value, total: f64) {
        self.longest = self.longest.max(total);
        if fault == "none" {
            self.quiet_runs += 1;
            self.quiet += u32::from(result.get("incidents").and_then(Value::as_u64) == Some(0));
            return;
        }
        self.runs += 1;
        let rank = result.get("correct_rank").and_then(Value::as_u64);
        self.first += u32::from(rank == Some(1));
        self.in_three += u32::from(rank.is_some_and(|rank| rank <= 3));
        self.detect.extend(result.get("detect_seconds").and_then(Value::as_f64));
        self.diagnose.extend(result.get("diagnose_seconds").and_then(Value::as_f64));
    }

    fn print(&mut self) -> Result<()> {
        figure("incident.runs", f64::from(self.runs), "runs")?;
        figure("incident.culprit_first", f64::from(self.first), "runs")?;
        figure("incident.culprit_in_three", f64::from(self.in_three), "runs")?;
        figure("incident.none_runs", f64::from(self.quiet_runs), "runs")?;
        figure("incident.none_without_incident", f64::from(self.quiet), "runs")?;
        figure("incident.detect_median", median(&mut self.detect), "s")?;
        figure("incident.diagnose_median", median(&mut self.diagnose), "s")?;
        figure("incident.longest_run", self.longest, "s")
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn row(fault: &str, seed: u64, result: &Value, total: f64) -> String {
    let text = |pointer: &str| match result.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".into(),
        Some(other) => other.to_string(),
    };
    format!(
        "{fault:<11} {seed:>4}  {:<10} {:<16} {:>4}  {:>7}  {:>9}  {:>8}  {:>10}  {:>5}  {total:>7.1}",
        text("/service"),
        text("/suspects/0/service"),
        text("/correct_rank"),
        text("/firings"),
        text("/incidents"),
        text("/detect_seconds"),
        text("/diagnose_seconds"),
        text("/audit_verified"),
    )
}
