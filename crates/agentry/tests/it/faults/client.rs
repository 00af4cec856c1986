//! A response as the client reads it.

use serde_json::Value;

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    /// The answer ended as its framing says.
    pub(super) is_framed: bool,
    pub(super) code: Option<String>,
    /// Text, and the calls of tools as `name(arguments)`.
    pub(super) says: String,
    pub(super) model: String,
    pub(super) usage: Option<(u64, u64)>,
    /// The stream ended with `[DONE]`.
    pub(super) is_done: bool,
    /// What could not be read.
    unreadable: Vec<String>,
}

impl Seen {
    pub(super) fn of(response: &[u8]) -> Self {
        let mut seen = Self::default();
        let Some(at) = response.windows(4).position(|window| window == b"\r\n\r\n") else {
            return seen;
        };
        let head = String::from_utf8_lossy(&response[..at]);
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        seen.status = status.unwrap_or(0);
        let headers = lines.filter_map(|line| line.split_once(": "));
        seen.headers =
            headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let body = &response[at + 4..];
        let body = if seen.header("transfer-encoding") == Some("chunked") {
            let (body, ended) = unchunked(body);
            seen.is_framed = ended;
            body
        } else {
            let length = seen.header("content-length").and_then(|length| length.parse().ok());
            seen.is_framed = length == Some(body.len());
            body.to_vec()
        };
        match String::from_utf8(body) {
            Ok(text)
                if seen
                    .header("content-type")
                    .is_some_and(|kind| kind.contains("event-stream")) =>
            {
                seen.read_stream(&text);
            }
            Ok(text) => seen.read_json(&text),
            Err(_) => seen.unreadable.push("not UTF-8".to_owned()),
        }
        for unreadable in std::mem::take(&mut seen.unreadable) {
            seen.says += &format!("<{unreadable}>");
        }
        seen
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn attempts(&self) -> usize {
        self.header("x-agentry-attempts").and_then(|attempts| attempts.parse().ok()).unwrap_or(0)
    }

    fn read_json(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(value) => self.read(&value, "message"),
            Err(_) => self.unreadable.push(text.chars().take(200).collect()),
        }
    }

    fn read_stream(&mut self, text: &str) {
        for line in text.lines() {
            let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
            if self.is_done {
                self.unreadable.push(format!("after [DONE]: {data}"));
            }
            match serde_json::from_str(data) {
                _ if data == "[DONE]" => self.is_done = true,
                Ok(value) => self.read(&value, "delta"),
                Err(_) => self.unreadable.push(data.chars().take(200).collect()),
            }
        }
    }

    /// A whole answer, a chunk, or an error.
    fn read(&mut self, value: &Value, message: &str) {
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            let all = ["message", "type", "code"].iter().all(|field| error[field].is_string());
            if !all || error.get("param").is_none() {
                self.unreadable.push(format!("an error that lacks a field: {error}"));
            }
            self.code = error["code"].as_str().map(str::to_owned);
            return;
        }
        if let Some(model) = value["model"].as_str() {
            model.clone_into(&mut self.model);
        }
        for choice in value["choices"].as_array().into_iter().flatten() {
            let said = &choice[message];
            self.says += said["content"].as_str().unwrap_or_default();
            for call in said["tool_calls"].as_array().into_iter().flatten() {
                let function = &call["function"];
                if let Some(name) = function["name"].as_str() {
                    self.says += &format!("|{name}: ");
                }
                self.says += function["arguments"].as_str().unwrap_or_default();
            }
        }
        let usage = &value["usage"];
        if usage.is_object() {
            // A count that is no count counts nothing.
            let count = |name: &str| usage[name].as_u64().unwrap_or(0);
            self.usage = Some((count("prompt_tokens"), count("completion_tokens")));
        }
    }
}

/// The body, and whether the last chunk said that it was the last.
fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&bytes[..end]).ok();
        let Some(size) = size.and_then(|size| usize::from_str_radix(size, 16).ok()) else {
            return (body, false);
        };
        let Some(piece) = bytes.get(end + 2..end + 2 + size) else { return (body, false) };
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(piece);
        bytes = bytes.get(end + 4 + size..).unwrap_or_default();
    }
}
