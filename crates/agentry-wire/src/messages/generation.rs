//! What the name of one of Anthropic's models says about which parameters it still takes.

/// `(4, 5)` of `claude-sonnet-4-5-20250929`; nothing when the name does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(Option<(u32, u32)>);

impl Generation {
    pub(crate) fn of(model: &str) -> Self {
        let Some(name) = model.rfind("claude-").and_then(|at| model.get(at + "claude-".len()..))
        else {
            return Self(None);
        };
        // A date has more digits than a version.
        let version = |word: &str| (word.len() <= 2).then(|| word.parse::<u32>().ok()).flatten();
        let mut words = name.split(['-', '.', '@', ':', '_']).map(version);
        let Some(major) = words.by_ref().flatten().next() else { return Self(None) };
        Self(Some((major, words.next().flatten().unwrap_or(0))))
    }

    /// It decides by itself how much to think, and is told an effort instead of a budget.
    pub(crate) fn thinks_adaptively(self) -> bool {
        self.0.is_some_and(|version| version >= (4, 6))
    }

    /// It refuses `temperature`, `top_p` and `top_k`.
    pub(crate) fn refuses_sampling(self) -> bool {
        self.0.is_some_and(|version| version >= (4, 7))
    }

    /// It follows no schema but that of a tool.
    pub(crate) fn answers_by_tool(self) -> bool {
        self.0.is_some_and(|version| version < (4, 5) && version != (4, 1))
    }

    /// It knows an effort between `high` and `max`.
    pub(crate) fn knows_xhigh(self) -> bool {
        self.refuses_sampling()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_which_generation_they_are_of() {
        for (model, version) in [
            ("claude-sonnet-4-5-20250929", Some((4, 5))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("claude-3-7-sonnet-20250219", Some((3, 7))),
            ("claude-opus-5", Some((5, 0))),
            ("anthropic/claude-4.7-opus", Some((4, 7))),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", Some((4, 5))),
            ("us.anthropic.claude-opus-4-20250514-v1:0", Some((4, 0))),
            ("claude-mythos-preview", None),
            ("amazon.nova-micro-v1:0", None),
        ] {
            assert_eq!(Generation::of(model), Generation(version), "{model}");
        }
    }
}
