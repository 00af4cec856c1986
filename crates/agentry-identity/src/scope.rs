//! What a caller may do, as words in keys and as bits on the way of a request.

use std::fmt;

/// One permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    LlmChat,
    LlmEmbed,
    AgentsRun,
    IncidentsRead,
    IncidentsWrite,
    ApprovalsDecide,
    MetricsRead,
    /// Keys, usage, audit and people's data of one's own tenant.
    Admin,
    /// The same for every tenant. No wildcard includes it.
    Operator,
}

impl Scope {
    pub const ALL: [Self; 9] = [
        Self::LlmChat,
        Self::LlmEmbed,
        Self::AgentsRun,
        Self::IncidentsRead,
        Self::IncidentsWrite,
        Self::ApprovalsDecide,
        Self::MetricsRead,
        Self::Admin,
        Self::Operator,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LlmChat => "llm:chat",
            Self::LlmEmbed => "llm:embed",
            Self::AgentsRun => "agents:run",
            Self::IncidentsRead => "incidents:read",
            Self::IncidentsWrite => "incidents:write",
            Self::ApprovalsDecide => "approvals:decide",
            Self::MetricsRead => "metrics:read",
            Self::Admin => "admin",
            Self::Operator => "operator",
        }
    }

    #[must_use]
    pub const fn alone(self) -> Scopes {
        Scopes(1 << self as u16)
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u16);

impl Scopes {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self((1 << Scope::ALL.len()) - 1);

    /// `llm:chat`, `llm:*`, `*`.
    pub fn parse(word: &str) -> Result<Self, UnknownScope> {
        let tenants = || Scope::ALL.into_iter().filter(|scope| *scope != Scope::Operator);
        let found = match word.strip_suffix('*') {
            Some("") => tenants().collect(),
            Some(group) if group.ends_with(':') => {
                tenants().filter(|scope| scope.as_str().starts_with(group)).collect()
            }
            Some(_) => Self::NONE,
            None => Scope::ALL.into_iter().filter(|scope| scope.as_str() == word).collect(),
        };
        if found == Self::NONE {
            return Err(UnknownScope(word.chars().take(40).collect()));
        }
        Ok(found)
    }

    /// Words of another version grant nothing.
    pub fn known<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> Self {
        words
            .into_iter()
            .filter_map(|word| Self::parse(word.as_ref()).ok())
            .fold(Self::NONE, Self::and)
    }

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both have.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.alone().0 != 0
    }

    /// Whether one of `wanted` is here.
    #[must_use]
    pub const fn has_any(self, wanted: Self) -> bool {
        self.0 & wanted.0 != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        scopes.into_iter().fold(Self::NONE, |all, scope| all.and(scope.alone()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.iter().enumerate() {
            let between = if at == 0 { "" } else { " or " };
            write!(f, "{between}{}", scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Scope::as_str)).finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no scope: there are {all} and wildcards such as llm:* and *",
    all = Scope::ALL.map(Scope::as_str).join(", ")
)]
pub struct UnknownScope(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_wildcards_grant_what_they_say() {
        for (words, granted) in [
            ("llm:chat", "llm:chat"),
            ("llm:*", "llm:chat or llm:embed"),
            ("llm:embed llm:*", "llm:chat or llm:embed"),
            ("incidents:* admin", "incidents:read or incidents:write or admin"),
            ("operator", "operator"),
            ("of:tomorrow", ""),
            ("", ""),
        ] {
            assert_eq!(Scopes::known(words.split(' ')).to_string(), granted, "{words}");
        }
        let all = Scopes::parse("*").unwrap();
        assert!(all.has(Scope::Admin) && !all.has(Scope::Operator));
        for wrong in
            ["llm", "llm:", "llm:c*", "ll*", "LLM:CHAT", "", ":*", "**", "chat", "operator:*"]
        {
            assert!(Scopes::parse(wrong).is_err(), "{wrong}");
        }
    }
}
