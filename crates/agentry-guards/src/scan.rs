//! One pass over a text, and what is made of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::fold::{Depth, Folded};
use crate::hay::Hay;
use crate::policy::Policy;
use crate::recognise::{self, Candidate, live};
use crate::{Action, Kind, deny, injection, secret};

/// Something that was found, and where: a range of bytes of the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub kind: Kind,
    /// Which rule found it: a vendor's name, the place of a pattern in the settings. Never the text itself.
    pub rule: Cow<'static, str>,
    pub range: Range<usize>,
    /// From 0.5, as good as a guess with context, to 1, proven by a check digit.
    pub score: f32,
    pub action: Action,
}

/// A text as it may pass on.
#[derive(Debug, Clone, PartialEq)]
pub struct Cleaned<'a> {
    pub text: Cow<'a, str>,
    /// With ranges of the original.
    pub findings: Vec<Finding>,
}

/// Everything that begins at or after `from`, unresolved, in the offsets of `text`.
pub(crate) struct Pass {
    pub(crate) candidates: Vec<Candidate>,
    /// The earliest place from which on more text could change something.
    pub(crate) live: usize,
}

/// How long a match may be in the making before what has come of it is let go.
pub(crate) const UNPROVEN: usize = 512;

/// Reads a text for everything but injection. `from` is where what came before as context ends.
pub(crate) fn pass(policy: &Policy, text: &str, from: usize, ends: End) -> Pass {
    let mut candidates = Vec::new();
    let folded = Folded::new(text, Depth::Form);
    let hay = Hay(folded.text.as_bytes());
    // What begins earlier has passed; only where offsets are the same is it known where that is.
    let begin = match folded.text {
        Cow::Borrowed(_) => from.saturating_sub(recognise::LEFT),
        Cow::Owned(_) => 0,
    };
    recognise::find(hay, begin, policy.wanted, &mut candidates);
    let mut live = match ends {
        End::Here => hay.len(),
        End::Open => live::from(hay, policy.wanted),
    };
    if let Some(secrets) = &policy.secrets {
        let begun = secrets.find(hay, begin, &mut candidates);
        if ends == End::Open {
            live = live.min(begun);
        }
    }
    if ends == End::Open {
        let unripe = |candidate: &&Candidate| candidate.end + live::SLACK > hay.len();
        live = candidates.iter().filter(unripe).map(|one| one.start).fold(live, usize::min);
    }
    let mut live = folded.original(live);
    if let Cow::Owned(_) = folded.text {
        for candidate in &mut candidates {
            let range = folded.original_range(candidate.start..candidate.end, text);
            (candidate.start, candidate.end) = (range.start, range.end);
        }
    }
    if !policy.deny.is_empty() {
        policy.deny.find(text, from, &mut candidates);
        if ends == End::Open {
            live = live.min(policy.deny.live(text, from, UNPROVEN));
        }
    }
    Pass { candidates, live }
}

/// Whether a text is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Here,
    Open,
}

/// Of candidates that overlap the one that acts, then the longest, then the one of the first kind; in order.
pub(crate) fn resolve(policy: &Policy, mut candidates: Vec<Candidate>) -> Vec<Finding> {
    candidates.sort_by_key(|one| (one.start, one.end));
    let mut findings = Vec::with_capacity(candidates.len());
    let mut rest = candidates.as_mut_slice();
    while let Some(first) = rest.first() {
        // Those that hang together; what lies in another bunch cannot matter to them.
        let mut end = first.end;
        let count = rest
            .iter()
            .take_while(|one| {
                let joins = one.start < end;
                end = if joins { end.max(one.end) } else { end };
                joins
            })
            .count()
            .max(1);
        let (bunch, others) = std::mem::take(&mut rest).split_at_mut(count);
        rest = others;
        settle(policy, bunch, &mut findings);
    }
    findings
}

fn settle(policy: &Policy, bunch: &mut [Candidate], findings: &mut Vec<Finding>) {
    let first = findings.len();
    bunch.sort_by_key(|one| {
        // A kind that is looked for only to keep another off its digits is off itself.
        let weak = policy.action(one.kind) == Action::Report;
        (weak, usize::MAX - (one.end - one.start), one.kind, one.start, one.rule)
    });
    // By their starts; they do not overlap, so that the last that begins before an end is the one to ask.
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    for one in bunch.iter() {
        let near = taken.range(..one.end).next_back();
        if near.is_some_and(|(_, end)| *end > one.start) {
            continue;
        }
        taken.insert(one.start, one.end);
        let action = policy.action(one.kind);
        if action != Action::Off {
            findings.push(finding(one, action));
        }
    }
    if let Some(new) = findings.get_mut(first..) {
        new.sort_by_key(|finding| finding.range.start);
    }
}

fn finding(candidate: &Candidate, action: Action) -> Finding {
    let Candidate { kind, rule, start, end, score } = *candidate;
    let rule = match kind {
        Kind::Secret => Cow::Borrowed(secret::name(rule)),
        Kind::Injection => Cow::Borrowed(injection::name(rule)),
        Kind::Deny => Cow::Owned(deny::name(rule)),
        _ => Cow::Borrowed(kind.name()),
    };
    Finding { kind, rule, range: start..end, score, action }
}

/// What is found in a whole text.
pub(crate) fn scan(policy: &Policy, text: &str) -> Vec<Finding> {
    let mut findings = scan_ours(policy, text);
    if let Some(injection) = &policy.injection {
        // It is never redacted, and so competes with nothing.
        let mut attempts = Vec::new();
        injection.find(text, &mut attempts);
        findings.extend(resolve(policy, attempts));
        findings.sort_by_key(|finding| finding.range.start);
    }
    findings
}

/// The same without attempts at injection.
fn scan_ours(policy: &Policy, text: &str) -> Vec<Finding> {
    let Pass { candidates, live: _ } = pass(policy, text, 0, End::Here);
    resolve(policy, candidates)
}

/// Writes `text[from..to]` with what must not pass replaced. The findings are in order and inside.
pub(crate) fn write(
    policy: &Policy,
    text: &str,
    stretch: Range<usize>,
    findings: &[Finding],
    out: &mut String,
) {
    let mut at = stretch.start;
    for finding in findings {
        if !matches!(finding.action, Action::Redact | Action::Hash) {
            continue;
        }
        let range = finding.range.clone();
        out.push_str(text.get(at..range.start).unwrap_or_default());
        policy.replace(finding.kind, text.get(range.clone()).unwrap_or_default(), out);
        at = range.end;
    }
    out.push_str(text.get(at..stretch.end).unwrap_or_default());
}

pub(crate) fn clean<'a>(policy: &Policy, text: &'a str) -> Cleaned<'a> {
    cleaned(policy, text, scan(policy, text))
}

/// For words that are no attempt at injection, whatever they are.
pub(crate) fn clean_ours<'a>(policy: &Policy, text: &'a str) -> Cleaned<'a> {
    cleaned(policy, text, scan_ours(policy, text))
}

fn cleaned<'a>(policy: &Policy, text: &'a str, findings: Vec<Finding>) -> Cleaned<'a> {
    let changes = |finding: &Finding| matches!(finding.action, Action::Redact | Action::Hash);
    if !findings.iter().any(changes) {
        return Cleaned { text: Cow::Borrowed(text), findings };
    }
    let mut out = String::with_capacity(text.len());
    write(policy, text, 0..text.len(), &findings, &mut out);
    Cleaned { text: Cow::Owned(out), findings }
}
