//! Why a call was not answered.

use agentry_core::model::ModelError;
use agentry_core::{Code, Failure, Fault, Retry};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no model `{model}`; there are: {}", known.join(", "))]
    UnknownModel { model: String, known: Vec<String> },
    /// No target answered; this is what the last one said.
    #[error("{target}: {error}")]
    Model { target: String, attempts: u32, error: ModelError },
    #[error("the gateway is at fault: {reason}")]
    Internal { reason: &'static str },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::UnknownModel { .. } => Code("model_not_found"),
            Self::Model { error, .. } => error.code(),
            Self::Internal { .. } => Code("model_internal"),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::UnknownModel { .. } => Fault::Caller,
            // The caller named an alias, and we named the model behind it.
            Self::Model { error: ModelError::UnknownModel { .. }, .. } => Fault::Ours,
            Self::Model { error, .. } => error.fault(),
            Self::Internal { .. } => Fault::Ours,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::UnknownModel { .. } | Self::Internal { .. } => Retry::Never,
            Self::Model { error, .. } => error.retry(),
        }
    }
}

impl From<Error> for ModelError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::UnknownModel { model, .. } => Self::UnknownModel { model, message },
            Error::Model { error, .. } => error,
            Error::Internal { reason } => Self::Internal { reason: reason.to_owned() },
        }
    }
}
