//! Secrets that stand in a definition where everybody can read them.

use agentry_notation::{Notes, Place, Problem};

use crate::argument::Argument;
use crate::definition::{Given, Header, Http};

/// Headers whose value is a secret.
const HEADERS: [&str; 9] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "apikey",
    "x-auth-token",
    "x-access-token",
    "private-token",
];
/// Parameters of an address whose value is a secret.
const PARAMETERS: [&str; 8] =
    ["api_key", "apikey", "access_token", "token", "key", "secret", "password", "sig"];
/// How well-known tokens begin.
const PREFIXES: [&str; 10] =
    ["sk-", "ghp_", "gho_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "AKIA", "AIza", "eyJhbGci"];
/// Shorter ones are words.
const TOKEN_LETTERS_MIN: usize = 16;

pub(super) fn check(http: &Http, notes: &Notes<'_>) {
    for (name, header) in &http.headers {
        let Header::Text(given) = header else { continue };
        let lower = name.value.to_ascii_lowercase();
        if HEADERS.contains(&lower.as_str()) {
            report(notes, &given.place, &format!("the header `{}` holds a secret", name.value));
        } else {
            tokens(given, notes);
        }
    }
    for leaf in &http.url.leaves {
        if has_password(&leaf.text) {
            report(notes, &leaf.place, "the address has a secret in it");
        }
    }
    tokens(&http.url, notes);
    if let Some(body) = &http.body {
        tokens(body, notes);
    }
}

fn report(notes: &Notes<'_>, place: &Place, message: &str) {
    let help =
        "give it as a header: authorization = { secret = \"env:NAME\", prefix = \"Bearer \" }";
    notes.report(Problem::new(place.clone(), message).help(help).hide());
}

fn has_password(text: &str) -> bool {
    let after = text.split_once("://").map_or("", |(_, after)| after);
    let (place, query) = after.split_once('?').unwrap_or((after, ""));
    let host = place.split('/').next().unwrap_or_default();
    let user = host.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    let parameter =
        query.split('&').filter_map(|pair| pair.split_once('=')).any(|(name, value)| {
            let is_written = !value.is_empty() && !value.contains("${") && !value.contains("{{");
            is_written && PARAMETERS.contains(&name.to_ascii_lowercase().as_str())
        });
    user || parameter
}

fn tokens(given: &Given, notes: &Notes<'_>) {
    for leaf in &given.leaves {
        let text = match &leaf.value {
            Argument::Fixed(value) => value.as_str().unwrap_or_default(),
            _ => leaf.text.as_str(),
        };
        let is_token = |word: &str| {
            word.len() >= TOKEN_LETTERS_MIN && PREFIXES.iter().any(|start| word.starts_with(start))
        };
        let ends = |letter: char| !letter.is_ascii_alphanumeric() && !"_-".contains(letter);
        if text.split(ends).any(is_token) {
            report(notes, &leaf.place, "this looks like a token");
        }
    }
}
