//! E-mail addresses.

use super::{Candidate, LEFT};
use crate::Kind;
use crate::hay::{Hay, is_latin};

/// Endings that are those of files and of names inside a network.
const NOT_DOMAINS: &[&str] = &[
    "png",
    "jpg",
    "jpeg",
    "gif",
    "svg",
    "webp",
    "ico",
    "css",
    "js",
    "ts",
    "json",
    "html",
    "md",
    "txt",
    "local",
    "localdomain",
    "internal",
    "lan",
    "service",
    "target",
    "timer",
    "socket",
];

const DOMAIN: usize = 253;

pub(super) fn is_local(byte: u8) -> bool {
    is_latin(byte) || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'')
}

pub(super) fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')
}

/// Where the part before the `@` at `at` begins.
pub(super) fn local(hay: Hay<'_>, at: usize) -> usize {
    hay.boundary(hay.run_back(at, LEFT, is_local))
}

/// The address around the `@` at `at`.
pub(super) fn at_sign(hay: Hay<'_>, at: usize) -> Option<Candidate> {
    let from = local(hay, at);
    let start = hay.run(from, |byte| matches!(byte, b'.' | b'\'' | b'-' | b'%'));
    if start >= at || hay.before(at) == b'.' || hay.before(at) == b'\'' {
        return None;
    }
    let reach = hay.run_within(at + 1, DOMAIN, is_domain);
    let domain = hay.str(at + 1..reach);
    let end = at + 1 + valid(domain)?;
    // `git@host:path` is an address of a repository.
    let repository = hay.slice(start..at) == b"git" && hay.at(end) == b':';
    (!repository).then(|| Candidate::new(Kind::Email, start, end, 1.0))
}

/// How much of this is a domain with a top level.
fn valid(domain: &str) -> Option<usize> {
    let mut end = 0;
    let mut offset = 0;
    for (at, label) in domain.split('.').enumerate() {
        let sound = (1..=63).contains(&label.len()) && !label.starts_with('-');
        if !sound {
            break;
        }
        // "a@b.com-thanks": unless more of the domain follows, it ends before the dash.
        let top = label.split('-').next().unwrap_or_default();
        let top = if label.starts_with("xn--") { label } else { top };
        if at > 0 && is_top(top) {
            end = offset + top.len();
        }
        offset += label.len() + 1;
    }
    (end > 0).then_some(end)
}

fn is_top(label: &str) -> bool {
    let letters = label.len() >= 2 && label.bytes().all(|byte| byte.is_ascii_alphabetic());
    (letters || label.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("xn--")))
        && !NOT_DOMAINS.iter().any(|other| other.eq_ignore_ascii_case(label))
}
