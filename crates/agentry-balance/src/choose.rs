//! The strategies themselves. Pure: who is open, what each costs, and chance are arguments.

use crate::dice::{below, fraction, mix};
use crate::targets::Targets;

/// A target may have so much more than its share under way before its keys go elsewhere.
const BOUND: f64 = 1.25;

pub(crate) fn nth(open: Targets, turn: u64) -> Option<usize> {
    let mut open = open;
    let count = open.len() as u64;
    open.nth(turn.checked_rem(count)? as usize)
}

/// Each gains its weight, the richest is taken and pays for all: over any stretch each gets its share, and none comes in
/// bursts. `credits` is one for each target, and starts at zero.
pub(crate) fn smooth(
    open: Targets,
    credits: &mut [i64],
    weight: impl Fn(usize) -> u32,
) -> Option<usize> {
    let mut total = 0;
    let mut richest: Option<(usize, i64)> = None;
    for target in open {
        let gain = i64::from(weight(target));
        let credit = credits.get_mut(target)?;
        *credit += gain;
        total += gain;
        if richest.is_none_or(|(_, most)| *credit > most) {
            richest = Some((target, *credit));
        }
    }
    let (target, _) = richest?;
    *credits.get_mut(target)? -= total;
    Some(target)
}

/// The cheapest; of several, one by weight and chance.
pub(crate) fn least(
    open: Targets,
    random: u64,
    weight: impl Fn(usize) -> u32,
    cost: impl Fn(usize) -> f64,
) -> Option<usize> {
    let mut cheapest = Targets::NONE;
    let mut lowest = f64::INFINITY;
    for target in open {
        let cost = cost(target);
        if cost < lowest {
            (cheapest, lowest) = (Targets::one(target), cost);
        } else if cost <= lowest {
            cheapest.insert(target);
        }
    }
    weighted(cheapest, random, weight)
}

pub(crate) fn weighted(open: Targets, random: u64, weight: impl Fn(usize) -> u32) -> Option<usize> {
    let total = open.map(|target| u64::from(weight(target))).sum();
    let mut ticket = below(random, total);
    let mut open = open;
    open.find(|&target| {
        let share = u64::from(weight(target));
        let is_it = ticket < share;
        ticket = ticket.saturating_sub(share);
        is_it
    })
}

/// The cheaper of two that are taken by weight. Almost as good as the cheapest of all, and many who choose at the same
/// time do not all choose the same.
pub(crate) fn two_choices(
    open: Targets,
    random: u64,
    weight: impl Fn(usize) -> u32,
    cost: impl Fn(usize) -> f64,
) -> Option<usize> {
    let one = weighted(open, random, &weight)?;
    let Some(other) = weighted(open.without(Targets::one(one)), mix(random), &weight) else {
        return Some(one);
    };
    Some(if cost(other) < cost(one) { other } else { one })
}

/// What a hashed choice must know of a target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hashed {
    /// Stays the same when other targets come and go.
    pub(crate) id: u64,
    pub(crate) weight: u32,
    pub(crate) in_flight: u32,
}

/// Of those with no more than 1.25 times their share under way, the one with the highest score for this key: weighted
/// rendezvous hashing with bounded loads. A new target takes its share of keys from all others, and no other key moves.
pub(crate) fn hashed(open: Targets, key: u64, of: impl Fn(usize) -> Hashed) -> Option<usize> {
    let (calls, weights) = open.map(&of).fold((1.0, 0.0), |(calls, weights), target| {
        (calls + f64::from(target.in_flight), weights + f64::from(target.weight))
    });
    let mut best: Option<(usize, f64)> = None;
    for target in open {
        let Hashed { id, weight, in_flight } = of(target);
        let bound = (BOUND * calls * f64::from(weight) / weights).ceil();
        let score = f64::from(weight) / -(fraction(mix(key ^ mix(id))) + f64::EPSILON / 4.0).ln();
        if f64::from(in_flight) < bound && best.is_none_or(|(_, highest)| score > highest) {
            best = Some((target, score));
        }
    }
    best.map(|(target, _)| target)
}

#[cfg(test)]
mod tests;
