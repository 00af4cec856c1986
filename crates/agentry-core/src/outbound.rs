//! Ports for what leaves the building: tickets, messages, and actions on the system.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Code, Failure, Fault, Retry};

/// What the other side called the thing we made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// `OPS-17`, a message timestamp, a file name.
    pub id: String,
    /// Where a person can look at it.
    pub link: String,
}

/// One action of the typed catalogue, with its parameters already checked against the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The catalogue's name for it: `restart`, `rollback`, …
    pub action: String,
    pub service: String,
    pub parameters: Value,
    /// Exactly what will run, for the person who approves it.
    pub preview: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{target} refused it: {reason}")]
    Refused { target: String, reason: String },
    #[error("{target} cannot be reached: {reason}")]
    Unavailable { target: String, reason: String },
    /// The request went out and no answer came back: it may or may not have happened.
    #[error("{target} did not answer, so it may or may not have happened: {reason}")]
    Ambiguous { target: String, reason: String },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Refused { .. } => Code("outbound_refused"),
            Self::Unavailable { .. } => Code("outbound_unavailable"),
            Self::Ambiguous { .. } => Code("outbound_ambiguous"),
        }
    }

    fn fault(&self) -> Fault {
        Fault::Upstream
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Refused { .. } => Retry::Never,
            Self::Unavailable { .. } | Self::Ambiguous { .. } => Retry::Now,
        }
    }
}

/// Opens tickets. The same `key` never makes a second ticket.
#[async_trait]
pub trait Tickets: Send + Sync {
    async fn open(&self, key: &str, body: &Value) -> Result<Receipt, Error>;
}

/// Posts messages. The same `key` is posted once by a sink that can tell; others may repeat it after a crash.
#[async_trait]
pub trait Messages: Send + Sync {
    async fn post(&self, key: &str, body: &Value) -> Result<Receipt, Error>;
}

/// Carries out approved orders. The caller never repeats a call whose outcome is unknown.
#[async_trait]
pub trait Actuator: Send + Sync {
    async fn perform(&self, key: &str, order: &Order) -> Result<Receipt, Error>;
}
