//! Logs: templates that are new, more frequent or gone, and complaints about another service.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agentry_core::Timestamp;
use agentry_core::telemetry::{Level, LogLine, Window};

use super::graph::Graph;
use super::templates::{Miner, TemplateId};
use super::words::Unit;
use super::{ASIDE_MAX, Finding, Handle, Hypothesis, Modality, Origin, STRENGTH_MAX, Split};

/// A template must become this many times more frequent to be an alarm, as a power of two.
const ALARM_DOUBLINGS: f64 = 3.0;
const LINES_MIN: usize = 3;
const PLACES_MAX: usize = 5;
const TEXT_MAX: usize = 160;
/// Rows for one service: the strongest are enough.
const ROWS_MAX: usize = 6;

/// All lines, each with its template.
pub(crate) struct Mined<'a> {
    pub(crate) lines: Vec<(&'a LogLine, TemplateId)>,
    pub(crate) miner: Miner,
}

impl<'a> Mined<'a> {
    pub(crate) fn of(lines: &'a [LogLine]) -> Self {
        let mut miner = Miner::default();
        let mut sorted: Vec<&LogLine> = lines.iter().collect();
        if !sorted.is_sorted_by_key(|line| line.at) {
            sorted.sort_by_key(|line| line.at);
        }
        let lines = sorted.into_iter().map(|line| (line, miner.learn(&line.message))).collect();
        Self { lines, miner }
    }

    pub(crate) fn find(
        &self,
        split: &Split,
        graph: &Graph<'_>,
        services: &BTreeSet<&str>,
    ) -> Vec<Finding> {
        // Often there are logs for a part of the time only.
        let split = &self.covered(split);
        let mut counts: HashMap<(&str, TemplateId), Counted<'_>> = HashMap::new();
        for (line, template) in &self.lines {
            counts.entry((line.service.as_str(), *template)).or_default().add(line, split);
        }
        let mut findings: BTreeMap<&str, Vec<Finding>> = BTreeMap::new();
        let mut blamed: BTreeMap<&str, Blame<'_>> = BTreeMap::new();
        let mut ordered: Vec<_> = counts.into_iter().collect();
        ordered.sort_by_key(|(key, _)| *key);
        for ((service, template), counted) in ordered {
            let Some(strength) = counted.strength(split) else { continue };
            let peers = counted.peers(service, graph, services);
            if peers.is_empty() {
                findings.entry(service).or_default().push(counted.finding(
                    service,
                    &self.text(template),
                    strength,
                ));
            }
            for peer in peers {
                blamed.entry(peer).or_default().add(
                    service,
                    &counted,
                    strength,
                    self.text(template),
                );
            }
        }
        let mut rows: Vec<Finding> =
            blamed.into_iter().map(|(peer, blame)| blame.finding(peer)).collect();
        for (_, mut found) in findings {
            found.sort_by(|a, b| b.strength.total_cmp(&a.strength));
            found.truncate(ROWS_MAX);
            rows.append(&mut found);
        }
        rows
    }

    fn covered(&self, split: &Split) -> Split {
        let first = self.lines.first().map_or(split.normal.start, |(line, _)| line.at);
        let start = first.max(split.normal.start).min(split.normal.end);
        Split { normal: Window { start, end: split.normal.end }, abnormal: split.abnormal }
    }

    fn text(&self, template: TemplateId) -> String {
        short(&self.miner.text(template))
    }
}

