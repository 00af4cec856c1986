//! Every error code has its heading in `docs/errors.md`, and every heading its code.

use std::collections::BTreeMap;

use super::{File, Finding};

const PAGE: &str = "docs/errors.md";

/// Calls whose argument is a code: all the literals of a `Code`, which may choose with a `match`, and the first one of a
/// refusal, whose others are its message.
const CARRIERS: [(&str, Literals); 6] = [
    ("Code(", Literals::All),
    ("Refusal::new(", Literals::First),
    ("Refusal::bad_request(", Literals::First),
    ("Refusal::not_found(", Literals::First),
    ("bad(", Literals::First),
    ("conflict(", Literals::First),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Literals {
    All,
    First,
}

pub(super) fn findings(files: &[File]) -> Vec<Finding> {
    let mut codes: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for file in files.iter().filter(|file| is_product_source(&file.path)) {
        for (line, code) in codes_of(&file.text) {
            codes.entry(code).or_insert((file.path.as_str(), line));
        }
    }
    let page = files.iter().find(|file| file.path == PAGE).map_or("", |file| file.text.as_str());
    let headings: BTreeMap<&str, usize> =
        headings_of(page).map(|(line, code)| (code, line)).collect();

    let undocumented = codes.iter().filter(|(code, _)| !headings.contains_key(*code)).map(
        |(code, (path, line))| {
            let text = format!("the code `{code}` has no heading `### {code}` in {PAGE}");
            Finding { path: (*path).to_owned(), line: *line, text }
        },
    );
    let unused =
        headings.iter().filter(|(code, _)| !codes.contains_key(*code)).map(|(code, line)| {
            let text = format!("no source has the code `{code}` any more");
            Finding { path: PAGE.to_owned(), line: *line, text }
        });
    undocumented.chain(unused).collect()
}

fn is_product_source(path: &str) -> bool {
    let source = path.starts_with("crates/") && path.contains("/src/") && path.ends_with(".rs");
    source
        && !path.ends_with("/tests.rs")
        && !path.contains("/tests/")
        && !path.starts_with("crates/agentry-testkit/")
}

/// Codes outside of tests, with their lines.
fn codes_of(text: &str) -> Vec<(usize, &str)> {
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut found = Vec::new();
    for (carrier, wanted) in CARRIERS {
        for (at, _) in product.match_indices(carrier) {
            let before = product.get(..at).and_then(|text| text.chars().next_back());
            // `StatusCode(` carries no code of ours.
            if before.is_some_and(|character| character.is_alphanumeric() || character == '_') {
                continue;
            }
            let start = at + carrier.len();
            let literals = literals(product.get(start..).unwrap_or_default());
            let literals = literals
                .into_iter()
                .map(|(offset, literal)| (line_of(product, start + offset), literal));
            match wanted {
                Literals::All => found.extend(literals.filter(|(_, literal)| is_code(literal))),
                Literals::First => {
                    found.extend(literals.take(1).filter(|(_, literal)| is_code(literal)));
                }
            }
        }
    }
    // Answers that are written before there is anything to build them with.
    for (at, mark) in product.match_indices("\"code\":\"") {
        let code = product.get(at + mark.len()..).and_then(|rest| rest.split('"').next());
        found.extend(code.filter(|code| is_code(code)).map(|code| (line_of(product, at), code)));
    }
    found
}

/// The string literals up to the parenthesis that closes the call, with their places.
fn literals(arguments: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut depth = 1_usize;
    let mut literal = None;
    let mut escaped = false;
    for (at, character) in arguments.char_indices() {
        match (literal, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(start), '"') => {
                found.push((start, arguments.get(start..at).unwrap_or_default()));
                literal = None;
            }
            (Some(_), _) => {}
            (None, '"') => literal = Some(at + 1),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            (None, _) => {}
        }
    }
    found
}

fn is_code(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or_default().matches('\n').count() + 1
}

fn headings_of(page: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(page.lines()).filter_map(|(number, line)| {
        Some((number, line.strip_prefix("### ")?.trim().trim_matches('`')))
    })
}
