//! The three parts of a token, read and not yet believed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Bad, Claims};

const TOKEN_BYTES_MAX: usize = 8 * 1024;

pub(super) struct Parts<'a> {
    pub(super) header: Header,
    pub(super) claims: Claims,
    /// What is signed: header, dot, payload, as they came.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
}

pub(super) struct Header {
    pub(super) algorithm: String,
    pub(super) key_id: Option<String>,
}

impl<'a> Parts<'a> {
    pub(super) fn read(token: &'a [u8]) -> Result<Self, Bad> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Bad::Refused("it is longer than any token should be"));
        }
        let malformed = Bad::Refused("it is no token of three parts");
        let mut dots =
            token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(malformed);
        };
        let part = |from: usize, to: usize| token.get(from..to).ok_or(malformed);
        let decode = |from, to| {
            let part = part(from, to)?;
            let bytes = URL_SAFE_NO_PAD.decode(part);
            bytes.map_err(|_| Bad::Refused("a part of it is not base64url"))
        };
        let header = header(&decode(0, first)?)?;
        let claims = Claims::read(&decode(first + 1, second)?)
            .ok_or(Bad::Refused("its payload is no JSON object with each name once"))?;
        let signature = decode(second + 1, token.len())?;
        if signature.is_empty() {
            return Err(Bad::Refused("it is not signed"));
        }
        Ok(Self { header, claims, signed: part(0, second)?, signature })
    }
}

fn header(json: &[u8]) -> Result<Header, Bad> {
    let header = Claims::read(json)
        .ok_or(Bad::Refused("its header is no JSON object with each name once"))?;
    let algorithm = header.text("alg").ok_or(Bad::Refused("its header names no algorithm"))?;
    if header.has("crit") {
        return Err(Bad::Refused("its header demands an extension"));
    }
    let kind = header.text("typ").map(str::to_ascii_lowercase);
    let kind = kind.as_deref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind));
    if header.has("typ") && !matches!(kind, Some("jwt" | "at+jwt")) {
        return Err(Bad::Refused("its header says that it is no JWT"));
    }
    if header.has("kid") && header.text("kid").is_none() {
        return Err(Bad::Refused("its header names its key in an odd way"));
    }
    let key_id = header.text("kid").map(ToOwned::to_owned);
    Ok(Header { algorithm: algorithm.to_owned(), key_id })
}
