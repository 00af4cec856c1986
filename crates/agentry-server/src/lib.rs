//! Every HTTP face of Agentry, and the door in front of them.
//!
//! [`serve`] accepts connections and guards them; [`router`] sends each request to a face: `openai` for
//! OpenAI's clients, `incidents` and `approvals` for alerts and people, `operate` for whoever runs it. Faces read input through [`Body`] and refuse it with a [`Refusal`].
//! It decides nothing about a model call and names no vendor and no database.

mod answering;
mod app;
mod approvals;
mod assistants;
mod batches;
mod body;
mod callers;
mod calls;
mod crons;
mod edge;
mod embeddings;
mod files;
mod headers;
mod idempotent;
mod identity;
mod incidents;
mod info;
mod listen;
mod metrics;
mod models;
mod operate;
mod parameters;
mod question;
mod recommend;
mod refusal;
mod reload;
mod router;
mod settings;
mod status;
mod store_items;
mod threads;
mod usage;

pub use app::{App, Dependency};
pub use approvals::Approvals;
pub use batches::{BatchCalls, BatchSettings, Batching};
pub use body::Body;
pub use callers::Callers;
pub use edge::RequestId;
pub use identity::Identity;
pub use incidents::IncidentDesk;
pub use listen::{Drained, serve};
pub use metrics::{Metrics, ThreadsNow};
pub use refusal::Refusal;
pub use reload::{NotReloaded, Reload, Reloaded};
pub use router::router;
pub use settings::{BodyLimits, Settings};
pub use threads::{Promise, Then, Threading, Webhooks, announcement, engine};
