//! What a file says of a graph, parsed but not yet held against anything else.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_engine::Reducer;
use agentry_notation::{At, Place};
use serde_json::Value;

use crate::argument::Argument;
use crate::evolve::Evolution;
use crate::expression::Expression;
use crate::schema::Schema;
use crate::template::Template;
use crate::types::Type;

pub(crate) mod node;
mod read;

pub(crate) use read::{Source, json, read};

/// A graph of its own, or one that others run inside of theirs.
#[derive(Debug, Clone)]
pub struct Definition {
    pub name: At<String>,
    pub description: Option<String>,
    /// Where to begin; without it, at every node that no edge enters.
    pub start: Option<Vec<At<String>>>,
    /// A run that takes more supersteps has failed.
    pub steps_max: u32,
    /// What a run is given. Without a declaration anything goes.
    pub input: Option<BTreeMap<String, Field>>,
    /// What a run is given to go by, which is no part of what it works on.
    pub config: Option<BTreeMap<String, Field>>,
    pub state: BTreeMap<String, Key>,
    pub nodes: BTreeMap<String, Node>,
    pub edges: Vec<Edge>,
    /// What the graph comes to for whoever runs it inside of another; without it, the whole state.
    pub output: Option<Spot<Expression>>,
    /// How threads of earlier versions come to this one.
    pub evolution: Evolution,
    /// Everything that was written, for the version.
    pub(crate) written: Value,
    /// Nodes that are there, but could not be read.
    pub(crate) unread: Vec<String>,
    /// Edges could not be read.
    pub(crate) incomplete: bool,
}

/// Something that was parsed out of a text, and where that text stands.
#[derive(Debug, Clone)]
pub struct Spot<T> {
    pub place: Place,
    /// Where the text itself begins, when it stands in the file as it is.
    pub(crate) verbatim: Option<usize>,
    pub text: String,
    pub value: T,
}

/// A value with references in it.
#[derive(Debug, Clone)]
pub struct Given {
    pub place: Place,
    pub value: Argument,
    /// The texts in it, each by itself.
    pub leaves: Vec<Spot<Argument>>,
}

#[derive(Debug, Clone)]
pub struct Field {
    pub place: Place,
    pub of: Type,
    pub required: bool,
    pub default: Option<Value>,
}

/// A key of the state.
#[derive(Debug, Clone)]
pub struct Key {
    pub place: Place,
    pub reducer: Reducer,
    /// Of the whole value; of each item when the reducer appends.
    pub of: Type,
    pub default: Option<Value>,
}

#[derive(Debug, Clone)]
pub struct Node {
    /// Where its name stands.
    pub place: Place,
    pub kind: Kind,
    /// The key of the state that takes what it comes to.
    pub into: Option<At<String>>,
    pub policy: Policy,
}

/// How hard a node is tried, and what its failure means.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Of one attempt. Only what has other nodes inside may go without.
    pub timeout: Option<Duration>,
    pub attempts: u32,
    pub backoff: Duration,
    pub backoff_max: Duration,
    pub cache: Option<At<Duration>>,
    pub on_error: OnError,
}

#[derive(Debug, Clone)]
pub enum OnError {
    /// The run fails.
    Fail,
    /// Nothing is written, and the run goes on.
    Skip,
    /// This is written in its place.
    Use(At<Value>),
    /// Another node is next, and no edge of this one is followed.
    Goto(At<String>),
}

#[derive(Debug, Clone)]
pub enum Kind {
    Prompt(Prompt),
    Agent(Agent),
    Tool(Tool),
    Http(Http),
    Map(Box<Map>),
    Human(Human),
    Graph(Graph),
    /// Assigns keys, each by an expression.
    Set(Vec<(At<String>, Spot<Expression>)>),
}

impl Kind {
    pub const NAMES: [&'static str; 8] =
        ["prompt", "agent", "tool", "http", "map", "human", "graph", "set"];

    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prompt(_) => "prompt",
            Self::Agent(_) => "agent",
            Self::Tool(_) => "tool",
            Self::Http(_) => "http",
            Self::Map(_) => "map",
            Self::Human(_) => "human",
            Self::Graph(_) => "graph",
            Self::Set(_) => "set",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Prompt {
    pub model: Option<At<String>>,
    pub system: Option<Spot<Template>>,
    pub prompt: Spot<Template>,
    pub temperature: Option<f64>,
    pub tokens_max: Option<u64>,
    pub schema: Option<At<Schema>>,
}

#[derive(Debug, Clone)]
pub struct Agent {
    pub agent: At<String>,
    pub input: Given,
}

#[derive(Debug, Clone)]
pub struct Tool {
    pub tool: At<String>,
    pub arguments: Given,
}

#[derive(Debug, Clone)]
pub struct Http {
    pub method: String,
    pub url: Given,
    pub headers: Vec<(At<String>, Header)>,
    pub body: Option<Given>,
    /// Statuses that are no failure; without it those that begin with 2.
    pub expect: Vec<u16>,
    /// The other side recognises a repetition.
    pub idempotent: bool,
    pub bytes_max: usize,
}

#[derive(Debug, Clone)]
pub enum Header {
    Text(Given),
    /// Read by whoever sends it: it is neither in the definition nor in the state.
    Secret(Secret),
}

impl Header {
    pub(crate) fn text(&self) -> Option<&Given> {
        match self {
            Self::Text(given) => Some(given),
            Self::Secret(_) => None,
        }
    }
}

/// A secret by its name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Secret {
    /// `env:NAME` or `file:PATH`.
    pub name: String,
    /// What stands before it, as in `Bearer `.
    pub prefix: String,
}

/// A list, one inner node for each item.
#[derive(Debug, Clone)]
pub struct Map {
    pub over: Spot<Expression>,
    /// What the inner node calls the item.
    pub item: String,
    pub node: Node,
    pub concurrency: usize,
    pub items_max: usize,
}

#[derive(Debug, Clone)]
pub struct Human {
    pub question: Spot<Template>,
    pub options: Vec<String>,
    /// Keys of the state that a person sees beside the question.
    pub show: Vec<At<String>>,
    pub schema: Option<At<Schema>>,
    pub deadline: Option<At<Duration>>,
    /// Who is asked when nobody has answered by then, one after the other.
    pub escalate: Vec<Escalation>,
    pub on_timeout: Option<At<Value>>,
}

#[derive(Debug, Clone)]
pub struct Escalation {
    pub to: String,
    /// How long that one has.
    pub within: Duration,
}

#[derive(Debug, Clone)]
pub struct Graph {
    pub graph: At<String>,
    pub input: Option<Given>,
}

#[derive(Debug, Clone)]
pub struct Edge {
    pub place: Place,
    /// Several are waited for.
    pub from: Vec<At<String>>,
    /// Several run side by side.
    pub to: Vec<At<String>>,
    pub when: When,
}

#[derive(Debug, Clone)]
pub enum When {
    Always,
    /// Of a node's conditions the first that holds counts.
    Holds(Spot<Expression>),
    /// None of the node's conditions holds.
    Otherwise,
}
