//! CPU per request at a fixed concurrency.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::config::{CACHE, STREAM_UNPACED, WHOLE};
use super::load::{Prompt, Turn, run};
use super::options::Options;
use super::report::{Against, Report, median, percentile};
use super::sides::{AGENTRY, BARE, Side, Sides};

const CONCURRENCY: usize = 16;

/// A kind of request, and how much fewer of it make a turn.
struct Kind {
    name: &'static str,
    prompt: fn() -> Prompt,
    share: u64,
}

const KINDS: [Kind; 3] = [
    Kind { name: "1kb", prompt: || Prompt::new(WHOLE, 1 << 10), share: 1 },
    Kind { name: "128kb", prompt: || Prompt::new(WHOLE, 128 << 10), share: 4 },
    Kind { name: "stream_64", prompt: || Prompt::new(STREAM_UNPACED, 1 << 10), share: 8 },
];

#[derive(Default)]
struct Measured {
    cpu_us: Vec<f64>,
    per_second: Vec<f64>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
    failed: u64,
    first_failure: Option<String>,
}

pub(crate) async fn measure(options: &Options, sides: &Sides, report: &mut Report) -> Result<()> {
    for Kind { name, prompt, share } in KINDS {
        let prompt = Rc::new(prompt());
        let (requests, within) = options.turn();
        let turn = Turn { concurrency: CONCURRENCY, requests: requests / share, within };
        let mut measured: Vec<Measured> = sides.sides.iter().map(|_| Measured::default()).collect();
        for side in &sides.sides {
            report.note(&format!("{name}: warming {} up", side.name))?;
            run(&side.target, &prompt, Turn { requests: turn.requests / 4, ..turn }).await?;
        }
        for round in 0..options.rounds() {
            report.note(&format!("{name}: round {} of {}", round + 1, options.rounds()))?;
            for (side, measured) in sides.sides.iter().zip(&mut measured) {
                // Nobody learns more from the seventh turn of a peer that needs milliseconds.
                if side.is_ours || round < 3 {
                    measured.turn(side, &prompt, turn).await?;
                }
            }
        }
        tell(name, sides, &measured, report)?;
    }
    Ok(())
}

impl Measured {
    async fn turn(&mut self, side: &Side, prompt: &Rc<Prompt>, turn: Turn) -> Result<()> {
        let before = side.server.cpu()?;
        let ran = run(&side.target, prompt, turn).await?;
        let used = side.server.cpu()?.since(before);
        let answered = ran.took.len() as f64;
        self.failed += ran.failed;
        self.first_failure = self.first_failure.take().or(ran.first_failure);
        if answered > 0.0 {
            let took = || ran.took.iter().map(|took| micros(took.whole));
            self.cpu_us.push(micros(used) / answered);
            self.per_second.push(answered / ran.elapsed.as_secs_f64());
            self.p50_us.push(percentile(took(), 50.0));
            self.p99_us.push(percentile(took(), 99.0));
        }
        Ok(())
    }
}

fn tell(kind: &str, sides: &Sides, measured: &[Measured], report: &mut Report) -> Result<()> {
    let floor = sides.sides.iter().zip(measured).find(|(side, _)| side.name == BARE);
    let floor = floor.map_or(0.0, |(_, floor)| median(floor.cpu_us.iter().copied()));
    for (Side { name, .. }, measured) in sides.sides.iter().zip(measured) {
        if let Some(failure) = &measured.first_failure {
            report
                .note(&format!("{name}: {} calls failed, the first: {failure}", measured.failed))?;
        }
        if measured.cpu_us.is_empty() {
            continue;
        }
        let cpu = median(measured.cpu_us.iter().copied());
        let against = Against::new(BARE, cpu, floor).filter(|_| *name != BARE);
        report.figure(format!("gateway.{name}.cpu_{kind}"), cpu, "us", against)?;
        let per_second = median(measured.per_second.iter().copied());
        report.figure(format!("gateway.{name}.rate_{kind}"), per_second, "1/s", None)?;
        let p50 = median(measured.p50_us.iter().copied());
        report.figure(format!("gateway.{name}.p50_{kind}"), p50, "us", None)?;
        let p99 = median(measured.p99_us.iter().copied());
        report.figure(format!("gateway.{name}.p99_{kind}"), p99, "us", None)?;
        if measured.failed > 0 {
            let failed = measured.failed as f64;
            report.figure(format!("gateway.{name}.failed_{kind}"), failed, "calls", None)?;
        }
    }
    Ok(())
}

/// What the cache answers never reaches the mock.
pub(crate) async fn hits(options: &Options, sides: &Sides, report: &mut Report) -> Result<()> {
    if !sides.policies.contains(&CACHE) {
        return report.note("hit: skipped, the cache is not on");
    }
    let prompt = Rc::new(Prompt::new(WHOLE, 1 << 10).repeated());
    let (requests, within) = options.turn();
    let turn = Turn { concurrency: CONCURRENCY, requests, within };
    for side in sides.sides.iter().filter(|side| side.name == AGENTRY) {
        run(&side.target, &prompt, Turn { requests: turn.requests / 4, ..turn })
            .await?
            .flawless("hit")?;
        let (mut measured, asked) = (Measured::default(), sides.mock.cpu()?);
        for _ in 0..options.rounds() {
            measured.turn(side, &prompt, turn).await?;
        }
        let asked = micros(sides.mock.cpu()?.since(asked)) / requests as f64;
        ensure!(asked < 1.0, "the vendor was asked although the answers were there to repeat");
        let cpu = median(measured.cpu_us.iter().copied());
        report.figure(format!("gateway.{}.cpu_hit", side.name), cpu, "us", None)?;
    }
    Ok(())
}

pub(crate) fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}
