//! Reads a form of several parts that is in memory (RFC 7578).

use bytes::Bytes;
use http::HeaderValue;
use memchr::memmem;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) file_name: Option<String>,
    pub(super) content: Bytes,
}

const PARTS_MAX: usize = 16;

/// What separates the parts, as the content type says.
pub(super) fn boundary(kind: Option<&HeaderValue>) -> Option<String> {
    let kind = kind?.to_str().ok()?;
    let boundary = parameters(kind).find(|(name, _)| name == "boundary")?.1;
    (1..=70).contains(&boundary.len()).then_some(boundary)
}

pub(super) fn parts(body: &Bytes, boundary: &str) -> Result<Vec<Part>, &'static str> {
    const BROKEN: &str = "it does not end with its boundary";
    let opening = format!("--{boundary}");
    let separator = format!("\r\n--{boundary}");
    let start =
        memmem::find(body, opening.as_bytes()).ok_or("it does not begin with its boundary")?;
    let mut rest = body.slice(start + opening.len()..);
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        if parts.len() == PARTS_MAX {
            return Err("it has too many parts");
        }
        let line = memmem::find(&rest, b"\r\n").ok_or(BROKEN)?;
        let end = memmem::find(rest.get(line..).unwrap_or_default(), separator.as_bytes())
            .map(|end| line + end)
            .ok_or(BROKEN)?;
        parts.push(part(rest.slice(line..end))?);
        rest = rest.slice(end + separator.len()..);
    }
}

/// From the line break behind the boundary on.
fn part(bytes: Bytes) -> Result<Part, &'static str> {
    const NO_HEADERS: &str = "a part has no headers";
    let end = memmem::find(&bytes, b"\r\n\r\n").ok_or(NO_HEADERS)?;
    let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default());
    let head = head.map_err(|_| "the headers of a part are not UTF-8")?;
    let disposition = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let disposition = disposition.ok_or("a part has no content-disposition")?;
    let find = |wanted: &str| {
        let mut all = parameters(disposition);
        all.find(|(name, _)| name == wanted).map(|(_, value)| value)
    };
    Ok(Part {
        name: find("name").ok_or("a part has no name")?,
        file_name: find("filename").filter(|name| !name.is_empty()),
        content: bytes.slice(end + 4..),
    })
}

/// What stands behind the first `;`: names in lower case, quotes taken off.
fn parameters(value: &str) -> impl Iterator<Item = (String, String)> {
    let mut rest = value.split_once(';').map_or("", |(_, rest)| rest);
    std::iter::from_fn(move || {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_matches([';', ' ', '\t']).to_ascii_lowercase();
        let (text, left) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (text, left) = after.split_once(';').unwrap_or((after, ""));
                (text.trim().to_owned(), left)
            }
        };
        rest = left;
        Some((name, text))
    })
}

/// To the closing quote; what a backslash stands before is taken as it is.
fn unquote(text: &str) -> (String, &str) {
    let mut read = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (read, text.get(at + 1..).unwrap_or_default()),
            '\\' => read.extend(characters.next().map(|(_, next)| next)),
            other => read.push(other),
        }
    }
    (read, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, file_name: Option<&str>, content: &'static [u8]) -> Part {
        let (name, file_name) = (name.to_owned(), file_name.map(str::to_owned));
        Part { name, file_name, content: Bytes::from_static(content) }
    }

    #[test]
    fn a_boundary_stands_in_the_content_type() {
        let check = |kind: &'static str, expected: Option<&str>| {
            let kind = HeaderValue::from_static(kind);
            assert_eq!(boundary(Some(&kind)).as_deref(), expected, "{kind:?}");
        };
        check("multipart/form-data; boundary=abc", Some("abc"));
        check("multipart/form-data; charset=utf-8; Boundary=\"a b;c\"", Some("a b;c"));
        check("multipart/form-data", None);
        check("multipart/form-data; boundary=", None);
    }

    #[test]
    fn parts_are_read_as_clients_write_them() {
        let body = b"preamble\r\n--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\n\
            content-disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".jsonl\"\r\nContent-Type: text/plain\r\n\r\n\
            {\"a\":1}\r\n\n--x\n\r\n--x\r\nContent-Disposition: form-data; name=empty\r\n\r\n\r\n--x--\r\n";
        let expected = vec![
            part("purpose", None, b"batch"),
            part("file", Some("a \"b\".jsonl"), b"{\"a\":1}\r\n\n--x\n"),
            part("empty", None, b""),
        ];
        assert_eq!(parts(&Bytes::from_static(body), "x"), Ok(expected));
    }

    #[test]
    fn a_form_that_is_cut_anywhere_is_refused() {
        let body =
            Bytes::from_static(b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--");
        assert_eq!(parts(&body, "x"), Ok(vec![part("a", None, b"1")]));
        for length in 0..body.len() {
            assert!(parts(&body.slice(..length), "x").is_err(), "cut after {length} bytes");
        }
    }
}
