//! As a Slack message of Block Kit blocks.

use serde_json::{Value, json};

use super::Report;
use super::outline::{Block, headline, outline};
use super::text::clean;

const HEADER_MAX: usize = 150;
const SECTION_MAX: usize = 3_000;
const BLOCKS_MAX: usize = 50;

/// `approve` tells how to approve what is proposed: a command or an address.
#[must_use]
pub fn slack(report: &Report, approve: Option<&str>) -> Value {
    let headline = headline(report);
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": clean(&headline, HEADER_MAX), "emoji": false},
    })];
    let mut section = Section::default();
    for block in outline(report) {
        match block {
            Block::Heading(heading) => {
                section.close(&mut blocks);
                section.line(&format!("*{heading}*"), &mut blocks);
            }
            Block::Facts(facts) => {
                for (name, value) in facts {
                    section.line(&format!("*{name}:* {}", escape(&value)), &mut blocks);
                }
            }
            Block::Strong(line) => {
                section.line(&format!("*{}*", escape(&line.replace('*', "∗"))), &mut blocks);
            }
            Block::Text(line) => section.line(&escape(&line), &mut blocks),
            Block::Bullets(items) => {
                for item in items {
                    section.line(&format!("• {}", escape(&item)), &mut blocks);
                }
            }
            Block::Command(line) => {
                section.line(&format!("`{}`", escape(&line.replace('`', "'"))), &mut blocks);
            }
        }
    }
    section.close(&mut blocks);
    blocks.truncate(BLOCKS_MAX - 1);
    if let Some(approve) = approve.filter(|_| !report.proposals.is_empty()) {
        let text = format!("To approve or reject: {}", escape(&clean(approve, 500)));
        blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}));
    }
    json!({"text": clean(&escape(&headline), HEADER_MAX), "blocks": blocks})
}

/// The report again, because of something that stands above it.
#[must_use]
pub fn slack_update(report: &Report, lead: &str) -> Value {
    let mut message = slack(report, None);
    let text = escape(&clean(lead, HEADER_MAX * 2));
    if let Some(blocks) = message.get_mut("blocks").and_then(Value::as_array_mut) {
        let section =
            json!({"type": "section", "text": {"type": "mrkdwn", "text": format!("*{text}*")}});
        blocks.insert(blocks.len().min(1), section);
    }
    if let Some(summary) = message.get_mut("text") {
        *summary = text.into();
    }
    message
}

#[derive(Default)]
struct Section {
    text: String,
    length: usize,
}

impl Section {
    fn line(&mut self, line: &str, blocks: &mut Vec<Value>) {
        let length = line.chars().count() + 1;
        if self.length + length > SECTION_MAX {
            self.close(blocks);
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(line);
        self.length += length;
    }

    fn close(&mut self, blocks: &mut Vec<Value>) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            blocks.push(json!({"type": "section", "text": {"type": "mrkdwn", "text": text}}));
        }
        self.length = 0;
    }
}

/// What Slack reads as markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
