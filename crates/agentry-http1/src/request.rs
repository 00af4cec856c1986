//! The heads of requests.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use memchr::memchr_iter;

use crate::framing::Framing;

/// A head has no more fields than that.
const FIELDS_MAX: usize = 100;

/// The longest target that an [`Uri`] holds.
const TARGET_MAX: usize = u16::MAX as usize - 1;

/// Why bytes are no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("this is no HTTP/1.1: {0}")]
    NotHttp(httparse::Error),
    #[error("the target of the request is no path")]
    Target,
    #[error("the target of the request is longer than {TARGET_MAX} bytes")]
    TargetTooLong,
    #[error("the head of the request is longer than {0} bytes")]
    HeadTooLong(usize),
    #[error("the head of the request has more than {FIELDS_MAX} fields")]
    FieldsTooMany,
    #[error("the lines of a request head must end with CR LF")]
    BareLineFeed,
    #[error("the request has both content-length and transfer-encoding: send one of them")]
    LengthAndCoding,
    #[error("the content-length is no length, or there are two")]
    Length,
    #[error("the transfer-encoding is not `chunked`, or the request is of HTTP/1.0")]
    Coding,
}

/// A head, and what it says of what comes next.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) parts: Parts,
    pub(crate) framing: Framing,
    /// Whether another request may follow.
    pub(crate) is_kept: bool,
    /// Whether the body is only sent once it is asked for.
    pub(crate) asks_first: bool,
}

/// How far a head was looked for in what came.
#[derive(Debug, Default)]
pub(crate) struct Search {
    seen: usize,
    /// Of empty lines before it.
    dropped: usize,
}

/// How long the head is that `bytes` begin with, once all of it is there. Empty lines before it are dropped.
pub(crate) fn find_end(
    bytes: &mut BytesMut,
    search: &mut Search,
    bytes_max: usize,
) -> Result<Option<usize>, Flaw> {
    let Search { seen, dropped } = search;
    while bytes.starts_with(b"\r\n") {
        bytes.advance(2);
        *seen = 0;
        *dropped += 2;
        if *dropped > bytes_max {
            return Err(Flaw::HeadTooLong(bytes_max));
        }
    }
    match bytes.as_ref() {
        [] | [b'\r'] => return Ok(None),
        [b'\n', ..] => return Err(Flaw::BareLineFeed),
        // Nobody waits for the rest of what cannot become a request.
        [first, ..] if !first.is_ascii_alphabetic() => {
            return Err(Flaw::NotHttp(httparse::Error::Token));
        }
        _ => {}
    }
    // The end of a line may be where the last look ended.
    let from = seen.saturating_sub(2);
    let new = bytes.get(from..).unwrap_or_default();
    for at in memchr_iter(b'\n', new) {
        let after = new.get(at + 1..).unwrap_or_default();
        let end = from + at + 1;
        if after.starts_with(b"\r\n") {
            return if end + 2 > bytes_max {
                Err(Flaw::HeadTooLong(bytes_max))
            } else {
                Ok(Some(end + 2))
            };
        }
        if after.starts_with(b"\n") {
            return Err(Flaw::BareLineFeed);
        }
    }
    *seen = bytes.len();
    if bytes.len() > bytes_max { Err(Flaw::HeadTooLong(bytes_max)) } else { Ok(None) }
}

/// Reads a whole head.
pub(crate) fn read(head: &Bytes) -> Result<Head, Flaw> {
    // Some take a bare line feed for the end of a line, and some do not.
    if memchr_iter(b'\n', head).any(|at| at == 0 || head.get(at - 1) != Some(&b'\r')) {
        return Err(Flaw::BareLineFeed);
    }
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Flaw::NotHttp(httparse::Error::NewLine)),
        Err(httparse::Error::TooManyHeaders) => return Err(Flaw::FieldsTooMany),
        Err(error) => return Err(Flaw::NotHttp(error)),
    }
    let mut request = Request::new(());
    *request.version_mut() =
        if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes());
    *request.method_mut() = method.map_err(|_| Flaw::NotHttp(httparse::Error::Token))?;
    let target = parsed.path.unwrap_or_default().as_bytes();
    if target.len() > TARGET_MAX {
        return Err(Flaw::TargetTooLong);
    }
    let target = Uri::from_maybe_shared(head.slice_ref(target));
    let target = target.map_err(|_| Flaw::Target)?;
    if target.authority().is_some() && target.scheme().is_none() {
        // Only a proxy is asked for a host alone.
        return Err(Flaw::Target);
    }
    *request.uri_mut() = target;
    let headers = request.headers_mut();
    headers.reserve(parsed.headers.len());
    for httparse::Header { name, value } in parsed.headers.iter() {
        let name = HeaderName::from_bytes(name.as_bytes());
        let name = name.map_err(|_| Flaw::NotHttp(httparse::Error::HeaderName))?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(value));
        headers.append(name, value.map_err(|_| Flaw::NotHttp(httparse::Error::HeaderValue))?);
    }
    outlook(request.into_parts().0)
}

fn outlook(parts: Parts) -> Result<Head, Flaw> {
    let (version, headers) = (parts.version, &parts.headers);
    let framing = framing(version, headers)?;
    let is_kept = match version {
        Version::HTTP_11 => !says(headers, &CONNECTION, "close"),
        _ => says(headers, &CONNECTION, "keep-alive") && !says(headers, &CONNECTION, "close"),
    };
    let asks_first = version == Version::HTTP_11 && says(headers, &EXPECT, "100-continue");
    Ok(Head { parts, framing, is_kept, asks_first })
}

fn framing(version: Version, headers: &HeaderMap) -> Result<Framing, Flaw> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Framing::Over),
        (Some(_), Some(_)) => Err(Flaw::LengthAndCoding),
        (Some(length), None) => {
            let digits =
                length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|digits| digits.parse().ok()).ok_or(Flaw::Length)?;
            if lengths.next().is_some() {
                Err(Flaw::Length)
            } else {
                Ok(Framing::of_length(length))
            }
        }
        (None, Some(coding)) => {
            let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            let is_clear = is_chunked && codings.next().is_none() && version == Version::HTTP_11;
            if is_clear { Ok(Framing::CHUNKED) } else { Err(Flaw::Coding) }
        }
    }
}

/// Whether a word is in a field that is a list.
pub(crate) fn says(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|said| said.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests;
