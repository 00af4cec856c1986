//! What could be better, from figures alone.

use serde::Serialize;

use super::{Node, Summary};

/// Shorter runs are not worth advice.
const WORTH_MS: u64 = 100;
/// A node that takes this part of all work is a bottleneck.
const BOTTLENECK_PERCENT: u64 = 50;
const EFFICIENCY_PERCENT_MIN: u64 = 50;
/// The longest visit against the mean of all.
const STRAGGLER: u64 = 3;
const LOOPS: usize = 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Advice {
    /// Most of the work is one node's: make it faster, or split it.
    Bottleneck { node: String, percent: u64 },
    /// Time passes in which no task runs and nobody is asked: too few workers, or a slow store.
    Idle { percent: u64 },
    /// A visit takes much longer than the others: a deadline, or a graph that does not wait for stragglers, would help.
    Straggler { node: String, longest_ms: u64, mean_ms: u64 },
    /// Attempts fail and are made again.
    Retries { node: String, failures: usize, attempts: usize },
    /// Visited again and again: look at the condition that ends the loop.
    Loop { node: String, visits: usize },
    /// Large values in the state are written, read and shown again: keep a reference instead.
    LargeState { channel: String, bytes: usize },
    /// People are what is waited for: a deadline with an answer of its own would bound it.
    Waiting { node: String, waited_ms: u64 },
}

pub(super) fn on(summary: &Summary) -> Vec<Advice> {
    let mut advice = Vec::new();
    if summary.wall_ms >= WORTH_MS {
        of_time(summary, &mut advice);
    }
    for node in &summary.nodes {
        of_node(node, &mut advice);
    }
    if let Some(change) = summary.large_changes.first() {
        let channel = change.channel.clone();
        advice.push(Advice::LargeState { channel, bytes: change.bytes });
    }
    advice
}

fn of_time(summary: &Summary, advice: &mut Vec<Advice>) {
    if let [slowest, _, ..] = summary.nodes.as_slice() {
        let percent = (slowest.work_ms * 100).checked_div(summary.work_ms).unwrap_or(0);
        if percent >= BOTTLENECK_PERCENT {
            advice.push(Advice::Bottleneck { node: slowest.node.clone(), percent });
        }
    }
    if summary.efficiency_percent < EFFICIENCY_PERCENT_MIN {
        advice.push(Advice::Idle { percent: 100 - summary.efficiency_percent });
    }
    let waits = summary.nodes.iter().max_by_key(|node| node.waited_ms);
    if let Some(node) = waits.filter(|node| node.waited_ms * 2 > summary.wall_ms) {
        let waited_ms = node.waited_ms;
        advice.push(Advice::Waiting { node: node.node.clone(), waited_ms });
    }
}

fn of_node(node: &Node, advice: &mut Vec<Advice>) {
    let name = || node.node.clone();
    let mean_ms = node.work_ms / (node.visits.max(1) as u64);
    let (longest_ms, visits) = (node.longest_ms, node.visits);
    if visits >= 3 && longest_ms >= WORTH_MS && longest_ms > mean_ms.saturating_mul(STRAGGLER) {
        advice.push(Advice::Straggler { node: name(), longest_ms, mean_ms });
    }
    if node.failures > 0 && node.attempts > visits {
        let (failures, attempts) = (node.failures, node.attempts);
        advice.push(Advice::Retries { node: name(), failures, attempts });
    }
    if visits > LOOPS {
        advice.push(Advice::Loop { node: name(), visits });
    }
}
