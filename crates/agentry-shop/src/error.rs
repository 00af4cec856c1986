//! What can go wrong around the shop.

use std::path::PathBuf;

use agentry_core::{Code, Failure, Fault, Retry};

use crate::Service;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a shop process takes one argument, the path of its launch file; got {got}")]
    Arguments { got: usize },
    #[error("{action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} is not what a shop process reads: {source}", path.display())]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error("cannot listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("cannot start {}: {source}; is it the right program?", program.display())]
    Spawn { program: PathBuf, source: std::io::Error },
    #[error("{service} did not get ready: {reason}")]
    NotReady { service: Service, reason: String },
    #[error("{service} is not running any more; restart it first")]
    Gone { service: Service },
    #[error(
        "{service} cannot be broken: it is the load generator; choose a service that is called"
    )]
    NotAVictim { service: Service },
    #[error("{service} has no earlier revision to go back to")]
    NothingToRollBack { service: Service },
    #[error(
        "`{url}` is no address for webhooks; give one such as http://127.0.0.1:7171/v1/alerts/alertmanager"
    )]
    Webhook { url: String },
}

impl Error {
    pub(crate) fn file(
        action: &'static str,
        path: &std::path::Path,
        source: std::io::Error,
    ) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }
}

impl Failure for Error {
    fn code(&self) -> Code {
        Code(match self {
            Self::Arguments { .. } => "shop_arguments",
            Self::File { .. } => "shop_file",
            Self::Malformed { .. } => "shop_malformed",
            Self::Listen { .. } => "shop_listen",
            Self::Spawn { .. } => "shop_spawn",
            Self::NotReady { .. } => "shop_not_ready",
            Self::Gone { .. } => "shop_gone",
            Self::NotAVictim { .. } => "shop_not_a_victim",
            Self::NothingToRollBack { .. } => "shop_nothing_to_roll_back",
            Self::Webhook { .. } => "shop_webhook",
        })
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Arguments { .. }
            | Self::Spawn { .. }
            | Self::NotAVictim { .. }
            | Self::NothingToRollBack { .. }
            | Self::Webhook { .. } => Fault::Caller,
            Self::File { .. }
            | Self::Malformed { .. }
            | Self::Listen { .. }
            | Self::NotReady { .. }
            | Self::Gone { .. } => Fault::Ours,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Listen { .. } | Self::NotReady { .. } => Retry::Now,
            Self::Arguments { .. }
            | Self::File { .. }
            | Self::Malformed { .. }
            | Self::Spawn { .. }
            | Self::Gone { .. }
            | Self::NotAVictim { .. }
            | Self::NothingToRollBack { .. }
            | Self::Webhook { .. } => Retry::Never,
        }
    }
}
