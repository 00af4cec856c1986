use std::time::Duration;

use super::*;
use crate::catalogue::{self, Inventory, ServiceEntry};
use crate::diagnose::ModelNote;

fn sample() -> Report {
    let mut diagnosis: Diagnosis =
        serde_json::from_str(include_str!("../diagnose/tests/diagnosis_v1.json")).unwrap();
    diagnosis.gaps.push("logs: the log store cannot be reached".to_owned());
    let entry = ServiceEntry {
        revisions: vec!["r41".to_owned(), "r42".to_owned()],
        callers: vec!["order".to_owned(), "catalog".to_owned()],
        ..ServiceEntry::default()
    };
    let inventory = Inventory { services: [("stock".to_owned(), entry)].into() };
    let since = diagnosis.onset;
    let at = |seconds| since.plus(Duration::from_secs(seconds));
    let entry = |seconds, actor: &str, what: &str| Entry {
        at: at(seconds),
        actor: actor.to_owned(),
        what: what.to_owned(),
    };
    Report {
        incident: "inc-7".to_owned(),
        title: "web answers with errors".to_owned(),
        severity: "critical".to_owned(),
        status: Status::Mitigated,
        since,
        detected: at(4),
        services: vec!["web".to_owned(), "stock".to_owned()],
        alerts: vec![
            AlertCount { name: "HighErrorRate".to_owned(), service: "web".to_owned(), count: 9 },
            AlertCount { name: "HighErrorRate".to_owned(), service: "stock".to_owned(), count: 3 },
        ],
        proposals: catalogue::propose(&diagnosis, &inventory),
        checks: catalogue::checks(&diagnosis),
        timeline: vec![
            entry(5, "agentry", "opened ticket OPS-17"),
            entry(41, "maria", "approved: roll back stock from r42 to r41"),
            entry(43, "agentry", "rolled back stock from r42 to r41"),
        ],
        diagnosis,
    }
}

/// What somebody could have smuggled into a log line.
const HOSTILE: &str = "\u{1b}[2J<!channel> <script>*x*</script> [a](http://evil) `rm -rf /` \u{202e}\r\n{\"a\":1} & @here | # x";

fn hostile() -> Report {
    let mut report = sample();
    report.title = HOSTILE.repeat(20);
    report.incident = "inc 8".to_owned();
    report.services = vec![HOSTILE.to_owned(); 30];
    for row in &mut report.diagnosis.evidence {
        row.summary = HOSTILE.repeat(200);
    }
    let row = report.diagnosis.evidence[0].clone();
    report.diagnosis.evidence.extend(std::iter::repeat_n(row, 200));
    report.diagnosis.suspects[0].claims[0].text = HOSTILE.repeat(200);
    report.timeline = vec![report.timeline[0].clone(); 500];
    report.timeline[0].what = HOSTILE.repeat(50);
    report.diagnosis.note = Some(ModelNote::Accepted {
        explanation: HOSTILE.repeat(100),
        citations: vec!["t1".to_owned()],
    });
    report
}

#[test]
fn the_terminal_shows_it_at_a_glance() {
    insta::assert_snapshot!("terminal", terminal(&sample(), Style::Plain, 100));
    insta::assert_snapshot!(
        "terminal_narrow_ansi",
        terminal(&sample(), Style::Ansi, 60).replace('\u{1b}', "ESC")
    );
}

#[test]
fn the_ticket_is_a_jira_issue() {
    insta::assert_snapshot!("jira", serde_json::to_string_pretty(&jira(&sample(), "OPS")).unwrap());
}

#[test]
fn the_message_is_made_of_slack_blocks() {
    let message = slack(&sample(), Some("agentry approvals approve a1"));
    insta::assert_snapshot!("slack", serde_json::to_string_pretty(&message).unwrap());
}

#[test]
fn markdown_reads_the_same() {
    insta::assert_snapshot!("markdown", markdown(&sample()));
}

#[test]
fn nobody_named_is_said_plainly() {
    let mut report = sample();
    report.diagnosis.suspects.clear();
    report.diagnosis.evidence.clear();
    report.diagnosis.verdict =
        Verdict::Unknown { reason: "I don't know: nothing clears the bar".to_owned() };
    report.diagnosis.note =
        Some(ModelNote::SetAside { reason: "it took longer than 20 s".to_owned() });
    report.proposals.clear();
    report.checks = catalogue::checks(&report.diagnosis);
    report.timeline.clear();
    insta::assert_snapshot!("unknown", terminal(&report, Style::Plain, 100));
}

#[test]
fn hostile_text_cannot_leave_its_place() {
    let report = hostile();
    let page = terminal(&report, Style::Plain, 100);
    assert!(page.chars().all(|letter| letter == '\n' || !letter.is_control()), "{page}");
    assert!(!page.contains('\u{202e}'));

    let text = markdown(&report);
    assert!(
        !text.contains('<') && !text.replace("\\]", "").contains("](") && !text.contains('\u{1b}')
    );

    let issue = jira(&report, "OPS");
    assert!(issue["fields"]["summary"].as_str().unwrap().chars().count() <= 255);
    assert_eq!(issue["fields"]["labels"][1], "agentry-inc-8");
    assert!(!issue.to_string().contains("\\u001b"));

    let message = slack(&report, Some("x"));
    let blocks = message["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50, "{}", blocks.len());
    assert!(blocks[0]["text"]["text"].as_str().unwrap().chars().count() <= 150);
    for block in &blocks[1..] {
        let text = block["text"]["text"]
            .as_str()
            .or_else(|| block["elements"][0]["text"].as_str())
            .unwrap();
        assert!(text.chars().count() <= 3_000);
        assert!(!text.contains('<') && !text.contains('\u{1b}'), "{text}");
    }
}

#[test]
fn a_report_survives_its_json() {
    let report = sample();
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
}
