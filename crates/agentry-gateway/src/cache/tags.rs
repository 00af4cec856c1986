//! Under what an answer can be invalidated.

use std::fmt;
use std::sync::Arc;

/// A name under which answers are forgotten together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag<'a> {
    Tenant(&'a str),
    /// Of all tenants: an operator changed the model behind it.
    Alias(&'a str),
    /// A caller's own word. Two tenants' words never meet.
    User {
        tenant: &'a str,
        tag: &'a str,
    },
}

impl fmt::Display for Tag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => write!(f, "tenant:{tenant}"),
            Self::Alias(alias) => write!(f, "alias:{alias}"),
            // The length keeps `a` + `b:c` and `a:b` + `c` apart.
            Self::User { tenant, tag } => write!(f, "user:{}:{tenant}:{tag}", tenant.len()),
        }
    }
}

/// All tags of one answer. A clone costs nothing: make them once per tenant and alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags(Arc<[Box<str>]>);

impl Tags {
    pub fn new<'a>(tags: impl IntoIterator<Item = Tag<'a>>) -> Self {
        Self(tags.into_iter().map(|tag| tag.to_string().into()).collect())
    }

    #[must_use]
    pub fn contains(&self, tag: &str) -> bool {
        self.0.iter().any(|one| **one == *tag)
    }

    pub(super) fn written(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    pub(super) fn read(tags: Vec<String>) -> Self {
        Self(tags.into_iter().map(String::into_boxed_str).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tags_are_written_alike() {
        let tags = [
            Tag::Tenant("a"),
            Tag::Alias("a"),
            Tag::User { tenant: "a", tag: "b:c" },
            Tag::User { tenant: "a:b", tag: "c" },
            Tag::User { tenant: "a", tag: "a" },
        ];
        for (at, tag) in tags.iter().enumerate() {
            let others = Tags::new(
                tags.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, tag)| *tag),
            );
            assert!(!others.contains(&tag.to_string()), "{tag}");
            assert!(Tags::new([*tag]).contains(&tag.to_string()));
        }
    }
}
