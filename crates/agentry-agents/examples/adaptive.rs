//! Three strategies in a world that changes half-way: the choice follows what is measured.

use std::io::Write as _;

use agentry_agents::adaptive::{History, Measured, Settings};
use agentry_core::MicroUsd;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::default();
    let mut history = History::new(["direct", "react", "tree_of_thoughts"])?;
    let mut out = std::io::stdout().lock();
    for round in 0..200_u64 {
        let choice = history.choose(&settings);
        if let Some(switch) = choice.switched {
            writeln!(out, "round {round}: {} → {} ({:?})", switch.from, choice.name, switch.why)?;
        }
        let measured = world(&choice.name, round);
        history.record(&choice.name, measured, &settings)?;
    }
    for standing in history.standings(&settings) {
        let score = standing.score.unwrap_or_default();
        writeln!(out, "{:<18} {:>3} measured, score {score:.2}", standing.name, standing.measured)?;
    }
    Ok(())
}

/// Questions are easy at first; from round 100 on only those who look things up get them right.
fn world(name: &str, round: u64) -> Measured {
    let easy = round < 100;
    let (success, latency_ms, cost) = match name {
        "direct" => (easy || round.is_multiple_of(4), 800, 500),
        "react" => (!round.is_multiple_of(10), 6_000, 8_000),
        _ => (true, 25_000, 80_000),
    };
    Measured { success, latency_ms, cost: MicroUsd(cost) }
}
