//! Which model to take: of those that can do what is asked, in the order of what matters to whoever asks.

use std::collections::BTreeSet;
use std::time::Duration;

use agentry_core::MicroUsd;

use super::catalogue::{Can, Model};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// What it must be able to do.
    pub needs: Can,
    /// What it should be good at.
    pub strengths: BTreeSet<String>,
    pub weights: Weights,
}

/// How much each thing matters, in any unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights {
    pub cost: u32,
    pub latency: u32,
    /// Room for more than is asked for now.
    pub context: u32,
    pub strengths: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { cost: 4, latency: 3, context: 1, strengths: 4 }
    }
}

/// What was seen of a model lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    pub latency_p50: Duration,
    /// Of a thousand calls.
    pub successes: u32,
}

#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// `provider/model`, or an alias.
    pub name: &'a str,
    pub model: &'a Model,
    pub measured: Option<Measured>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranked {
    pub name: String,
    /// Of a thousand.
    pub score: u32,
    pub cost: MicroUsd,
    pub reasons: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recommendation {
    /// The best first.
    pub ranked: Vec<Ranked>,
    /// Those that cannot do it, each with what it lacks.
    pub unfit: Vec<(String, String)>,
}

/// The part of a score for what nobody has measured.
const UNKNOWN: f64 = 0.5;
/// With so many times the context that is needed there is room enough.
const ROOM: f64 = 8.0;

#[must_use]
pub fn recommend(query: &Query, candidates: &[Candidate<'_>]) -> Recommendation {
    let mut recommendation = Recommendation::default();
    let mut fit = Vec::new();
    for candidate in candidates {
        match lacks(query, candidate.model) {
            Some(lack) => recommendation.unfit.push((candidate.name.to_owned(), lack)),
            None => fit.push((candidate, cost(query, candidate.model))),
        }
    }
    let cheapest = fit.iter().map(|(_, cost)| *cost).min().unwrap_or_default();
    let fastest = fit.iter().filter_map(|(it, _)| it.measured).map(|it| it.latency_p50).min();
    let best = Best { cheapest, fastest: fastest.unwrap_or_default() };
    recommendation.ranked =
        fit.into_iter().map(|(candidate, cost)| rank(query, candidate, cost, best)).collect();
    recommendation.ranked.sort_by(|left, right| {
        let by_score = right.score.cmp(&left.score);
        by_score.then(left.cost.cmp(&right.cost)).then_with(|| left.name.cmp(&right.name))
    });
    recommendation
}

#[derive(Clone, Copy)]
struct Best {
    cheapest: MicroUsd,
    fastest: Duration,
}

fn cost(query: &Query, model: &Model) -> MicroUsd {
    let rates = model.rates_for(query.input_tokens);
    MicroUsd::of_tokens(query.input_tokens, rates.input)
        + MicroUsd::of_tokens(query.output_tokens, rates.output)
}

fn lacks(query: &Query, model: &Model) -> Option<String> {
    let Can { tools, images, json_schema, reasoning } = query.needs;
    let can = &model.can;
    let needs = [
        (tools && !can.tools, "tools"),
        (images && !can.images, "images"),
        (json_schema && !can.json_schema, "JSON schemas"),
        (reasoning && !can.reasoning, "reasoning"),
    ];
    if let Some((_, what)) = needs.into_iter().find(|(lacking, _)| *lacking) {
        return Some(format!("it cannot do {what}"));
    }
    if query.output_tokens > model.output_tokens_max {
        return Some(format!("it writes at most {} tokens", model.output_tokens_max));
    }
    if query.input_tokens.saturating_add(query.output_tokens) > model.context_tokens {
        return Some(format!("its context is {} tokens", model.context_tokens));
    }
    None
}

fn rank(query: &Query, candidate: &Candidate<'_>, cost: MicroUsd, best: Best) -> Ranked {
    let Candidate { name, model, measured } = *candidate;
    let Weights { cost: by_cost, latency, context, strengths } = query.weights;
    let mut reasons = Vec::new();
    let cheap = if cost.0 <= 0 { 1.0 } else { best.cheapest.0 as f64 / cost.0 as f64 };
    reasons.push(if cost == best.cheapest {
        format!("the cheapest: {cost} USD a call")
    } else {
        format!("{cost} USD a call")
    });
    let fast = measured.map_or(UNKNOWN, |measured| {
        let millis = measured.latency_p50.as_millis();
        let percent = f64::from(measured.successes) / 10.0;
        reasons.push(format!("half of its calls take at most {millis} ms, {percent} % succeed"));
        let ratio = best.fastest.as_secs_f64() / measured.latency_p50.as_secs_f64().max(1e-6);
        ratio.min(1.0) * f64::from(measured.successes.min(1_000)) / 1_000.0
    });
    if measured.is_none() {
        reasons.push("its latency was not measured yet".to_owned());
    }
    let needed = query.input_tokens.saturating_add(query.output_tokens).max(1);
    let room = (model.context_tokens as f64 / needed as f64 / ROOM).min(1.0);
    let good: Vec<&str> =
        query.strengths.intersection(&model.strengths).map(String::as_str).collect();
    if !good.is_empty() {
        reasons.push(format!("good at {}", good.join(", ")));
    }
    let wanted = query.strengths.len();
    let strong = if wanted == 0 { 1.0 } else { good.len() as f64 / wanted as f64 };
    let parts = [(by_cost, cheap), (latency, fast), (context, room), (strengths, strong)];
    let weight: f64 = parts.iter().map(|(weight, _)| f64::from(*weight)).sum();
    let sum: f64 = parts.iter().map(|(weight, part)| f64::from(*weight) * part).sum();
    // Between 0 and 1,000.
    let score = if weight > 0.0 { (sum / weight * 1_000.0).round() as u32 } else { 0 };
    Ranked { name: name.to_owned(), score, cost, reasons }
}

#[cfg(test)]
mod tests;
