//! Keys and passwords: the shapes that vendors give theirs, and assignments of what looks random.

use aho_corasick::{AhoCorasick, Input, MatchKind};

use crate::Kind;
use crate::automaton::Automaton;
use crate::hay::{Hay, is_word};
use crate::recognise::Candidate;

mod entropy;
mod rules;

use rules::{Check, RULES};

/// All rules, compiled.
pub(crate) struct Secrets {
    keywords: AhoCorasick,
    /// The rule that each keyword belongs to.
    owners: Vec<u16>,
    automata: Vec<Automaton>,
}

impl Secrets {
    /// `None` when a rule cannot be compiled, which a test rules out.
    pub(crate) fn new() -> Option<Self> {
        let mut keywords = Vec::new();
        let mut owners = Vec::new();
        let mut automata = Vec::with_capacity(RULES.len());
        for (rule, at) in RULES.iter().zip(0..) {
            automata.push(Automaton::bytes(rule.pattern)?);
            for keyword in rule.keywords {
                keywords.push(*keyword);
                owners.push(at);
            }
        }
        let keywords = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(keywords)
            .ok()?;
        Some(Self { keywords, owners, automata })
    }

    /// Adds what has its keyword at or after `from`, and returns the earliest place where something may still come of what
    /// has begun.
    pub(crate) fn find(&self, hay: Hay<'_>, from: usize, found: &mut Vec<Candidate>) -> usize {
        let mut live = hay.len();
        // The same assignment is not read again from each keyword in its name.
        let mut assigned = 0;
        for hit in self.keywords.find_overlapping_iter(Input::new(hay.0).span(from..hay.len())) {
            let owner = self.owners.get(hit.pattern().as_usize()).copied().unwrap_or_default();
            let at = usize::from(owner);
            let (Some(rule), Some(automaton)) = (RULES.get(at), self.automata.get(at)) else {
                continue;
            };
            let is_assignment = rule.check == Check::Assigned;
            if is_assignment && hit.start() < assigned
                || !is_assignment && !begins(hay, hit.start())
            {
                continue;
            }
            let run = automaton.run(hay.0, hit.start());
            if run.is_live {
                live = live.min(hit.start());
            }
            let Some(end) = run.end else { continue };
            if is_assignment {
                assigned = end;
            }
            if let Some((start, end)) = rule.check.passes(hay, hit.start(), end) {
                found.push(Candidate { kind: Kind::Secret, rule: owner, start, end, score: 0.9 });
            }
        }
        live
    }
}

/// The name of a rule in reports.
pub(crate) fn name(rule: u16) -> &'static str {
    RULES.get(usize::from(rule)).map_or("secret", |rule| rule.name)
}

/// A key does not begin inside a word; a sign before it, as in `?key=`, is none of it.
fn begins(hay: Hay<'_>, start: usize) -> bool {
    !is_word(hay.before(start)) || !is_word(hay.at(start))
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

#[cfg(test)]
mod tests;
