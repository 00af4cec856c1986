//! The heads of requests and responses.

use agentry_core::Pieces;
use agentry_http1::framing::Framing;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};

/// A head is not longer than this, and has no more fields than that.
pub(crate) const BYTES_MAX: usize = 128 << 10;
const FIELDS_MAX: usize = 128;

/// Why bytes are no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("{0}")]
    Head(httparse::Error),
    #[error("its head is longer than {BYTES_MAX} bytes")]
    HeadTooLong,
    #[error("its content-length is no length, or there are two")]
    Length,
    #[error("its transfer-encoding is none that there is")]
    Coding,
    #[error("it changes to a protocol that nobody asked for")]
    Upgrade,
}

/// What a head says of what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    pub(crate) framing: Framing,
    /// Whether the connection stays open.
    pub(crate) is_kept: bool,
}

pub(crate) fn write(request: &Request<Pieces>, host: &str) -> Bytes {
    let (uri, headers) = (request.uri(), request.headers());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // A query without a path needs one.
    let slash = if path.starts_with('/') { "" } else { "/" };
    let fields: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let mut head = Vec::with_capacity(96 + path.len() + host.len() + fields);
    for part in [request.method().as_str(), " ", slash, path, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    if !headers.contains_key(HOST) {
        field(&mut head, HOST.as_str(), host.as_bytes());
    }
    for (name, value) in headers {
        // How the body is framed is said below.
        if *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING {
            field(&mut head, name.as_str(), value.as_bytes());
        }
    }
    let length = request.body().len();
    let has_none = matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE);
    if length > 0 || !has_none {
        field(&mut head, CONTENT_LENGTH.as_str(), length.to_string().as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

fn field(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// A head that is all there.
#[derive(Debug)]
pub(crate) enum Head {
    /// The one that counts comes after it.
    Early,
    Last(Response<()>, Outlook),
}

/// The head at the beginning of `bytes`, and how long it is. Nothing while it is not all there.
pub(crate) fn read(bytes: &Bytes, method: &Method) -> Result<Option<(usize, Head)>, Flaw> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(Flaw::HeadTooLong),
        Err(error) => return Err(Flaw::Head(error)),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Flaw::Head(httparse::Error::Status))?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Flaw::Upgrade);
    }
    if status.is_informational() {
        return Ok(Some((length, Head::Early)));
    }
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    // In memory of its own: a field must not hold on to the body that came with it.
    let head = Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default());
    let place = |value: &[u8]| {
        let start = (value.as_ptr() as usize).saturating_sub(bytes.as_ptr() as usize);
        let part = head.get(start..start.saturating_add(value.len()));
        part.map(|part| head.slice_ref(part)).unwrap_or_default()
    };
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for httparse::Header { name, value } in parsed.headers.iter() {
        let name = HeaderName::from_bytes(name.as_bytes());
        let name = name.map_err(|_| Flaw::Head(httparse::Error::HeaderName))?;
        let value = HeaderValue::from_maybe_shared(place(value));
        headers.append(name, value.map_err(|_| Flaw::Head(httparse::Error::HeaderValue))?);
    }
    let outlook = outlook(method, (status, version), &headers)?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    Ok(Some((length, Head::Last(response, outlook))))
}

fn outlook(
    method: &Method,
    (status, version): (StatusCode, Version),
    headers: &HeaderMap,
) -> Result<Outlook, Flaw> {
    let says = |word: &str| lists(headers, &CONNECTION).any(|said| said.eq_ignore_ascii_case(word));
    let is_kept = match version {
        Version::HTTP_11 => !says("close"),
        _ => says("keep-alive") && !says("close"),
    };
    let bodiless = *method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = framing(version, headers)?;
    Ok(match framing {
        _ if bodiless => Outlook { framing: Framing::Over, is_kept },
        Framing::UntilClose => Outlook { framing, is_kept: false },
        // Who says both may mean either: nothing is sent over this one any more.
        Framing::Chunked(_) if headers.contains_key(CONTENT_LENGTH) => {
            Outlook { framing, is_kept: false }
        }
        Framing::Chunked(_) | Framing::Length(_) | Framing::Over => Outlook { framing, is_kept },
    })
}

fn framing(version: Version, headers: &HeaderMap) -> Result<Framing, Flaw> {
    if headers.contains_key(TRANSFER_ENCODING) {
        if version != Version::HTTP_11 {
            return Err(Flaw::Coding);
        }
        let last = lists(headers, &TRANSFER_ENCODING).last();
        let is_chunked = last.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        return Ok(if is_chunked { Framing::CHUNKED } else { Framing::UntilClose });
    }
    let mut length = None;
    for text in headers.get_all(CONTENT_LENGTH) {
        for part in text.to_str().map_err(|_| Flaw::Length)?.split(',').map(str::trim) {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let said: u64 = part.parse().ok().filter(|_| digits).ok_or(Flaw::Length)?;
            if length.is_some_and(|length| length != said) {
                return Err(Flaw::Length);
            }
            length = Some(said);
        }
    }
    Ok(length.map_or(Framing::UntilClose, Framing::of_length))
}

/// The words of a field that is a list.
fn lists<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests;