/// Enough of an untrusted text to recognise it.
fn short(text: &str) -> String {
    let mut short: String =
        text.chars().filter(|letter| !letter.is_control()).take(TEXT_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// One template of one service.
#[derive(Default)]
struct Counted<'a> {
    before: usize,
    after: usize,
    level: Option<Level>,
    first: Option<Timestamp>,
    examples: Vec<&'a LogLine>,
}

impl<'a> Counted<'a> {
    fn add(&mut self, line: &'a LogLine, split: &Split) {
        if split.normal.contains(line.at) {
            self.before += 1;
        } else if split.abnormal.contains(line.at) {
            self.after += 1;
            self.level = self.level.max(Some(line.level));
            self.first = self.first.or(Some(line.at));
            if self.examples.len() < PLACES_MAX {
                self.examples.push(line);
            }
        }
    }

    /// How much more often it is written, over the alarm; nothing when it is not worth a row.
    fn strength(&self, split: &Split) -> Option<f64> {
        if self.after < LINES_MIN {
            return None;
        }
        let after = (self.after as f64 + 0.5) / split.abnormal_seconds();
        let before = (self.before as f64 + 0.5) / split.normal_seconds();
        let strength = (after / before).log2() / ALARM_DOUBLINGS;
        (strength >= 0.5).then(|| strength.min(STRENGTH_MAX))
    }

    /// Whom a message complains about: services it names, unless they are its callers.
    fn peers(
        &self,
        service: &str,
        graph: &Graph<'_>,
        services: &BTreeSet<&'a str>,
    ) -> BTreeSet<&'a str> {
        let Some(line) = self.examples.first() else { return BTreeSet::new() };
        if line.level < Level::Warn && !complains(&line.message) {
            return BTreeSet::new();
        }
        self.examples
            .iter()
            .flat_map(|line| {
                line.message.split(|letter: char| {
                    !(letter.is_alphanumeric() || letter == '-' || letter == '_')
                })
            })
            .filter_map(|word| services.get(word).copied())
            .filter(|peer| {
                *peer != service && (graph.calls(service, peer) || !graph.calls(peer, service))
            })
            .collect()
    }

    fn finding(&self, service: &str, text: &str, strength: f64) -> Finding {
        let (hypothesis, origin, strength) = match self.level {
            Some(Level::Error) => (Hypothesis::Failing, Origin::Passed, strength),
            Some(Level::Warn) => (Hypothesis::Failing, Origin::Passed, strength * 0.6),
            Some(Level::Info | Level::Debug) | None => {
                (Hypothesis::Unclear, Origin::Aside, strength.min(ASIDE_MAX))
            }
        };
        let news = match self.before {
            0 => "new".to_owned(),
            before => format!("{before} before"),
        };
        Finding {
            service: service.to_owned(),
            hypothesis,
            origin,
            modality: Modality::Log,
            strength,
            summary: format!("{} lines “{text}” ({news})", Unit::Count.write(self.after as f64)),
            handle: self.handle(text.to_owned()),
            since: self.first,
        }
    }

    fn handle(&self, template: String) -> Handle {
        Handle::Lines {
            template,
            places: self.examples.iter().map(|line| line.handle.clone()).collect(),
        }
    }
}

fn complains(message: &str) -> bool {
    const WORDS: [&str; 9] = [
        "timeout",
        "timed out",
        "fail",
        "refused",
        "unreachable",
        "unavailable",
        "reset",
        "error",
        "deadline",
    ];
    let lower = message.to_ascii_lowercase();
    WORDS.iter().any(|word| lower.contains(word))
}

/// What others write about a service.
#[derive(Default)]
struct Blame<'a> {
    from: BTreeSet<&'a str>,
    lines: usize,
    strength: f64,
    text: String,
    places: Vec<String>,
    since: Option<Timestamp>,
}

impl<'a> Blame<'a> {
    fn add(&mut self, service: &'a str, counted: &Counted<'_>, strength: f64, text: String) {
        self.from.insert(service);
        self.lines += counted.after;
        if strength > self.strength {
            self.strength = strength;
            self.text = text;
            self.places = counted.examples.iter().map(|line| line.handle.clone()).collect();
        }
        self.since = match (self.since, counted.first) {
            (Some(known), Some(first)) => Some(known.min(first)),
            (known, first) => known.or(first),
        };
    }

    fn finding(self, peer: &str) -> Finding {
        let from: Vec<&str> = self.from.into_iter().collect();
        Finding {
            service: peer.to_owned(),
            hypothesis: Hypothesis::Failing,
            origin: Origin::Passed,
            modality: Modality::Log,
            strength: self.strength,
            summary: format!(
                "{} complaints by {}, such as “{}”",
                self.lines,
                from.join(", "),
                self.text
            ),
            handle: Handle::Lines { template: self.text, places: self.places },
            since: self.since,
        }
    }
}
