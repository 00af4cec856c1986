//! Every error code has its heading in `docs/errors.md`, and every heading its code.

use std::collections::BTreeMap;

use super::{File, Finding};

const PAGE: &str = "docs/errors.md";

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
fn codes_of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let product = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    (1..).zip(product).flat_map(|(number, line)| {
        line.split("Code(\"")
            .skip(1)
            .filter_map(move |rest| Some((number, rest.split_once("\")")?.0)))
    })
}

fn headings_of(page: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(page.lines()).filter_map(|(number, line)| {
        Some((number, line.strip_prefix("### ")?.trim().trim_matches('`')))
    })
}
