//! What a report says, in which order; how it looks is the renderers' business.

use super::text::{clean, clock, moment};
use super::{Report, Status};
use crate::diagnose::{Evidence, ModelNote, Suspect, Verdict};
use crate::evidence::Handle;
use crate::evidence::words::seconds;

const SENTENCE_MAX: usize = 300;
const NOTE_MAX: usize = 1_200;
const NAMES_MAX: usize = 6;
const CLAIMS_MAX: usize = 4;
const ROWS_MAX: usize = 12;
const OTHERS_MAX: usize = 4;
const CLEARED_MAX: usize = 6;

pub(super) enum Block {
    Heading(&'static str),
    Facts(Vec<(&'static str, String)>),
    Strong(String),
    Text(String),
    Bullets(Vec<String>),
    /// What will run, word for word.
    Command(String),
}

pub(super) fn outline(report: &Report) -> Vec<Block> {
    let mut blocks = vec![Block::Facts(facts(report))];
    cause(report, &mut blocks);
    to_do(report, &mut blocks);
    done(report, &mut blocks);
    evidence(report, &mut blocks);
    doubts(report, &mut blocks);
    blocks
}

pub(super) fn headline(report: &Report) -> String {
    clean(&format!("{}: {}", report.incident, report.title), SENTENCE_MAX)
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let late = seconds(report.detected.since(report.since).as_secs_f64());
    let firings: u64 = report.alerts.iter().map(|alert| alert.count).sum();
    let alerts = report
        .alerts
        .iter()
        .map(|alert| format!("{} on {} ×{}", alert.name, alert.service, alert.count));
    vec![
        ("Severity", format!("{}, {}", clean(&report.severity, 40), report.status.words())),
        ("Since", format!("{}, noticed {late} later", moment(report.since))),
        ("Services", names(report.services.iter().cloned())),
        ("Alerts", format!("{firings}: {}", names(alerts))),
    ]
}

fn names(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.map(|name| clean(&name, 60)).collect();
    let more = all.len().saturating_sub(NAMES_MAX);
    let mut text = all.into_iter().take(NAMES_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn cause(report: &Report, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading("Probable cause"));
    let sentence = clean(&report.probable_cause(), SENTENCE_MAX);
    let Some(first) = report.diagnosis.suspects.first() else {
        blocks.push(Block::Strong(sentence));
        return;
    };
    match report.diagnosis.verdict {
        Verdict::Named { .. } => {
            blocks.push(Block::Strong(format!("{sentence} ({} % sure)", first.confidence / 10)));
        }
        Verdict::Unknown { .. } => blocks.push(Block::Strong(sentence)),
    }
    blocks.push(Block::Bullets(claims(first)));
    let others: Vec<String> = report
        .diagnosis
        .suspects
        .iter()
        .skip(1)
        .take(OTHERS_MAX)
        .map(|suspect| clean(&format!("{} {}", suspect.service, suspect.hypothesis.words()), 100))
        .collect();
    if !others.is_empty() {
        blocks.push(Block::Text(format!("Less likely: {}", others.join("; "))));
    }
    match &report.diagnosis.note {
        Some(ModelNote::Accepted { explanation, citations }) => blocks.push(Block::Text(format!(
            "A model adds: {} [{}]",
            clean(explanation, NOTE_MAX),
            citations.iter().map(|id| clean(id, 12)).collect::<Vec<_>>().join(" ")
        ))),
        Some(ModelNote::SetAside { reason }) => {
            blocks.push(Block::Text(format!(
                "A model was asked and set aside: {}",
                clean(reason, SENTENCE_MAX)
            )));
        }
        None => {}
    }
}

fn claims(suspect: &Suspect) -> Vec<String> {
    suspect
        .claims
        .iter()
        .take(CLAIMS_MAX)
        .map(|claim| format!("{} [{}]", clean(&claim.text, SENTENCE_MAX), claim.evidence.join(" ")))
        .collect()
}

fn to_do(report: &Report, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading("What to do"));
    for proposal in &report.proposals {
        blocks.push(Block::Command(clean(&proposal.order.preview, SENTENCE_MAX)));
        blocks.push(Block::Bullets(vec![
            format!("why: {}", clean(&proposal.reason, SENTENCE_MAX)),
            format!("touches: {}", clean(&proposal.blast_radius, SENTENCE_MAX)),
            format!("to undo: {}", clean(&proposal.back_out, SENTENCE_MAX)),
            proposal.tier.words().to_owned(),
        ]));
    }
    let checks: Vec<String> =
        report.checks.iter().map(|check| clean(check, SENTENCE_MAX)).collect();
    if !checks.is_empty() {
        blocks.push(Block::Bullets(checks));
    }
}

fn done(report: &Report, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading("What was done"));
    if report.timeline.is_empty() {
        let waits = report.status == Status::WaitingForApproval;
        blocks.push(Block::Text(
            if waits { "nothing yet: it waits for approval" } else { "nothing yet" }.to_owned(),
        ));
        return;
    }
    let line = |entry: &super::Entry| {
        format!(
            "{} {}: {}",
            clock(entry.at),
            clean(&entry.actor, 60),
            clean(&entry.what, SENTENCE_MAX)
        )
    };
    blocks.push(Block::Bullets(report.timeline.iter().map(line).collect()));
}

fn evidence(report: &Report, blocks: &mut Vec<Block>) {
    let rows = &report.diagnosis.evidence;
    if rows.is_empty() {
        return;
    }
    blocks.push(Block::Heading("Evidence"));
    let mut lines: Vec<String> = rows.iter().take(ROWS_MAX).map(row).collect();
    if rows.len() > ROWS_MAX {
        lines.push(format!("and {} more rows", rows.len() - ROWS_MAX));
    }
    blocks.push(Block::Bullets(lines));
}

fn row(row: &Evidence) -> String {
    let place = match &row.handle {
        Handle::Series { selector, window: _ } => selector.clone(),
        Handle::Lines { template: _, places } => places.first().cloned().unwrap_or_default(),
        Handle::Traces { ids } => ids.first().map(|id| format!("trace {id}")).unwrap_or_default(),
        Handle::Change { id } => id.clone(),
    };
    format!(
        "{} {}: {} ({})",
        row.id,
        clean(&row.service, 60),
        clean(&row.summary, SENTENCE_MAX),
        clean(&place, 160)
    )
}

fn doubts(report: &Report, blocks: &mut Vec<Block>) {
    let cleared: Vec<String> = report
        .diagnosis
        .cleared
        .iter()
        .take(CLEARED_MAX)
        .map(|cleared| {
            format!("{}: {}", clean(&cleared.what, SENTENCE_MAX), clean(&cleared.why, SENTENCE_MAX))
        })
        .collect();
    if !cleared.is_empty() {
        blocks.push(Block::Heading("Cleared"));
        blocks.push(Block::Bullets(cleared));
    }
    let gaps: Vec<String> =
        report.diagnosis.gaps.iter().map(|gap| clean(gap, SENTENCE_MAX)).collect();
    if !gaps.is_empty() {
        blocks.push(Block::Heading("Not seen"));
        blocks.push(Block::Bullets(gaps));
    }
}
