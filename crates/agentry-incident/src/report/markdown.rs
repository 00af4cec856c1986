//! As Markdown.

use super::Report;
use super::outline::{Block, headline, outline};

#[must_use]
pub fn markdown(report: &Report) -> String {
    let mut page = format!("# {}\n", escape(&headline(report)));
    for block in outline(report) {
        page.push('\n');
        match block {
            Block::Heading(text) => page.push_str(&format!("## {text}\n")),
            Block::Facts(facts) => {
                for (name, value) in facts {
                    page.push_str(&format!("- **{name}:** {}\n", escape(&value)));
                }
            }
            Block::Strong(text) => page.push_str(&format!("**{}**\n", escape(&text))),
            Block::Text(text) => page.push_str(&format!("{}\n", escape(&text))),
            Block::Bullets(items) => {
                for item in items {
                    page.push_str(&format!("- {}\n", escape(&item)));
                }
            }
            Block::Command(text) => page.push_str(&format!("    {text}\n")),
        }
    }
    page
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '~' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            _ => escaped.push(letter),
        }
    }
    escaped
}
