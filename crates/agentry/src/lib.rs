//! Agentry as a library: the crates that the `agentry` command is made of, under one name.
//!
//! ```
//! use agentry::engine::{END, Graph, NodeOutput, START, node::from_fn};
//!
//! let hello = from_fn(|_cx, _state| Box::pin(async { Ok(NodeOutput::done().set("greeting", "hello")) }));
//! let program = Graph::builder("hello")
//!     .channel("greeting", agentry::engine::Reducer::Last)
//!     .node("hello", hello)
//!     .edge(START, "hello")
//!     .edge("hello", END)
//!     .build()?;
//! assert_eq!(program.graph().name, "hello");
//! # Ok::<(), agentry::engine::Error>(())
//! ```

pub use agentry_agents as agents;
pub use agentry_backends as backends;
pub use agentry_core as core;
pub use agentry_engine as engine;
pub use agentry_gateway as gateway;
pub use agentry_graphs as graphs;
pub use agentry_http as http;
pub use agentry_identity as identity;
pub use agentry_incident as incident;
pub use agentry_llm as llm;
pub use agentry_server as server;
