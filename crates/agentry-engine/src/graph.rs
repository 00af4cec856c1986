//! A graph as data: what can be stored, hashed, checked and drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agentry_core::run::Values;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub use crate::reducer::Reducer;

/// Where every run begins; edges may only leave it.
pub const START: &str = "START";
/// Where a path ends; edges may only enter it.
pub const END: &str = "END";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    pub name: String,
    /// Raised by hand when node functions change so much that runs in flight must stay with the old ones.
    pub revision: u32,
    pub channels: BTreeMap<String, Reducer>,
    pub nodes: BTreeMap<String, NodeSettings>,
    pub edges: Vec<Edge>,
    /// A run that takes more supersteps than this has failed.
    pub steps_max: u32,
    /// What channels hold before anything is written to them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub initial: BTreeMap<String, Value>,
    /// When a node starts that others of its superstep are not needed for.
    #[serde(default, skip_serializing_if = "Pace::is_supersteps")]
    pub pace: Pace,
    /// What becomes of the others when a node has failed.
    #[serde(default, skip_serializing_if = "Siblings::is_finish")]
    pub siblings: Siblings,
    /// Nodes before which every run stops until it is told to go on; `*` for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_before: Vec<String>,
    /// The channel that has what runs are given to go by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Nodes after which every run stops.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_after: Vec<String>,
    /// Nodes need no way from START nor to END: where no edge leads on, the path ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open_ended: bool,
}

/// When the next nodes start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    /// When all nodes of a superstep are done.
    #[default]
    Supersteps,
    /// Each as soon as an edge leads to it.
    Free,
}

impl Pace {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_supersteps(&self) -> bool {
        *self == Self::Supersteps
    }
}

/// What nodes that run beside a failing one do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Siblings {
    /// They finish, and what they have done is kept for when the run goes on.
    #[default]
    Finish,
    /// They are cancelled. Those that are done already keep what they have.
    Cancel,
}

impl Siblings {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_finish(&self) -> bool {
        *self == Self::Finish
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSettings {
    /// How long one attempt may take.
    pub deadline_ms: Option<u64>,
    /// How often the node is tried before the run fails.
    pub attempts_max: u32,
    /// The pause after the first failed attempt; it doubles with each further one.
    pub backoff_ms: u64,
    pub backoff_max_ms: u64,
    /// Up to this much is added to each pause, differently for each task.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub jitter_ms: u64,
    /// It starts only when nothing else is left to do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deferred: bool,
    /// The node that runs in its place when it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<String>,
    /// It is not run again for the same state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Caching>,
    /// The graph that runs in this node, and what it remembers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subgraph: Option<Subgraph>,
}

/// How long the writes of a node are used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caching {
    /// For ever, when there is none.
    pub ttl_ms: Option<u64>,
    /// The channels that make the key; all of them, when none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

/// A graph inside a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subgraph {
    /// The version of the inner graph, so that it is a part of the outer one's.
    pub version: String,
    pub memory: Memory,
    pub returns: Returns,
}

/// What a subgraph knows of its last visit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// Nothing: each visit has a state of its own.
    #[default]
    Visit,
    /// Its state, for as long as the thread lives.
    Thread,
    /// Nothing, and nothing of it is in the log: it runs as one step of the graph around it. It cannot ask, and after a crash it
    /// begins anew, but for its effects.
    Off,
}

/// What a subgraph writes to the channels that it shares with its parent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Returns {
    /// Of lists what it has appended, of other channels the value.
    #[default]
    Added,
    /// The whole value: a list that was handed in is appended to itself.
    Whole,
    /// What its [`Door`](crate::Door) says. Such a graph has its own limit of supersteps.
    Mapped,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            deadline_ms: None,
            attempts_max: 1,
            backoff_ms: 500,
            backoff_max_ms: 60_000,
            jitter_ms: 0,
            deferred: false,
            on_error: None,
            cache: None,
            subgraph: None,
        }
    }
}

