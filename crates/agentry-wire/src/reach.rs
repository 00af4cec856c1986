//! What a model is made to read by a request, beside its text: pictures, and what lies elsewhere.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;

/// Bounds from above, whatever the dialect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Pictures, those that are only named included.
    pub images: u64,
    /// An upstream writes instructions of its own into requests with tools or schemas.
    pub is_instructed: bool,
    /// The model reads what is not in the request: earlier turns, files, documents, what it searches for.
    pub reads_elsewhere: bool,
}

impl Reach {
    /// One pass over the bytes. They are only parsed if a word in them may mean that something else is read.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self::beside(body, &[])
    }

    /// The same without what lies between these places: the insides of strings that are too long to mean anything but
    /// themselves.
    pub(crate) fn beside(body: &[u8], long: &[(usize, usize)]) -> Self {
        let mut words = Words::default();
        let mut from = 0;
        for (start, end) in long {
            words.look(body.get(from..*start).unwrap_or_default());
            from = *end;
        }
        words.look(body.get(from..).unwrap_or_default());
        if !words.may_hide && !words.may_read_elsewhere {
            let Words { images, is_instructed, .. } = words;
            return Self { images, is_instructed, reads_elsewhere: false };
        }
        let Ok(request) = serde_json::from_slice::<Value>(body) else {
            return Self { reads_elsewhere: true, is_instructed: true, images: words.images };
        };
        // Written anew it has no letters that are written as numbers.
        let plain = if words.may_hide {
            serde_json::to_vec(&request).map_or(words, |plain| Words::of(&plain))
        } else {
            words
        };
        let reads_elsewhere = refers(&request) || has_document(&request);
        Self { images: plain.images, is_instructed: plain.is_instructed, reads_elsewhere }
    }
}

/// Words that are looked for, and from which on they mean something else.
const IMAGE: &[&str] = &["image"];
const INSTRUCTED: &[&str] = &["\"tools\"", "schema", "json_object"];
const ELSEWHERE: &[&str] = &[
    "file_",
    "\"document\"",
    "previous_response_id",
    "\"conversation\"",
    "\"prompt\"",
    "web_search",
    "web_fetch",
    "code_interpreter",
    "code_execution",
    "google_search",
    "\"mcp",
];
/// Letters that are written as numbers.
const HIDDEN: &[&str] = &[r"\u004", r"\u005", r"\u006", r"\u007"];

/// In the order of the lists above. Without any of them nothing is found, which only a defect can bring about.
static FINDER: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let all = [IMAGE, INSTRUCTED, ELSEWHERE, HIDDEN].concat();
    AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(all).ok()
});

#[derive(Debug, Clone, Copy, Default)]
struct Words {
    images: u64,
    is_instructed: bool,
    may_read_elsewhere: bool,
    may_hide: bool,
}

impl Words {
    fn of(body: &[u8]) -> Self {
        let mut words = Self::default();
        words.look(body);
        words
    }

    fn look(&mut self, body: &[u8]) {
        let Some(finder) = &*FINDER else {
            (self.may_read_elsewhere, self.may_hide) = (true, true);
            return;
        };
        for found in finder.find_iter(body) {
            let at = found.pattern().as_usize();
            if at < IMAGE.len() {
                self.images += 1;
            } else if at < IMAGE.len() + INSTRUCTED.len() {
                self.is_instructed = true;
            } else if at < IMAGE.len() + INSTRUCTED.len() + ELSEWHERE.len() {
                self.may_read_elsewhere = true;
            } else {
                self.may_hide = true;
            }
        }
    }
}

/// Whether the request itself names something that the upstream keeps, or lets it search.
fn refers(request: &Value) -> bool {
    let names = ["previous_response_id", "conversation", "prompt", "web_search_options"];
    let kept = |name: &&str| request.get(name).is_some_and(|value| !value.is_null());
    let tools = request.get("tools").and_then(Value::as_array);
    let mut kinds = tools.into_iter().flatten().filter_map(|tool| tool.get("type")?.as_str());
    names.iter().any(kept) || request.get("mcp_servers").is_some() || kinds.any(is_hosted)
}

