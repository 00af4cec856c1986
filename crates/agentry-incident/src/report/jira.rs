//! As the body of a Jira v3 "create issue" call.

use serde_json::{Value, json};

use super::Report;
use super::outline::{Block, headline, outline};
use super::text::clean;

const SUMMARY_MAX: usize = 255;

#[must_use]
pub fn jira(report: &Report, project: &str) -> Value {
    let mut content = Vec::new();
    for block in outline(report) {
        content.push(match block {
            Block::Heading(heading) => {
                json!({"type": "heading", "attrs": {"level": 3}, "content": [text(heading)]})
            }
            Block::Facts(facts) => list(
                facts
                    .into_iter()
                    .map(|(name, value)| vec![strong(&format!("{name}: ")), text(&value)]),
            ),
            Block::Strong(line) => json!({"type": "paragraph", "content": [strong(&line)]}),
            Block::Text(line) => json!({"type": "paragraph", "content": [text(&line)]}),
            Block::Bullets(items) => list(items.into_iter().map(|item| vec![text(&item)])),
            Block::Command(line) => json!({"type": "codeBlock", "content": [text(&line)]}),
        });
    }
    json!({
        "fields": {
            "project": {"key": clean(project, 80)},
            "issuetype": {"name": "Bug"},
            "summary": clean(&headline(report), SUMMARY_MAX),
            "description": {"type": "doc", "version": 1, "content": content},
            "labels": labels(report),
            "priority": {"name": priority(&report.severity)},
        }
    })
}

/// Jira refuses an empty text node.
fn text(text: &str) -> Value {
    json!({"type": "text", "text": if text.is_empty() { " " } else { text }})
}

fn strong(line: &str) -> Value {
    let line = if line.is_empty() { " " } else { line };
    json!({"type": "text", "text": line, "marks": [{"type": "strong"}]})
}

fn list(items: impl Iterator<Item = Vec<Value>>) -> Value {
    let items: Vec<Value> = items
        .map(|content| json!({"type": "listItem", "content": [{"type": "paragraph", "content": content}]}))
        .collect();
    json!({"type": "bulletList", "content": items})
}

/// Jira's labels have no spaces.
fn labels(report: &Report) -> Vec<String> {
    let label = |text: &str| {
        let text: String = clean(text, 200)
            .chars()
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect();
        format!("agentry-{text}")
    };
    vec!["agentry".to_owned(), label(&report.incident)]
}

fn priority(severity: &str) -> &'static str {
    match severity.to_ascii_lowercase().as_str() {
        "emergency" | "critical" | "page" | "fatal" => "Highest",
        "error" | "high" | "major" => "High",
        "info" | "low" | "minor" | "none" => "Low",
        _ => "Medium",
    }
}
