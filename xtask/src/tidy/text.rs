//! Rules that look at one file.

use super::{File, Finding};

const LINES_MAX: usize = 800;
const LINES_USUAL: usize = 500;

/// Spelled in halves, so that this file does not break its own rules.
const REMINDERS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
const MACHINE_PATHS: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];

pub(super) fn findings(file: &File) -> Vec<Finding> {
    let File { path, text } = file;
    let mut found = Vec::new();
    let mut add =
        |line: usize, text: String| found.push(Finding { path: path.clone(), line, text });

    if path.ends_with("/mod.rs") {
        add(0, "name it after its folder, beside it: foo.rs + foo/bar.rs".to_owned());
    }
    if path.ends_with("/src/lib.rs") && !text.starts_with("//!") {
        add(1, "starts without `//!` docs that say the crate's job".to_owned());
    }
    let lines = text.lines().count();
    if path.ends_with(".rs") && lines > LINES_MAX {
        add(
            0,
            format!("{lines} lines, at most {LINES_MAX}: find the second idea and give it a file"),
        );
    }
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(word) = REMINDERS.iter().find(|word| is_bare_reminder(line, word)) {
            add(number, format!("{word} without an issue: write {word}(#123)"));
        }
        if let Some(start) = MACHINE_PATHS.iter().find(|start| names_machine_path(line, start)) {
            add(number, format!("a path under {start} exists on one machine only"));
        }
    }
    found
}

/// A file that is legal and too long for comfort.
pub(super) fn warning(file: &File) -> Option<Finding> {
    let lines = file.text.lines().count();
    let long = file.path.ends_with(".rs") && (LINES_USUAL + 1..=LINES_MAX).contains(&lines);
    long.then(|| Finding {
        path: file.path.clone(),
        line: 0,
        text: format!("{lines} lines, {LINES_USUAL} are a smell"),
    })
}

fn is_bare_reminder(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let inside = |character: char| character.is_alphanumeric() || character == '_';
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let rest = line.get(at + word.len()..).unwrap_or_default();
        let whole = !before.is_some_and(inside) && !rest.chars().next().is_some_and(inside);
        let reference = rest.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
        let referenced = reference.is_some_and(|(issue, _)| {
            !issue.is_empty() && issue.bytes().all(|b| b.is_ascii_digit())
        });
        whole && !referenced
    })
}

/// At the start of a path: `x/home/y` is relative, and so is a URL's path.
fn names_machine_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before
            .is_some_and(|character| character.is_alphanumeric() || "./_-}~$".contains(character))
    })
}
