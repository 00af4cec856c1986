//! Attempts to give a model other instructions, by their wording: a tripwire, not a wall.
//!
//! The text is read as it looks ([`crate::fold`]), with any white space as one space.

use aho_corasick::AhoCorasick;
use regex::Regex;

use crate::Kind;
use crate::fold::{Depth, Folded};
use crate::recognise::Candidate;

mod rules;

use rules::{RULES, STEMS};

pub(crate) struct Injection {
    stems: AhoCorasick,
    rules: Vec<Regex>,
}

/// How far from a stem a rule may reach, in bytes.
const BEFORE: usize = 96;
const AFTER: usize = 304;
/// Stems that are nearer than this to the last share its window, so that a text full of them costs no more than another.
const STRIDE: usize = 64;

impl Injection {
    /// `None` when a rule cannot be compiled, which a test rules out.
    pub(crate) fn new() -> Option<Self> {
        let stems = AhoCorasick::new(STEMS).ok()?;
        let rules =
            RULES.iter().map(|rule| Regex::new(rule.pattern).ok()).collect::<Option<_>>()?;
        Some(Self { stems, rules })
    }

    pub(crate) fn find(&self, text: &str, found: &mut Vec<Candidate>) {
        let folded = Folded::new(text, Depth::Looks);
        let mut done = 0;
        for hit in self.stems.find_iter(folded.text.as_ref()) {
            if hit.start() < done {
                continue;
            }
            done = hit.start() + STRIDE;
            let (from, to) = window(&folded.text, hit.start());
            let Some(window) = folded.text.get(from..to) else { continue };
            for (rule, number) in self.rules.iter().zip(0..) {
                let Some(place) = rule.find(window) else { continue };
                if is_quoted(window, place.start()) {
                    continue;
                }
                let range = from + place.start()..from + place.end();
                done = done.max(range.end);
                let range = folded.original_range(range, text);
                let (start, end) = (range.start, range.end);
                let score = RULES.get(usize::from(number)).map_or(0.5, |rule| rule.score);
                found.push(Candidate { kind: Kind::Injection, rule: number, start, end, score });
                break;
            }
        }
    }
}

fn window(text: &str, at: usize) -> (usize, usize) {
    let from = crate::fold::floor(text, at.saturating_sub(BEFORE));
    (from, crate::fold::floor(text, at + AFTER))
}

/// The name of a rule in reports.
pub(crate) fn name(rule: u16) -> &'static str {
    RULES.get(usize::from(rule)).map_or("injection", |rule| rule.name)
}

/// Whether the words are talked about rather than said: in quotes, and introduced as a phrase.
fn is_quoted(window: &str, at: usize) -> bool {
    let before = window.get(..at).unwrap_or_default();
    let quoted = before.trim_end().ends_with(['"', '\'', '`']);
    const INTRODUCED: &[&str] = &[
        "phrase",
        "attack",
        "such as",
        "like",
        "example",
        "called",
        "pattern",
        "string",
        "words",
        "injection",
        "say",
        "says",
        "said",
        "contain",
        "detect",
        "mean",
        "phrases",
        "title",
        "prompts",
    ];
    quoted && INTRODUCED.iter().any(|word| before.contains(word))
}

impl std::fmt::Debug for Injection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Injection")
    }
}
