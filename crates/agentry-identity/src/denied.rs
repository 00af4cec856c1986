//! Why a request is turned away.

use std::time::Duration;

use agentry_core::{Code, Failure, Fault, Retry};

use crate::Scopes;

/// None of these tells more than whoever presents the credential knows already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error(
        "no API key: send `authorization: Bearer KEY`, `x-api-key: KEY` or `api-key: KEY`; `agentry keys create` makes one"
    )]
    Missing,
    #[error("the API key or token is not accepted: {reason}")]
    Invalid { reason: &'static str },
    #[error("the API key or token has expired: get a new one")]
    Expired,
    #[error("the API key was revoked: get a new one")]
    Revoked,
    #[error("this key may not do that: it needs the scope {needs}")]
    Scope { needs: Scopes },
    #[error("this key may not use the model `{model}`")]
    Model { model: String },
    #[error("this key may not be used from this address")]
    Address,
    #[error("too many refused keys from this address: check the key, and wait a moment")]
    TooMany { after: Duration },
}

impl Failure for Denied {
    fn code(&self) -> Code {
        Code(match self {
            Self::Missing => "key_missing",
            Self::Invalid { .. } => "key_invalid",
            Self::Expired => "key_expired",
            Self::Revoked => "key_revoked",
            Self::Scope { .. } => "scope_missing",
            Self::Model { .. } => "model_forbidden",
            Self::Address => "address_forbidden",
            Self::TooMany { .. } => "key_attempts_exceeded",
        })
    }

    fn fault(&self) -> Fault {
        Fault::Caller
    }

    fn retry(&self) -> Retry {
        match self {
            Self::TooMany { after } => Retry::After(*after),
            Self::Missing
            | Self::Invalid { .. }
            | Self::Expired
            | Self::Revoked
            | Self::Scope { .. }
            | Self::Model { .. }
            | Self::Address => Retry::Never,
        }
    }
}
