//! Runs of graphs. Graphs and nodes are those of the project, and no more of them than a bound.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::SECONDS;

/// So many nodes have series of their own; the others are one.
const NODES_MAX: usize = 500;
const OTHERS: &str = "other";

pub(super) struct Runs {
    pub(super) over: Family<Outcome, Counter>,
    nodes: Family<Node, Histogram>,
    /// Graphs and nodes that have series.
    named: Mutex<HashSet<(String, String)>>,
    pub(super) node_ends: Family<NodeEnd, Counter>,
    pub(super) claims: Counter,
    pub(super) claimed: Gauge,
    pub(super) lost: Counter,
    pub(super) queued: Histogram,
    pub(super) commits: Counter,
    pub(super) commit: Histogram,
    pub(super) effects: Counter,
    pub(super) interrupts: Family<Happened, Counter>,
    pub(super) interrupts_open: Gauge,
    pub(super) threads: Family<State, Gauge>,
    pub(super) oldest: Gauge<f64, std::sync::atomic::AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) graph: String,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Node {
    graph: String,
    node: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct NodeEnd {
    pub(super) end: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Happened {
    pub(super) event: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct State {
    pub(super) state: &'static str,
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Runs {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let runs = Self {
            over: Family::default(),
            nodes: Family::new_with_constructor(seconds),
            named: Mutex::default(),
            node_ends: Family::default(),
            claims: Counter::default(),
            claimed: Gauge::default(),
            lost: Counter::default(),
            queued: seconds(),
            commits: Counter::default(),
            commit: seconds(),
            effects: Counter::default(),
            interrupts: Family::default(),
            interrupts_open: Gauge::default(),
            threads: Family::default(),
            oldest: Gauge::default(),
        };
        runs.show(registry);
        runs
    }

    fn show(&self, registry: &mut Registry) {
        registry.register("agentry_runs", "Runs that are over, or rest", self.over.clone());
        registry.register(
            "agentry_node_seconds",
            "How long attempts at a node took",
            self.nodes.clone(),
        );
        registry.register(
            "agentry_node_attempts",
            "Attempts at nodes, by what they came to",
            self.node_ends.clone(),
        );
        registry.register("agentry_thread_claims", "Threads taken", self.claims.clone());
        registry.register(
            "agentry_threads_claimed",
            "Threads that this instance works on",
            self.claimed.clone(),
        );
        registry.register(
            "agentry_leases_lost",
            "Threads taken by another worker, or given up because the lease could not be renewed",
            self.lost.clone(),
        );
        registry.register(
            "agentry_queue_seconds",
            "From when a thread could be taken to when it was",
            self.queued.clone(),
        );
        registry.register(
            "agentry_thread_commits",
            "Decisions that are stored",
            self.commits.clone(),
        );
        registry.register(
            "agentry_thread_commit_seconds",
            "How long the store took for a decision",
            self.commit.clone(),
        );
        registry.register(
            "agentry_effects",
            "Effects that are done and remembered",
            self.effects.clone(),
        );
        registry.register(
            "agentry_interrupts",
            "What became of questions and waits",
            self.interrupts.clone(),
        );
        registry.register(
            "agentry_interrupts_open",
            "Questions that wait for a person",
            self.interrupts_open.clone(),
        );
        registry.register("agentry_threads", "Threads by what they do", self.threads.clone());
        registry.register(
            "agentry_queue_oldest_seconds",
            "For how long the oldest run that could begin has waited",
            self.oldest.clone(),
        );
    }

    pub(super) fn node_ran(&self, (graph, node): (&str, &str), took: Duration) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = (graph.to_owned(), node.to_owned());
        let known = named.contains(&pair);
        if !known && named.len() < NODES_MAX {
            named.insert(pair.clone());
        }
        let has_series = known || named.contains(&pair);
        drop(named);
        let (graph, node) = if has_series { pair } else { (OTHERS.to_owned(), OTHERS.to_owned()) };
        self.nodes.get_or_create(&Node { graph, node }).observe(took.as_secs_f64());
    }
}

/// What there is to do at a moment, in all the store.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ThreadsNow {
    /// To be taken, or taken.
    pub ready: u64,
    /// For a moment or a message.
    pub waiting: u64,
    /// For a person.
    pub interrupted: u64,
    pub failed: u64,
    pub questions: usize,
    /// Of the oldest run that could begin.
    pub oldest: Duration,
}

/// What the shells of the engine tell. Outcomes, ends and events come from closed sets.
impl super::Metrics {
    pub fn run_over(&self, graph: &str, outcome: &'static str) {
        let labels = Outcome { graph: graph.to_owned(), outcome };
        self.runs.over.get_or_create(&labels).inc();
    }

    pub fn node_ran(&self, (graph, node): (&str, &str), end: &'static str, took: Duration) {
        self.runs.node_ran((graph, node), took);
        self.runs.node_ends.get_or_create(&NodeEnd { end }).inc();
    }

    /// `waited`: since when it could have been, where that is known.
    pub fn thread_claimed(&self, waited: Option<Duration>) {
        self.runs.claims.inc();
        self.runs.claimed.inc();
        if let Some(waited) = waited {
            self.runs.queued.observe(waited.as_secs_f64());
        }
    }

    pub fn thread_let_go(&self) {
        self.runs.claimed.dec();
    }

    pub fn lease_lost(&self) {
        self.runs.lost.inc();
    }

    pub fn thread_committed(&self, took: Duration) {
        self.runs.commits.inc();
        self.runs.commit.observe(took.as_secs_f64());
    }

    pub fn effect_done(&self) {
        self.runs.effects.inc();
    }

    pub fn interrupts(&self, event: &'static str, count: u64) {
        if count > 0 {
            self.runs.interrupts.get_or_create(&Happened { event }).inc_by(count);
        }
    }

    pub fn threads_now(&self, now: ThreadsNow) {
        let ThreadsNow { ready, waiting, interrupted, failed, questions, oldest } = now;
        let states = [
            ("ready", ready),
            ("waiting", waiting),
            ("interrupted", interrupted),
            ("failed", failed),
        ];
        for (state, count) in states {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.runs.threads.get_or_create(&State { state }).set(count);
        }
        self.runs.interrupts_open.set(i64::try_from(questions).unwrap_or(i64::MAX));
        self.runs.oldest.set(oldest.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn more_nodes_than_a_bound_are_counted_together() {
        let metrics = Metrics::new();
        for number in 0..NODES_MAX + 20 {
            let took = Duration::from_millis(3);
            metrics.node_ran(("g", &format!("n{number}")), "done", took);
        }
        let text = metrics.text().unwrap();
        let series = text.lines().filter(|line| line.starts_with("agentry_node_seconds_count"));
        assert_eq!(series.count(), NODES_MAX + 1);
        let others = r#"agentry_node_seconds_count{graph="other",node="other"} 20"#;
        assert!(text.contains(others), "{text}");
        assert!(text.contains(r#"agentry_node_attempts_total{end="done"} 520"#));
    }

    #[test]
    fn what_there_is_to_do_is_shown_by_state() {
        let metrics = Metrics::new();
        metrics.thread_claimed(Some(Duration::from_millis(20)));
        metrics.run_over("review", "success");
        metrics.interrupts("expired", 2);
        metrics.interrupts("answered", 0);
        metrics.threads_now(ThreadsNow {
            ready: 3,
            questions: 2,
            oldest: Duration::from_secs(9),
            ..ThreadsNow::default()
        });
        let text = metrics.text().unwrap();
        let check = |line: &str| assert!(text.lines().any(|it| it == line), "{line} in {text}");
        check(r#"agentry_threads{state="ready"} 3"#);
        check(r#"agentry_threads{state="waiting"} 0"#);
        check("agentry_interrupts_open 2");
        check("agentry_queue_oldest_seconds 9.0");
        check("agentry_threads_claimed 1");
        check(r#"agentry_interrupts_total{event="expired"} 2"#);
        check(r#"agentry_runs_total{graph="review",outcome="success"} 1"#);
        assert!(!text.contains("answered"));
    }
}
