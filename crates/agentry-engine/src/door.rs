//! Between a graph and the graph in one of its nodes, where they do not share their channels.

use agentry_core::run::Values;
use serde_json::Value;

use crate::node::NodeError;
use crate::reducer::Put;

/// Where a graph in a node stands.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// The state of the graph that the node belongs to.
    pub state: &'a Values,
    /// The state of the graph around that one, if there is one.
    pub above: Option<&'a Values>,
    /// What the node was sent, if it was sent something.
    pub sent: Option<&'a Value>,
}

/// Hands a graph in a node its state, and takes what it has come to. All of it is pure: it is asked again when a thread is
/// loaded.
pub trait Door: Send + Sync {
    /// What the inner graph begins with.
    fn enter(&self, around: Around<'_>) -> Result<Values, NodeError>;

    /// What the node writes when the inner graph has ended.
    fn leave(&self, around: Around<'_>, inner: &Values) -> Result<Vec<(String, Put)>, NodeError>;

    /// What the node writes instead when something in it has failed for good; nothing when that is a failure of the run.
    fn mend(&self, around: Around<'_>, message: &str) -> Option<Vec<(String, Put)>> {
        let _ = (around, message);
        None
    }
}
