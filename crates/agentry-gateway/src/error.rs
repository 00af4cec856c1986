//! Why a call was not answered.

use std::time::Duration;

use agentry_balance::Shed;
use agentry_core::chat::Invalid;
use agentry_core::model::ModelError;
use agentry_core::{Code, Failure, Fault, Retry};
use agentry_guards::Blocked;

use crate::limit::Limited;
use crate::money::{Full, Refused};

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("there is no model `{model}`; {}", choice(known))]
    UnknownModel { model: String, known: Vec<String> },
    #[error("{0}")]
    Invalid(Invalid),
    /// No target answered; this is what the last one said.
    #[error("{target}: {error}")]
    Model { target: String, attempts: u32, error: ModelError },
    #[error("all targets of `{model}` are left alone for now: try again in {} s", after.as_secs())]
    NobodyOpen { model: String, after: Duration },
    #[error(transparent)]
    Limited(Limited),
    #[error(transparent)]
    Budget(Refused),
    #[error(
        "what `{model}` costs is not known, so no budget can admit it: set `price` in [models.{model}]"
    )]
    Unpriced { model: String },
    #[error(
        "nothing bounds how long `{model}` writes, so no budget can admit it: send `max_tokens`"
    )]
    Unbounded { model: String },
    #[error(transparent)]
    Books(Full),
    #[error(transparent)]
    Shed(Shed),
    #[error(transparent)]
    Blocked(Blocked),
    #[error("the answer is shared with others, and was read too slowly: send the request again")]
    Behind,
    #[error("the time for the call was over before it was answered")]
    TooLate,
    #[error("the gateway is at fault: {reason}")]
    Internal { reason: &'static str },
}

/// What may be asked for instead.
fn choice(known: &[String]) -> String {
    match known {
        [] => "there is none at all: configure one as [models.NAME], or a provider by its usual variable such as OPENAI_API_KEY".to_owned(),
        known => format!("there are: {}", known.join(", ")),
    }
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::UnknownModel { .. } => Code("model_not_found"),
            Self::Invalid(_) => Code("parameter_invalid"),
            Self::Model { error, .. } => error.code(),
            Self::NobodyOpen { .. } => Code("model_unavailable"),
            Self::Limited(limited) => limited.code(),
            Self::Budget(refused) => refused.code(),
            Self::Unpriced { .. } => Code("model_price_unknown"),
            Self::Unbounded { .. } => Code("model_output_unbounded"),
            Self::Behind => Code("reader_too_slow"),
            Self::TooLate => Code("model_timed_out"),
            Self::Books(full) => full.code(),
            Self::Shed(_) => Code("overloaded"),
            Self::Blocked(blocked) => blocked.code(),
            Self::Internal { .. } => Code("model_internal"),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::UnknownModel { .. }
            | Self::Invalid(_)
            | Self::Unbounded { .. }
            | Self::Behind => Fault::Caller,
            // The caller named an alias, and we named the model behind it.
            Self::Model { error: ModelError::UnknownModel { .. }, .. } => Fault::Ours,
            Self::Model { error, .. } => error.fault(),
            Self::NobodyOpen { .. } | Self::TooLate => Fault::Upstream,
            Self::Limited(limited) => limited.fault(),
            Self::Budget(refused) => refused.fault(),
            Self::Books(full) => full.fault(),
            Self::Blocked(blocked) => blocked.fault(),
            Self::Shed(_) | Self::Unpriced { .. } | Self::Internal { .. } => Fault::Ours,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::UnknownModel { .. }
            | Self::Invalid(_)
            | Self::Unpriced { .. }
            | Self::Unbounded { .. }
            | Self::Internal { .. } => Retry::Never,
            Self::Behind | Self::TooLate => Retry::Now,
            Self::Model { error, .. } => error.retry(),
            Self::NobodyOpen { after, .. } => Retry::After(*after),
            Self::Limited(limited) => limited.retry(),
            Self::Budget(refused) => refused.retry(),
            Self::Books(full) => full.retry(),
            Self::Shed(shed) => Retry::After(shed.retry_after),
            Self::Blocked(blocked) => blocked.retry(),
        }
    }
}

impl From<Error> for ModelError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let after = match error.retry() {
            Retry::After(after) => Some(after),
            Retry::Now | Retry::Never => None,
        };
        match error {
            Error::UnknownModel { model, known } => {
                Self::UnknownModel { model, message: choice(&known) }
            }
            Error::Model { error, .. } => error,
            Error::Invalid(Invalid { param, .. }) => {
                Self::Invalid { message, param: Some(param), upstream_code: None }
            }
            Error::Blocked(blocked) => Self::Invalid {
                message,
                param: Some(blocked.place().to_owned()),
                upstream_code: Some(blocked.code().0.to_owned()),
            },
            Error::Limited(_) => Self::RateLimited { message, after },
            Error::Budget(Refused::Exceeded(_)) => Self::QuotaExhausted { message },
            Error::NobodyOpen { .. } | Error::Budget(_) | Error::Books(_) | Error::Shed(_) => {
                Self::Unavailable { message, after }
            }
            Error::Unbounded { .. } => {
                Self::Invalid { message, param: Some("max_tokens".to_owned()), upstream_code: None }
            }
            Error::Behind => Self::BrokeOff { message },
            Error::TooLate => Self::Unavailable { message, after },
            Error::Unpriced { .. } => Self::Internal { reason: message },
            Error::Internal { reason } => Self::Internal { reason: reason.to_owned() },
        }
    }
}
