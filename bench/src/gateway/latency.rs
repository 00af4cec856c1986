//! What one caller waits longer because something is in between: each round asks everybody in turn.
//!
//! Only one process works at a time, so all of them are on one core: what it costs to wake another one is the machine's
//! affair, and a direct call would be spared it.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;

use super::config::{STREAM_SHORT, WHOLE};
use super::load::{Prompt, Took, Turn, run};
use super::options::Options;
use super::report::{Report, median, percentile};
use super::sides::{Side, Sides};
use super::throughput::micros;

pub(crate) async fn measure(options: &Options, sides: &Sides, report: &mut Report) -> Result<()> {
    let (requests, _) = options.turn();
    let prompt = Rc::new(Prompt::new(WHOLE, 1 << 10));
    let took = |took: &Took| took.whole;
    compare(
        Compared { name: "whole", took, prompt, requests: requests / 10 },
        options,
        sides,
        report,
    )
    .await
}

pub(crate) async fn first_token(
    options: &Options,
    sides: &Sides,
    report: &mut Report,
) -> Result<()> {
    let (requests, _) = options.turn();
    let prompt = Rc::new(Prompt::new(STREAM_SHORT, 1 << 10));
    let took = |took: &Took| took.first;
    let compared = Compared { name: "first_token", took, prompt, requests: requests / 40 };
    compare(compared, options, sides, report).await
}

struct Compared {
    name: &'static str,
    took: fn(&Took) -> Duration,
    prompt: Rc<Prompt>,
    requests: u64,
}

async fn compare(
    compared: Compared,
    options: &Options,
    sides: &Sides,
    report: &mut Report,
) -> Result<()> {
    let Compared { name, took, prompt, requests } = compared;
    let turn = Turn { concurrency: 1, requests, within: Duration::from_secs(10) };
    let mut added: Vec<[Vec<f64>; 2]> = sides.sides.iter().map(|_| Default::default()).collect();
    let mut direct = [Vec::new(), Vec::new()];
    for side in &sides.sides {
        run(&side.target, &prompt, turn).await?;
    }
    for round in 0..options.rounds() {
        report.note(&format!("{name}: round {} of {}", round + 1, options.rounds()))?;
        let percentiles = |took_by: &[Took]| {
            let spans = || took_by.iter().map(|span| micros(took(span)));
            [percentile(spans(), 50.0), percentile(spans(), 99.0)]
        };
        let ran = run(&sides.direct, &prompt, turn).await?.flawless("direct")?;
        let floor = percentiles(&ran.took);
        direct.iter_mut().zip(floor).for_each(|(all, value)| all.push(value));
        for (side, added) in sides.sides.iter().zip(&mut added) {
            let ran = run(&side.target, &prompt, turn).await?;
            let ran = if side.is_ours { ran.flawless(side.name)? } else { ran };
            if ran.took.is_empty() {
                report.note(&format!("{} answers none of them", side.name))?;
                continue;
            }
            for ((all, value), floor) in added.iter_mut().zip(percentiles(&ran.took)).zip(floor) {
                all.push(value - floor);
            }
        }
    }
    for (quantile, values) in ["p50", "p99"].iter().zip(direct) {
        report.figure(format!("gateway.direct.{name}_{quantile}"), median(values), "us", None)?;
    }
    for (Side { name: side, .. }, added) in sides.sides.iter().zip(added) {
        if added.iter().any(Vec::is_empty) {
            continue;
        }
        for (quantile, values) in ["p50", "p99"].iter().zip(added) {
            report.figure(
                format!("gateway.{side}.{name}_added_{quantile}"),
                median(values),
                "us",
                None,
            )?;
        }
    }
    Ok(())
}