/// Tools that the upstream itself uses, and whose results it reads.
fn is_hosted(kind: &str) -> bool {
    const HOSTED: [&str; 8] = [
        "web_search",
        "web_fetch",
        "file_search",
        "code_interpreter",
        "code_execution",
        "google_search",
        "image_generation",
        "mcp",
    ];
    HOSTED.iter().any(|hosted| kind.starts_with(hosted))
}

/// A document is read page by page, as text and as pictures: its bytes do not tell how much that is.
fn has_document(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_document),
        Value::Object(fields) => {
            let is_document = fields.get("type").and_then(Value::as_str) == Some("document")
                && fields.get("source").is_some_and(Value::is_object);
            let is_file = ["file_id", "file_url", "file_data"]
                .iter()
                .any(|name| fields.get(*name).is_some_and(Value::is_string));
            is_document || is_file || fields.values().any(has_document)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use agentry_core::relay::Dialect;

    use super::*;
    use crate::head::Head;

    #[test]
    fn what_a_model_is_made_to_read_is_seen_however_it_is_written() {
        let check = |body: &str, images: u64, is_instructed: bool, reads_elsewhere: bool| {
            let expected = Reach { images, is_instructed, reads_elsewhere };
            assert_eq!(Reach::of(body.as_bytes()), expected, "{body}");
        };
        check(r#"{"messages":[{"content":"hi"}]}"#, 0, false, false);
        check(r#"{"content":[{"type":"image_url","image_url":{"url":"u"}}]}"#, 2, false, false);
        check(r#"{"content":[{"type":"im\u0061ge_url","\u0069mage_url":{}}]}"#, 2, false, false);
        check(r#"{"tools":[{"type":"function","name":"web_search"}]}"#, 0, true, false);
        check(r#"{"tools":[{"type":"web_search_preview"}]}"#, 0, true, true);
        check(r#"{"tools":[{"type":"web\u005fsearch"}]}"#, 0, true, true);
        check(r#"{"mcp_servers":[{}]}"#, 0, false, true);
        check(r#"{"response_format":{"type":"json_schema"}}"#, 0, true, false);
        check(r#"{"previous_response_id":"resp_1"}"#, 0, false, true);
        check(r#"{"previous_response_id":null,"conversation":null}"#, 0, false, false);
        check(r#"{"conver\u0073ation":"c"}"#, 0, false, true);
        check(r#"{"input":[{"content":[{"type":"input_file","file_id":"f"}]}]}"#, 0, false, true);
        check(r#"{"m":[{"type":"document","source":{"type":"url"}}]}"#, 0, false, true);
        check(r#"{"content":"a \"document\" in file_1 of the \"prompt\""}"#, 0, false, false);
        check(r#"{"content":"caf\u00e9 \u003cb\u003e"}"#, 0, false, false);
    }
    #[test]
    fn only_short_strings_mean_anything() {
        let check = |body: &str, images: u64, reads_elsewhere: bool| {
            let head = Head::read(Dialect::ChatCompletions, body.as_bytes()).unwrap();
            let expected = Reach { images, is_instructed: false, reads_elsewhere };
            assert_eq!(head.reach(body.as_bytes()), expected, "{body}");
        };
        let text = "an image, \\u0041 and a web_search ".repeat(30);
        check(&format!(r#"{{"model":"m","messages":[{{"content":"{text}"}}]}}"#), 0, false);
        let part = r#"{"type":"image_url","image_url":{"url":"data:"#;
        check(
            &format!(r#"{{"model":"m","messages":[{{"content":[{part}{text}"}}}}]}}]}}"#),
            2,
            false,
        );
        let file = r#"{"type":"file","file":{"file_data":"data:"#;
        check(
            &format!(r#"{{"model":"m","messages":[{{"content":[{file}{text}"}}}}]}}]}}"#),
            0,
            true,
        );
        check(&format!(r#"{{"model":"m","conversation":"{text}"}}"#), 0, true);
        let hidden: String =
            "web_search_options".bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        check(&format!(r#"{{"model":"m","{hidden}":{{}}}}"#), 0, true);
    }
}
