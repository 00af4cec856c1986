//! Why a call came to nothing, and whether the other side may have seen it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use agentry_core::{Code, Failure, Fault, Retry};

/// What a call was waiting for when its time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Connect,
    /// The head of the response.
    Head,
    /// The next chunk of the body.
    Idle,
    /// The call as a whole.
    Total,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "a connection",
            Self::Head => "the response to begin",
            Self::Idle => "more of the response",
            Self::Total => "the end of the response",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("`{url}` cannot be called: {reason}")]
    InvalidUrl { url: String, reason: &'static str },
    /// Name look-up, TCP or TLS.
    #[error("no connection: {reason}")]
    Connect { reason: String },
    #[error("waited {} ms for {phase}", after.as_millis())]
    TimedOut { phase: Phase, after: Duration },
    #[error("the response is longer than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("the connection broke: {reason}")]
    Broken { reason: String },
}

impl Error {
    /// Whether the other side may have carried out the request. When not, it is safe to send it again.
    #[must_use]
    pub fn may_have_been_processed(&self) -> bool {
        match self {
            Self::InvalidUrl { .. } | Self::Connect { .. } => false,
            Self::TimedOut { phase, .. } => *phase != Phase::Connect,
            Self::TooLarge { .. } | Self::Broken { .. } => true,
        }
    }
}

impl Failure for Error {
    fn code(&self) -> Code {
        Code(match self {
            Self::InvalidUrl { .. } => "http_url_invalid",
            Self::Connect { .. } => "http_connect",
            Self::TimedOut { .. } => "http_timed_out",
            Self::TooLarge { .. } => "http_too_large",
            Self::Broken { .. } => "http_broken",
        })
    }

    fn fault(&self) -> Fault {
        match self {
            Self::InvalidUrl { .. } => Fault::Caller,
            Self::Connect { .. }
            | Self::TimedOut { .. }
            | Self::TooLarge { .. }
            | Self::Broken { .. } => Fault::Upstream,
        }
    }

    /// For requests that may be carried out twice; for others see [`Error::may_have_been_processed`].
    fn retry(&self) -> Retry {
        match self {
            Self::InvalidUrl { .. } | Self::TooLarge { .. } => Retry::Never,
            Self::Connect { .. } | Self::TimedOut { .. } | Self::Broken { .. } => Retry::Now,
        }
    }
}

/// The innermost causes say what happened; the outer ones only repeat that something did.
pub(crate) fn reason(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in causes(error).skip(1) {
        let text = cause.to_string();
        if !parts.last().is_some_and(|last| last.contains(&text)) {
            parts.push(text);
        }
    }
    if parts.is_empty() { error.to_string() } else { parts.join(": ") }
}

pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        // An `io::Error` hides the error that it wraps behind that one's own source.
        Some(outer) => outer.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => error.source(),
    })
}
