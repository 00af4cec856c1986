//! Durable graphs: step, commit, perform, park, resume.
//!
//! A [`Graph`] is data. A [`Program`] is a graph with the functions that its nodes and routers name. A [`Machine`] decides
//! what happened to a thread and what to do next, without awaiting; the [`Worker`] claims threads, commits each decision and
//! performs it. This crate knows nothing of models, HTTP or databases.

pub mod cache;
pub mod context;
pub mod door;
pub mod durable;
pub mod effect;
pub mod graph;
pub mod local;
pub mod machine;
pub mod node;
pub mod observe;
pub mod program;
pub mod stream;
pub mod summary;
pub mod typed;
pub mod version;

mod ids;
mod lifeline;
mod plan;
pub mod reducer;
mod registry;
mod unkept;

pub use agentry_macros::State;
pub use door::{Around, Door};
pub use durable::{Handle, Settings, Worker};
pub use effect::Class;
pub use graph::{Condition, END, Graph, NodeSettings, Reducer, START};
pub use local::Local;
pub use machine::{Command, Machine, Request, Rests, Resume, Submission};
pub use node::{
    Ask, AtEnd, Escalation, Goto, Node, NodeContext, NodeError, NodeOutput, Put, Reply,
};
pub use program::{GraphBuilder, Program};
pub use registry::Registry;

/// What can go wrong between a caller and the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("graph `{name}` cannot run: {}", list(.problems))]
    Graph { name: String, problems: Vec<graph::Problem> },
    #[error("there is no graph named `{0}`; register it before runs are submitted to it")]
    UnknownGraph(String),
    #[error(
        "there is no version {version} of the graph `{graph}` here, which the thread runs on; register it"
    )]
    UnknownVersion { graph: String, version: String },
    #[error("the thread has not run on any graph yet; say which one it is for")]
    NoGraph,
    #[error("there is no thread {0}")]
    NoThread(agentry_core::ThreadId),
    #[error("the thread has no checkpoint {0}")]
    NoCheckpoint(agentry_core::CheckpointId),
    #[error("the thread {0} has something to do; wait for it, or cancel its run")]
    Busy(agentry_core::ThreadId),
    #[error(
        "{most} runs wait for their turn on the thread {0} already; wait for some of them, or use another thread",
        most = durable::handle::WAITING_MAX
    )]
    QueueFull(agentry_core::ThreadId),
    #[error("the answer to `{interrupt}` does not fit: {}", .complaints.join("; "))]
    Unfit { interrupt: String, complaints: Vec<String> },
    #[error("the thread {thread} cannot go on with the version of its graph that is here: {}", .why.join("; "))]
    Unmovable { thread: agentry_core::ThreadId, why: Vec<String> },
    #[error(transparent)]
    Refused(#[from] machine::Refused),
    #[error(transparent)]
    Load(#[from] machine::LoadError),
    #[error(transparent)]
    Store(#[from] agentry_core::store::Error),
}

impl agentry_core::Failure for Error {
    fn code(&self) -> agentry_core::Code {
        use agentry_core::Code;
        match self {
            Self::Graph { .. } => Code("graph_invalid"),
            Self::UnknownGraph(_) => Code("graph_unknown"),
            Self::UnknownVersion { .. } => Code("graph_version_unknown"),
            Self::NoGraph => Code("graph_unsaid"),
            Self::NoThread(_) => Code("thread_unknown"),
            Self::NoCheckpoint(_) => Code("checkpoint_unknown"),
            Self::Busy(_) => Code("thread_busy"),
            Self::QueueFull(_) => Code("thread_queue_full"),
            Self::Unfit { .. } => Code("answer_unfit"),
            Self::Unmovable { .. } => Code("thread_unmovable"),
            Self::Refused(refused) => refused.code(),
            Self::Load(_) => Code("thread_unreadable"),
            Self::Store(error) => error.code(),
        }
    }

    fn fault(&self) -> agentry_core::Fault {
        use agentry_core::Fault;
        match self {
            Self::Graph { .. }
            | Self::UnknownGraph(_)
            | Self::NoGraph
            | Self::NoThread(_)
            | Self::NoCheckpoint(_)
            | Self::Unfit { .. }
            | Self::Unmovable { .. }
            | Self::Busy(_)
            | Self::QueueFull(_) => Fault::Caller,
            Self::UnknownVersion { .. } | Self::Load(_) => Fault::Ours,
            Self::Refused(refused) => refused.fault(),
            Self::Store(error) => error.fault(),
        }
    }

    fn retry(&self) -> agentry_core::Retry {
        use agentry_core::Retry;
        match self {
            Self::Graph { .. }
            | Self::UnknownGraph(_)
            | Self::UnknownVersion { .. }
            | Self::NoGraph
            | Self::NoThread(_)
            | Self::NoCheckpoint(_)
            | Self::Unfit { .. }
            | Self::Unmovable { .. }
            | Self::Load(_) => Retry::Never,
            Self::Busy(_) => Retry::Now,
            Self::QueueFull(_) => Retry::After(std::time::Duration::from_secs(1)),
            Self::Refused(refused) => refused.retry(),
            Self::Store(error) => error.retry(),
        }
    }
}

fn list(problems: &[graph::Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The examples of the page are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/graphs-in-rust.md")]
struct GraphsInRust;

/// So are those of this one.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/versions.md")]
struct Versions;
