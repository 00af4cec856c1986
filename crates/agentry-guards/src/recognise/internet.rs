//! Addresses of machines: IP of both versions, and web addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Candidate;
use crate::Kind;
use crate::context::{self, Context};
use crate::hay::{Hay, is_digit, is_word};

/// Four numbers with dots are also what versions and sections look like.
const VERSIONS: &[&str] = &[
    "version", "versions", "v", "ver", "release", "firmware", "build", "section", "chapter", "rev",
];
const ADDRESSES: &[&str] = &["ip", "host", "address", "server", "from", "at", "client", "addr"];

/// An IPv4 address that begins at `start`.
pub(super) fn dotted(hay: Hay<'_>, start: usize) -> Option<Candidate> {
    let before = hay.before(start);
    if is_word(before) || matches!(before, b'.' | b'-') {
        return None;
    }
    let end = hay.run_within(start, 16, |byte| is_digit(byte) || byte == b'.');
    // A full stop ends the sentence, not the address.
    let end = if hay.before(end) == b'.' { end - 1 } else { end };
    let next = hay.at(end);
    let goes_on = matches!(next, b'-' | b'.') && is_word(hay.at(end + 1));
    let ends = !(is_word(next) || goes_on);
    if !ends || hay.str(start..end).parse::<Ipv4Addr>().is_err() {
        return None;
    }
    let context = context::before(hay, start, ADDRESSES, VERSIONS);
    (context != Context::Against).then(|| Candidate::new(Kind::Ip, start, end, 0.9))
}

fn is_six(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
}

/// An IPv6 address of which `at` is the first colon.
pub(super) fn colon(hay: Hay<'_>, at: usize) -> Option<Candidate> {
    let start = hay.run_back(at, 5, |byte| byte.is_ascii_hexdigit());
    let before = hay.before(start);
    // Two colons are needed, and this is the first of them.
    let second = hay.slice(at + 1..(at + 6).min(hay.len())).contains(&b':');
    if is_word(before) || matches!(before, b':' | b'.') || !second {
        return None;
    }
    let end = hay.run_within(start, 46, is_six);
    let end = hay.run_back(end, 1, |byte| byte == b'.');
    // "at fe80::1: unreachable".
    let one_colon = hay.before(end) == b':' && hay.before(end - 1) != b':';
    let end = if one_colon { end - 1 } else { end };
    let text = hay.str(start..end);
    // `list[1::2]` is a slice of a list, and `Face::Bad` a name.
    let slice = before == b'[' && is_word(hay.before(start - 1));
    let short = text.starts_with("::") && text != "::1" && !text.contains('.') && text.len() < 7;
    let digits = text.bytes().any(is_digit);
    let plain = digits && !slice && !short && !is_word(hay.at(end));
    let found = plain && text.parse::<Ipv6Addr>().is_ok();
    found.then(|| Candidate::new(Kind::Ip, start, end, 0.9))
}

/// How much of an address is found; the rest of a longer one stays.
pub(super) const URL: usize = 2048;

const SCHEMES: [&[u8]; 4] = [b"http", b"https", b"ftp", b"ftps"];

fn is_url(byte: u8) -> bool {
    byte > b' ' && byte != 0x7F && !matches!(byte, b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'\\')
}

/// An address whose scheme ends at `at`.
pub(super) fn scheme(hay: Hay<'_>, at: usize) -> Option<Candidate> {
    let start = hay.run_back(at, 6, |byte| byte.is_ascii_alphabetic());
    let known = SCHEMES.iter().any(|scheme| scheme.eq_ignore_ascii_case(hay.slice(start..at)));
    if !known || is_word(hay.before(start)) || hay.slice(at..(at + 3).min(hay.len())) != b"://" {
        return None;
    }
    let end = address_end(hay, at + 3);
    (end > at + 3).then(|| Candidate::new(Kind::Url, start, end, 0.9))
}

fn address_end(hay: Hay<'_>, from: usize) -> usize {
    let reach = hay.run_within(from, URL, is_url);
    hay.run_back(reach, reach - from, |byte| {
        matches!(byte, b'.' | b',' | b';' | b':' | b'!' | b'?' | b')' | b']' | b'\'')
    })
}

/// Top levels under which a name without a scheme is taken for a domain.
const TOPS: &[&str] = &[
    "com", "org", "net", "edu", "gov", "io", "co", "uk", "de", "fr", "es", "it", "nl", "eu", "us",
    "ca", "au", "ch", "at", "be", "se", "no", "dk", "fi", "pl", "cz", "pt", "br", "in", "jp", "cn",
    "kr", "info", "biz", "dev", "app", "ai", "me", "tv", "xyz", "online", "site", "tech", "cloud",
];

/// A domain without a scheme, of which `at` is the first dot.
pub(super) fn dot(hay: Hay<'_>, at: usize) -> Option<Candidate> {
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let start = hay.run_back(at, 63, is_label);
    if start == at || matches!(hay.before(start), b'.' | b'@' | b'/' | b'_' | b'-' | b'=') {
        return None;
    }
    let end = hay.run_within(start, 253, |byte| is_label(byte) || byte == b'.');
    let end = hay.run_back(end, 2, |byte| matches!(byte, b'.' | b'-'));
    let domain = hay.str(start..end);
    let (_, top) = domain.rsplit_once('.')?;
    let known = TOPS.iter().any(|known| known.eq_ignore_ascii_case(top));
    if !known || matches!(hay.at(end), b'@' | b'_' | b'(') || domain.contains("..") {
        return None;
    }
    let end = if hay.at(end) == b'/' { address_end(hay, end) } else { end };
    Some(Candidate::new(Kind::Url, start, end, 0.7))
}
