//! Choosing among strategies by what they have really achieved: how often they succeed, how long they take, what they
//! cost. The choice is an upper confidence bound over the last measurements, so it is the same for the same history;
//! and it does not flutter: another strategy must be clearly better, or the current one must fail in a row.

use std::collections::VecDeque;
use std::time::Duration;

use agentry_core::MicroUsd;
use serde::{Deserialize, Serialize};

/// What is asked of strategies, and how readily they are switched.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How much each counts; only their proportions matter.
    pub success_weight: f64,
    pub speed_weight: f64,
    pub cost_weight: f64,
    /// Whoever takes this long or longer gets nothing for speed.
    pub latency_max: Duration,
    /// Whoever costs this much or more gets nothing for cost.
    pub cost_max: MicroUsd,
    /// How much is made of not knowing: 0 never tries anything again that was worse once.
    pub curiosity: f64,
    /// Older measurements of a strategy are forgotten, for the world changes.
    pub window: usize,
    /// How much better another one must be, between 0 and 1.
    pub margin: f64,
    /// How often a strategy is used before a better one takes over.
    pub uses_min: u32,
    /// So many failures in a row end its time at once.
    pub failures_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            success_weight: 0.7,
            speed_weight: 0.2,
            cost_weight: 0.1,
            latency_max: Duration::from_secs(30),
            cost_max: MicroUsd(100_000),
            curiosity: 0.2,
            window: 50,
            margin: 0.05,
            uses_min: 5,
            failures_max: 3,
        }
    }
}

/// What came of using a strategy once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    pub success: bool,
    pub latency_ms: u64,
    pub cost: MicroUsd,
}

/// All that is remembered, to be stored wherever it should outlive the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    strategies: Vec<Strategy>,
    /// The one in use, by number.
    current: usize,
    /// Since it took over.
    uses: u32,
    failures_in_row: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Strategy {
    name: String,
    measured: VecDeque<Measured>,
}

/// How a strategy stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub name: String,
    pub measured: usize,
    /// From 0 to 1; nothing before it was ever used.
    pub score: Option<f64>,
    /// The score, and more the less is known.
    pub bound: f64,
}

/// What to use now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub name: String,
    pub switched: Option<Switch>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    pub from: String,
    pub why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was never used.
    Untried,
    /// It is better by more than the margin.
    Better,
    /// The one before failed too often in a row.
    Failing,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is nothing to choose from: name at least one strategy")]
    None,
    #[error("two strategies are called `{0}`")]
    Duplicate(String),
    #[error("there is no strategy `{0}`")]
    Unknown(String),
}

impl History {
    /// Of strategies in the order of preference: the first one is used until more is known.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut strategies: Vec<Strategy> = Vec::new();
        for name in names {
            if strategies.iter().any(|known| known.name == name) {
                return Err(Error::Duplicate(name.to_owned()));
            }
            strategies.push(Strategy { name: name.to_owned(), measured: VecDeque::new() });
        }
        match strategies.is_empty() {
            true => Err(Error::None),
            false => Ok(Self { strategies, current: 0, uses: 0, failures_in_row: 0 }),
        }
    }

    /// The one in use.
    #[must_use]
    pub fn current(&self) -> &str {
        self.strategies.get(self.current).map_or("", |strategy| &strategy.name)
    }

    /// Remembers what came of a strategy, whether it is the one in use or not.
    pub fn record(
        &mut self,
        name: &str,
        measured: Measured,
        settings: &Settings,
    ) -> Result<(), Error> {
        let found = self.strategies.iter_mut().enumerate().find(|(_, known)| known.name == name);
        let (number, strategy) = found.ok_or_else(|| Error::Unknown(name.to_owned()))?;
        strategy.measured.push_back(measured);
        while strategy.measured.len() > settings.window.max(1) {
            strategy.measured.pop_front();
        }
        if number == self.current {
            self.uses = self.uses.saturating_add(1);
            self.failures_in_row = if measured.success { 0 } else { self.failures_in_row + 1 };
        }
        Ok(())
    }

    /// What to use next.
    pub fn choose(&mut self, settings: &Settings) -> Choice {
        let standings = self.standings(settings);
        let Some((best, why)) = self.better(&standings, settings) else {
            return Choice { name: self.current().to_owned(), switched: None };
        };
        let from = self.current().to_owned();
        (self.current, self.uses, self.failures_in_row) = (best, 0, 0);
        Choice { name: self.current().to_owned(), switched: Some(Switch { from, why }) }
    }

    /// The strategy that should take over, if any.
    fn better(&self, standings: &[Standing], settings: &Settings) -> Option<(usize, Why)> {
        let others = || standings.iter().enumerate().filter(|(number, _)| *number != self.current);
        // Of equals the one that was named first.
        let best = |standings: &mut dyn Iterator<Item = (usize, &Standing)>| {
            standings.fold(None, |best: Option<(usize, f64)>, (number, standing)| match best {
                Some((_, bound)) if bound >= standing.bound => best,
                _ => Some((number, standing.bound)),
            })
        };
        if self.failures_in_row >= settings.failures_max.max(1) {
            return best(&mut others()).map(|(number, _)| (number, Why::Failing));
        }
        if self.uses < settings.uses_min {
            return None;
        }
        if let Some((number, _)) = others().find(|(_, standing)| standing.score.is_none())
            && settings.curiosity > 0.0
        {
            return Some((number, Why::Untried));
        }
        let current = standings.get(self.current)?;
        let (number, bound) = best(&mut others())?;
        (bound > current.bound + settings.margin).then_some((number, Why::Better))
    }

    /// All strategies, in their order.
    #[must_use]
    pub fn standings(&self, settings: &Settings) -> Vec<Standing> {
        let all: usize = self.strategies.iter().map(|strategy| strategy.measured.len()).sum();
        let standing = |strategy: &Strategy| {
            let measured = strategy.measured.len();
            let score = score(&strategy.measured, settings);
            let doubt = match measured {
                0 => 1.0,
                count => ((all.max(1) as f64).ln().max(0.0) * 2.0 / count as f64).sqrt(),
            };
            let bound = score.unwrap_or(0.5) + settings.curiosity * doubt;
            Standing { name: strategy.name.clone(), measured, score, bound }
        };
        self.strategies.iter().map(standing).collect()
    }
}

/// From 0 to 1.
fn score(measured: &VecDeque<Measured>, settings: &Settings) -> Option<f64> {
    if measured.is_empty() {
        return None;
    }
    let count = measured.len() as f64;
    let left = |used: f64, most: f64| if most > 0.0 { 1.0 - (used / most).min(1.0) } else { 0.0 };
    let success = measured.iter().filter(|one| one.success).count() as f64 / count;
    let latency: f64 = measured.iter().map(|one| one.latency_ms as f64).sum::<f64>() / count;
    let cost: f64 = measured.iter().map(|one| one.cost.0 as f64).sum::<f64>() / count;
    let speed = left(latency, settings.latency_max.as_millis() as f64);
    let thrift = left(cost, settings.cost_max.0 as f64);
    let weights = [
        (settings.success_weight, success),
        (settings.speed_weight, speed),
        (settings.cost_weight, thrift),
    ];
    let whole: f64 = weights.iter().map(|(weight, _)| weight.max(0.0)).sum();
    let sum: f64 = weights.iter().map(|(weight, of)| weight.max(0.0) * of).sum();
    Some(if whole > 0.0 { sum / whole } else { 0.0 })
}

#[cfg(test)]
mod tests;
