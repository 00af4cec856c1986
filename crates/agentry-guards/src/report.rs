//! What a screening came to.

use std::borrow::Cow;
use std::fmt;

use agentry_core::{Code, Failure, Fault, Retry};

use crate::scan::Finding;
use crate::{Action, Kind};

/// A finding without its text: what, where in the request or the answer, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub kind: Kind,
    pub rule: Cow<'static, str>,
    /// `messages[2].content`, `choices[0].message.tool_calls[1].arguments`.
    pub place: String,
    pub action: Action,
}

impl Found {
    /// Whether something else stands in its place now.
    pub(crate) fn changes(&self) -> bool {
        matches!(self.action, Action::Redact | Action::Hash)
    }
}

/// What was found in a call that passes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub found: Vec<Found>,
}

impl Report {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether the text is another than it was.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.found.iter().any(Found::changes)
    }

    /// Adds findings at a place, or refuses for those that block.
    pub(crate) fn add(
        &mut self,
        findings: Vec<Finding>,
        place: impl FnOnce() -> String,
    ) -> Result<(), Blocked> {
        if findings.is_empty() {
            return Ok(());
        }
        let place = place();
        let mut kinds: Vec<(Kind, Cow<'static, str>)> = Vec::new();
        for Finding { kind, rule, action, range: _, score: _ } in findings {
            let named = (kind, rule);
            if action == Action::Block && !kinds.contains(&named) {
                kinds.push(named.clone());
            }
            let (kind, rule) = named;
            self.found.push(Found { kind, rule, place: place.clone(), action });
        }
        if kinds.is_empty() { Ok(()) } else { Err(Blocked::Content { kinds, place }) }
    }
}

/// Why a call may not pass. It never holds what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    Content {
        kinds: Vec<(Kind, Cow<'static, str>)>,
        place: String,
    },
    /// The messages together are larger than may be.
    Size {
        bytes: usize,
        bytes_max: usize,
    },
    Messages {
        count: usize,
        count_max: usize,
    },
    /// Something that must be replaced goes on without end.
    Endless {
        place: String,
    },
}

impl Blocked {
    /// The parameter at fault, in the words of the request.
    #[must_use]
    pub fn place(&self) -> &str {
        match self {
            Self::Content { place, .. } | Self::Endless { place } => place,
            Self::Size { .. } | Self::Messages { .. } => "messages",
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content { kinds, place } => {
                write!(f, "{place} contains what may not pass here: ")?;
                for (at, (kind, rule)) in kinds.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    match kind.name() == rule.as_ref() {
                        true => write!(f, "{comma}{kind}")?,
                        false => write!(f, "{comma}{kind} ({rule})")?,
                    }
                }
                f.write_str("; take it out and try again")
            }
            Self::Size { bytes, bytes_max } => {
                write!(
                    f,
                    "the messages have {bytes} bytes of text and may have {bytes_max}; send less"
                )
            }
            Self::Messages { count, count_max } => {
                write!(f, "there are {count} messages and may be {count_max}; leave out older ones")
            }
            Self::Endless { place } => {
                write!(
                    f,
                    "{place} has something to be replaced that does not end; ask for less at once"
                )
            }
        }
    }
}

impl std::error::Error for Blocked {}

impl Failure for Blocked {
    fn code(&self) -> Code {
        match self {
            Self::Content { .. } | Self::Endless { .. } => Code("guard_blocked"),
            Self::Size { .. } | Self::Messages { .. } => Code("guard_too_large"),
        }
    }

    fn fault(&self) -> Fault {
        Fault::Caller
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}
