//! What callers see while one of four upstreams is ill, for each strategy:
//! `cargo run -p agentry-balance --example simulation [SEED...]`.

use std::io::Write as _;

use agentry_balance::Strategy;

#[path = "../tests/it/world.rs"]
mod world;

use world::{Fault, Outcome, Setup, run};

fn main() -> std::io::Result<()> {
    let given: Vec<u64> = std::env::args().skip(1).filter_map(|seed| seed.parse().ok()).collect();
    let seeds = if given.is_empty() { vec![1, 2, 3, 4, 5] } else { given };
    let mut out = std::io::stdout().lock();
    writeln!(out, "Worst of the seeds {seeds:?}; times in seconds.\n")?;
    writeln!(
        out,
        "| strategy | ejects | healthy p50 / p99 | failing fast: success, p99, back after | slow: p99 |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    for strategy in Strategy::ALL {
        for ejects in [false, true] {
            let worst = |fault| worst(&seeds, Setup { strategy, ejects, fault, seed: 0 });
            let (healthy, failing, slow) =
                (worst(Fault::None)?, worst(Fault::FailsFast)?, worst(Fault::Slow)?);
            writeln!(
                out,
                "| {strategy} | {} | {:.2} / {:.2} | {:.2} %, {:.2}, {} | {:.2} |",
                if ejects { "yes" } else { "no" },
                healthy.p50,
                healthy.p99,
                failing.success_percent,
                failing.p99,
                failing.back_after.map_or_else(|| "–".to_owned(), |after| format!("{after:.1}")),
                slow.p99,
            )?;
        }
    }
    Ok(())
}

fn worst(seeds: &[u64], setup: Setup) -> std::io::Result<Outcome> {
    let mut worst = Outcome { success_percent: 100.0, p50: 0.0, p99: 0.0, back_after: None };
    for &seed in seeds {
        let Outcome { success_percent, p50, p99, back_after } =
            run(Setup { seed, ..setup }).map_err(std::io::Error::other)?;
        worst = Outcome {
            success_percent: worst.success_percent.min(success_percent),
            p50: worst.p50.max(p50),
            p99: worst.p99.max(p99),
            back_after: worst.back_after.into_iter().chain(back_after).reduce(f64::max),
        };
    }
    Ok(worst)
}