impl NodeSettings {
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline_ms = Some(millis(deadline));
        self
    }

    #[must_use]
    pub fn attempts(mut self, attempts_max: u32, backoff: Duration) -> Self {
        self.attempts_max = attempts_max;
        self.backoff_ms = millis(backoff);
        self
    }

    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter_ms = millis(jitter);
        self
    }

    #[must_use]
    pub fn deferred(mut self) -> Self {
        self.deferred = true;
        self
    }

    /// `node` runs when this one has failed; [`NodeContext::failure`](crate::NodeContext::failure) tells it why.
    #[must_use]
    pub fn on_error(mut self, node: &str) -> Self {
        self.on_error = Some(node.to_owned());
        self
    }

    #[must_use]
    pub fn cached(mut self, ttl: Option<Duration>) -> Self {
        self.cache = Some(Caching { ttl_ms: ttl.map(millis), keys: Vec::new() });
        self
    }

    /// The pause after the `failures`-th failure.
    #[must_use]
    pub fn backoff(&self, failures: u32) -> Duration {
        let factor = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
        Duration::from_millis(self.backoff_ms.saturating_mul(factor).min(self.backoff_max_ms))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Edge {
    /// Always followed; several from one node fan out.
    Plain { from: String, to: String },
    /// Of a node's conditional edges the first that holds is followed.
    When { from: String, condition: Condition, to: String },
    /// Followed when none of the node's conditions holds.
    Otherwise { from: String, to: String },
    /// A registered pure function names the targets, out of `to`.
    Choose { from: String, router: String, to: Vec<String> },
    /// Followed once all of `from` have finished.
    Join { from: Vec<String>, to: String },
}

/// A test of one channel's value, or of a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    pub channel: String,
    /// A JSON pointer such as `/decision`; empty for the whole value.
    #[serde(default)]
    pub pointer: String,
    pub test: Test,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    Exists,
    Missing,
    Equals(Value),
    Differs(Value),
    AtLeast(i64),
    Below(i64),
}

impl Condition {
    #[must_use]
    pub fn new(channel: &str, test: Test) -> Self {
        Self { channel: channel.to_owned(), pointer: String::new(), test }
    }

    #[must_use]
    pub fn equals(channel: &str, value: impl Into<Value>) -> Self {
        Self::new(channel, Test::Equals(value.into()))
    }

    #[must_use]
    pub fn exists(channel: &str) -> Self {
        Self::new(channel, Test::Exists)
    }

    #[must_use]
    pub fn at(mut self, pointer: &str) -> Self {
        pointer.clone_into(&mut self.pointer);
        self
    }

    /// A value that is not there, or null, exists not and differs from everything.
    #[must_use]
    pub fn holds(&self, values: &Values) -> bool {
        let found = values.get(&self.channel).and_then(|value| value.pointer(&self.pointer));
        let found = found.filter(|value| !value.is_null());
        match &self.test {
            Test::Exists => found.is_some(),
            Test::Missing => found.is_none(),
            Test::Equals(wanted) => found == Some(wanted),
            Test::Differs(wanted) => found != Some(wanted),
            Test::AtLeast(bound) => {
                found.and_then(Value::as_f64).is_some_and(|n| n >= *bound as f64)
            }
            Test::Below(bound) => found.and_then(Value::as_f64).is_some_and(|n| n < *bound as f64),
        }
    }
}

impl Edge {
    pub(crate) fn sources(&self) -> Vec<&str> {
        match self {
            Self::Plain { from, .. }
            | Self::When { from, .. }
            | Self::Otherwise { from, .. }
            | Self::Choose { from, .. } => vec![from],
            Self::Join { from, .. } => from.iter().map(String::as_str).collect(),
        }
    }

    pub(crate) fn targets(&self) -> Vec<&str> {
        match self {
            Self::Plain { to, .. }
            | Self::When { to, .. }
            | Self::Otherwise { to, .. }
            | Self::Join { to, .. } => vec![to],
            Self::Choose { to, .. } => to.iter().map(String::as_str).collect(),
        }
    }
}

