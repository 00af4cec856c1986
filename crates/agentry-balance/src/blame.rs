//! What a failure says about the target that was asked.

use std::time::Duration;

use agentry_core::model::{ModelError, Waiting};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// It broke: a 5xx, a refused or cut connection, an answer that nobody can read.
    Target {
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It said nothing in time. Counts against it, and it is not asked again by this call.
    Silent,
    /// It works, and has enough to do: 429, 529.
    Throttled { retry_after: Option<Duration> },
    /// It does not take our key, or the account behind it has no credit: 401, 402, 403.
    Credentials,
    /// It does not know the model: 404. Others may.
    NoModel,
    /// The request is more than this model can read. A different model may.
    ContextLength,
    /// This model will not answer that. A different model may.
    ContentPolicy,
    /// The request is wrong, whoever is asked: 400, 413, 422. Or the fault is our own.
    Caller,
}

impl Blame {
    /// Whom a model's error blames.
    #[must_use]
    pub fn of(error: &ModelError) -> Self {
        match error {
            ModelError::Invalid { upstream_code, .. } => {
                upstream_code.as_deref().map_or(Self::Caller, Self::of_code)
            }
            ModelError::UnknownModel { .. } => Self::NoModel,
            ModelError::Unauthorized { .. } | ModelError::QuotaExhausted { .. } => {
                Self::Credentials
            }
            ModelError::RateLimited { after, .. } => Self::Throttled { retry_after: *after },
            ModelError::Unavailable { after, .. } => Self::Target { retry_after: *after },
            ModelError::TimedOut { waiting, .. } => match waiting {
                Waiting::FirstEvent => Self::Silent,
                Waiting::Connect | Waiting::NextEvent | Waiting::End => {
                    Self::Target { retry_after: None }
                }
            },
            ModelError::BrokeOff { .. } | ModelError::Truncated | ModelError::Malformed { .. } => {
                Self::Target { retry_after: None }
            }
            ModelError::Internal { .. } => Self::Caller,
        }
    }

    /// The codes under which the vendors refuse what another model may accept.
    fn of_code(code: &str) -> Self {
        match code {
            "context_length_exceeded" | "string_above_max_length" | "request_too_large" => {
                Self::ContextLength
            }
            "content_filter"
            | "content_policy_violation"
            | "ResponsibleAIPolicyViolation"
            | "responsible_ai_policy_violation" => Self::ContentPolicy,
            _ => Self::Caller,
        }
    }

    /// Whether it is held against the target's health.
    #[must_use]
    pub const fn counts(self) -> bool {
        match self {
            Self::Target { .. } | Self::Silent => true,
            Self::Throttled { .. }
            | Self::Credentials
            | Self::NoModel
            | Self::ContextLength
            | Self::ContentPolicy
            | Self::Caller => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: ModelError, expected: Blame, counts: bool) {
        assert_eq!(Blame::of(&error), expected);
        assert_eq!(expected.counts(), counts);
    }

    fn invalid(code: Option<&str>) -> ModelError {
        ModelError::Invalid {
            message: String::new(),
            param: None,
            upstream_code: code.map(str::to_owned),
        }
    }

    #[test]
    fn only_what_the_target_did_wrong_counts_against_it() {
        let message = String::new;
        let second = Some(Duration::from_secs(1));
        let timed_out = |waiting| ModelError::TimedOut { waiting, after: Duration::ZERO };
        let broken = Blame::Target { retry_after: None };
        for (error, blame, counts) in [
            (invalid(None), Blame::Caller, false),
            (invalid(Some("invalid_value")), Blame::Caller, false),
            (invalid(Some("context_length_exceeded")), Blame::ContextLength, false),
            (invalid(Some("content_filter")), Blame::ContentPolicy, false),
            (
                ModelError::UnknownModel { model: message(), message: message() },
                Blame::NoModel,
                false,
            ),
            (ModelError::Unauthorized { message: message() }, Blame::Credentials, false),
            (ModelError::QuotaExhausted { message: message() }, Blame::Credentials, false),
            (
                ModelError::RateLimited { message: message(), after: second },
                Blame::Throttled { retry_after: second },
                false,
            ),
            (
                ModelError::Unavailable { message: message(), after: second },
                Blame::Target { retry_after: second },
                true,
            ),
            (timed_out(Waiting::FirstEvent), Blame::Silent, true),
            (timed_out(Waiting::Connect), broken, true),
            (timed_out(Waiting::NextEvent), broken, true),
            (timed_out(Waiting::End), broken, true),
            (ModelError::BrokeOff { message: message() }, broken, true),
            (ModelError::Truncated, broken, true),
            (ModelError::Malformed { reason: message() }, broken, true),
            (ModelError::Internal { reason: message() }, Blame::Caller, false),
        ] {
            check(error, blame, counts);
        }
    }
}
