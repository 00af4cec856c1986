//! For a terminal, with or without colours.

use super::Report;
use super::outline::{Block, headline, outline};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Ansi,
}

const WIDTH_MIN: usize = 40;
const WIDTH_MAX: usize = 160;

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

#[must_use]
pub fn terminal(report: &Report, style: Style, width: usize) -> String {
    let width = width.clamp(WIDTH_MIN, WIDTH_MAX);
    let mut page = String::new();
    for line in wrap(&headline(report), width) {
        page.push_str(&style.paint("1;31", &line));
        page.push('\n');
    }
    for block in outline(report) {
        match block {
            Block::Heading(text) => {
                page.push('\n');
                page.push_str(&style.paint("1", &text.to_uppercase()));
                page.push('\n');
            }
            Block::Facts(facts) => {
                for (name, value) in facts {
                    push(&mut page, &style.paint("2", &format!("{name:<10}")), &value, (10, width));
                }
            }
            Block::Strong(text) => {
                for line in wrap(&text, width) {
                    page.push_str(&style.paint("1;33", &line));
                    page.push('\n');
                }
            }
            Block::Text(text) => push(&mut page, "", &text, (0, width)),
            Block::Bullets(items) => {
                for item in items {
                    push(&mut page, "  · ", &item, (4, width));
                }
            }
            Block::Command(text) => push(&mut page, "  ", &style.paint("1;36", &text), (2, width)),
        }
    }
    page
}

fn push(page: &mut String, first: &str, text: &str, (indent, width): (usize, usize)) {
    for (at, line) in wrap(text, width.saturating_sub(indent)).into_iter().enumerate() {
        if at == 0 {
            page.push_str(first);
        } else {
            page.push_str(&" ".repeat(indent));
        }
        page.push_str(&line);
        page.push('\n');
    }
}

/// Breaks at spaces; a word longer than a line stands alone.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut length) = (String::new(), 0);
    for word in text.split_whitespace() {
        let word_length = word.chars().count();
        if length > 0 && length + 1 + word_length > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        line.push_str(word);
        length += word_length;
    }
    lines.push(line);
    lines
}
