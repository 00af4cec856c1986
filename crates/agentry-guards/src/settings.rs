//! What the operator asks for.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;

/// What is done about a finding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is not looked for.
    #[default]
    Off,
    /// It passes and is reported.
    Report,
    /// Its label stands in its place: `[EMAIL]`.
    Redact,
    /// Its label and a keyed digest: `[EMAIL:ab12cd34]`. The same value has the same digest.
    Hash,
    /// The call is refused.
    Block,
}

impl Action {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Report => "report",
            Self::Redact => "redact",
            Self::Hash => "hash",
            Self::Block => "block",
        }
    }

    /// Whether the text does not pass as it is.
    pub(crate) fn acts(self) -> bool {
        matches!(self, Self::Redact | Self::Hash | Self::Block)
    }
}

/// The table `[guards]`. The default asks for nothing.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// For the personal data that is looked for by default: see [`crate::Kind::is_default`].
    pub pii: Action,
    pub secrets: Action,
    /// Regular expressions of what may not pass.
    pub deny: Vec<String>,
    /// What a match of `deny` leads to; `Off` counts as `Block`.
    pub deny_action: Action,
    /// Single kinds of personal data by name; each overrides `pii`.
    pub types: BTreeMap<String, Action>,
    /// Off, report or block: an instruction cannot be redacted.
    pub injection: Action,
    /// The most text that the messages of a request may have together.
    pub bytes_max: Option<usize>,
    pub messages_max: Option<usize>,
    /// What [`Action::Hash`] needs.
    pub hash_key: Option<SecretString>,
}

/// What is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key in the table: `deny[1]`, `types.email`.
    pub key: String,
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}
