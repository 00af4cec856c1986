//! The only place that writes to stdout and stderr: data to the one, words for people to the other.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use tokio::io::AsyncBufReadExt as _;

/// How this process talks, as the command line and the environment want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terminal {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    color: bool,
}

impl Terminal {
    /// `no_color` is whether `NO_COLOR` is set to anything.
    pub(crate) fn new(json: bool, quiet: bool, no_color: bool) -> Self {
        Self { json, quiet, color: !no_color && io::stderr().is_terminal() }
    }

    /// Whether stderr shows colors.
    pub(crate) fn color(self) -> bool {
        self.color
    }

    /// Whether a person sits at both ends.
    pub(crate) fn is_interactive(self) -> bool {
        !self.json && !self.quiet && io::stderr().is_terminal() && io::stdin().is_terminal()
    }

    /// Puts a question and waits for a line; an empty one when there is nobody.
    pub(crate) async fn ask(self, question: &str) -> String {
        let _ = write!(io::stderr().lock(), "{question}");
        let mut line = String::new();
        let mut input = tokio::io::BufReader::new(tokio::io::stdin());
        // A closed or unreadable input is nobody's answer.
        let _ = input.read_line(&mut line).await;
        line
    }

    /// One line of data.
    pub(crate) fn data(self, line: impl Display) {
        // Whoever read this has gone; there is nobody to tell.
        let _ = writeln!(io::stdout().lock(), "{line}");
        let _ = io::stdout().flush();
    }

    /// A piece of what somebody else has said, which more will follow on the same line: harmless on a terminal, as it is
    /// elsewhere.
    pub(crate) fn piece(self, text: &str) {
        let mut stdout = io::stdout().lock();
        let _ = match stdout.is_terminal() {
            true => write!(stdout, "{}", harmless(text)),
            false => write!(stdout, "{text}"),
        };
        let _ = stdout.flush();
    }

    /// One JSON object on a line of its own.
    pub(crate) fn object(self, object: &impl Serialize) {
        if let Ok(line) = serde_json::to_string(object) {
            self.data(line);
        }
    }

    /// Something nice to know.
    pub(crate) fn note(self, line: impl Display) {
        if !self.quiet {
            self.say(line);
        }
    }

    /// What went wrong, and what to do about it.
    pub(crate) fn error(self, line: impl Display) {
        let (on, off) = if self.color { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        self.say(format_args!("{on}error:{off} {line}"));
    }

    fn say(self, line: impl Display) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// Text from elsewhere, without what moves cursors, changes colours or hides: lines stay lines.
pub(crate) fn harmless(text: &str) -> String {
    let hides = |letter: char| matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let stays = |letter: &char| *letter == '\n' || !(letter.is_control() || hides(*letter));
    text.chars().map(|letter| if letter == '\t' { ' ' } else { letter }).filter(stays).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_cannot_play_with_the_terminal() {
        let check = |text: &str, expected: &str| assert_eq!(harmless(text), expected, "{text:?}");
        check("two\nlines, ünïcödé 雨", "two\nlines, ünïcödé 雨");
        check("\u{1b}[2J\u{1b}]0;title\u{7}x\r\ty", "[2J]0;titlex y");
        check("a\u{202e}b\u{200b}c\u{9b}d", "abcd");
    }
}
