//! Durable graphs: step, commit, perform, park, resume.
//!
//! A [`Graph`] is data. A [`Program`] is a graph with the functions that its nodes and routers name. [`step`](step::step)
//! decides what happened to a run and what to do next, without awaiting; the [`Worker`] claims runs, commits each decision
//! and performs it. This crate knows nothing of models, HTTP or databases.

pub mod effect;
pub mod graph;
pub mod node;
pub mod program;
pub mod state;
pub mod step;
pub mod worker;

mod drive;
mod lifeline;
mod reducer;
mod route;

pub use effect::Class;
pub use graph::{Condition, END, Graph, NodeSettings, Reducer, START};
pub use node::{Ask, Node, NodeContext, NodeError, NodeOutput, Reply};
pub use program::{GraphBuilder, Program, Registry};
pub use worker::{Handle, Settings, Worker};

/// What can go wrong between a caller and the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("graph `{name}` cannot run: {}", list(.problems))]
    Graph { name: String, problems: Vec<graph::Problem> },
    #[error("there is no graph named `{0}`; register it before runs are submitted to it")]
    UnknownGraph(String),
    #[error(transparent)]
    Store(#[from] agentry_core::store::Error),
}

impl agentry_core::Failure for Error {
    fn code(&self) -> agentry_core::Code {
        match self {
            Self::Graph { .. } => agentry_core::Code("graph_invalid"),
            Self::UnknownGraph(_) => agentry_core::Code("graph_unknown"),
            Self::Store(error) => error.code(),
        }
    }

    fn fault(&self) -> agentry_core::Fault {
        match self {
            Self::Graph { .. } | Self::UnknownGraph(_) => agentry_core::Fault::Caller,
            Self::Store(error) => error.fault(),
        }
    }

    fn retry(&self) -> agentry_core::Retry {
        match self {
            Self::Graph { .. } | Self::UnknownGraph(_) => agentry_core::Retry::Never,
            Self::Store(error) => error.retry(),
        }
    }
}

fn list(problems: &[graph::Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