/// Why a graph cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("`{0}` cannot name a node: it is reserved or empty")]
    Name(String),
    #[error("two nodes are named `{0}`")]
    DuplicateNode(String),
    #[error("an edge names `{0}`, but there is no such node")]
    UnknownNode(String),
    #[error("`{0}` hands its failures to `{1}`, but there is no such node")]
    UnknownHandler(String, String),
    #[error("the channel `{0}` is reduced by `{1}`, but no such reducer is registered")]
    NoReducer(String, String),
    #[error("an edge tests the channel `{0}`, which is not declared")]
    UnknownChannel(String),
    #[error("no edge leaves START")]
    NoStart,
    #[error("an edge enters START or leaves END")]
    Backwards,
    #[error("no way leads from START to `{0}`")]
    Unreachable(String),
    #[error("no way leads from `{0}` to END")]
    NoEnd(String),
    #[error("`{0}` has conditional edges but nothing for when none holds; add an `otherwise`")]
    NoOtherwise(String),
    #[error("no function is registered for the node `{0}`")]
    NoFunction(String),
    #[error("no function is registered for the router `{0}`")]
    NoRouter(String),
}

impl Graph {
    /// Content hash: two graphs with the same version decide alike.
    #[must_use]
    pub fn version(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        Sha256::digest(&text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Everything that is wrong with the graph itself.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = self
            .nodes
            .keys()
            .filter(|name| name.is_empty() || [START, END].contains(&name.as_str()))
            .map(|name| Problem::Name(name.clone()))
            .collect();
        for edge in &self.edges {
            self.check(edge, &mut problems);
        }
        for (name, settings) in &self.nodes {
            if let Some(handler) = settings.on_error.as_ref()
                && !self.nodes.contains_key(handler)
            {
                problems.push(Problem::UnknownHandler(name.clone(), handler.clone()));
            }
        }
        if !self.edges.iter().any(|edge| edge.sources().contains(&START)) {
            problems.push(Problem::NoStart);
        }
        if problems.is_empty() && !self.open_ended {
            self.check_ways(&mut problems);
        }
        problems
    }

    fn check(&self, edge: &Edge, problems: &mut Vec<Problem>) {
        for name in edge.sources().into_iter().chain(edge.targets()) {
            if ![START, END].contains(&name) && !self.nodes.contains_key(name) {
                problems.push(Problem::UnknownNode(name.to_owned()));
            }
        }
        if edge.sources().contains(&END) || edge.targets().contains(&START) {
            problems.push(Problem::Backwards);
        }
        if let Edge::When { from, condition, .. } = edge {
            if !self.channels.contains_key(&condition.channel) {
                problems.push(Problem::UnknownChannel(condition.channel.clone()));
            }
            let covered = |other: &Edge| match other {
                Edge::Otherwise { from: other, .. } | Edge::Plain { from: other, .. } => {
                    other == from
                }
                Edge::When { .. } | Edge::Choose { .. } | Edge::Join { .. } => false,
            };
            let problem = Problem::NoOtherwise(from.clone());
            if !self.edges.iter().any(covered) && !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }

    fn check_ways(&self, problems: &mut Vec<Problem>) {
        let forward = self.walk(START, |edge| (edge.sources(), edge.targets()));
        let backward = self.walk(END, |edge| (edge.targets(), edge.sources()));
        for name in self.nodes.keys() {
            if !forward.contains(name.as_str()) {
                problems.push(Problem::Unreachable(name.clone()));
            } else if !backward.contains(name.as_str()) {
                problems.push(Problem::NoEnd(name.clone()));
            }
        }
    }

    fn walk<'a>(
        &'a self,
        from: &'a str,
        ends: impl Fn(&'a Edge) -> (Vec<&'a str>, Vec<&'a str>),
    ) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::from([from]);
        let mut open = vec![from];
        while let Some(here) = open.pop() {
            for edge in &self.edges {
                let (sources, targets) = ends(edge);
                if sources.contains(&here) {
                    open.extend(targets.into_iter().filter(|target| seen.insert(target)));
                }
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests;
