//! The scan that decides a request's way, against a parser: both must understand the same.

use agentry_core::relay::Dialect;
use agentry_wire::head::{Head, Refused};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::Shape;

const OTHER: &str = "other/model \"x\"";

pub(crate) fn head(data: &[u8]) -> u64 {
    [Dialect::ChatCompletions, Dialect::Responses, Dialect::Messages]
        .into_iter()
        .fold(Shape::new(), |shape, dialect| shape.with(check(dialect, data)))
        .done()
}

fn check(dialect: Dialect, data: &[u8]) -> u64 {
    let parsed = serde_json::from_slice::<Map<String, Value>>(data);
    let head = match Head::read(dialect, data) {
        Ok(head) => head,
        Err(Refused::NotUtf8(_)) => return 1,
        Err(Refused::NotJson(error)) => {
            assert!(parsed.is_err(), "{dialect}: a parser takes what the scan refuses");
            return Shape::new().words(&error.to_string()).done();
        }
        Err(Refused::Invalid(invalid)) => return Shape::new().with(invalid.param).done(),
    };
    let fields = match parsed {
        Ok(fields) => fields,
        // Numbers and halves of characters that this parser cannot hold are for the upstream to refuse.
        Err(error) if is_unholdable(&error.to_string()) => return 2,
        Err(error) => panic!("{dialect}: the scan takes what a parser refuses: {error}"),
    };
    agree(dialect, &head, &fields);
    rewrite(dialect, (&head, fields), data);
    let given = (head.stream, head.choices > 1, head.wants_usage, head.user.is_some());
    Shape::new().with(given).with(head.output_tokens_max.is_some()).done()
}

fn is_unholdable(error: &str) -> bool {
    ["number out of range", "lone leading surrogate", "unexpected end of hex escape"]
        .iter()
        .any(|known| error.contains(known))
}

fn agree(dialect: Dialect, head: &Head, fields: &Map<String, Value>) {
    assert_eq!(fields.get("model"), Some(&json!(head.model)), "{dialect}: model");
    let flag = fields.get("stream").and_then(Value::as_bool).unwrap_or_default();
    assert_eq!(flag, head.stream, "{dialect}: stream");
    let limits: &[&str] = match dialect {
        Dialect::ChatCompletions => &["max_tokens", "max_completion_tokens"],
        Dialect::Responses => &["max_output_tokens"],
        Dialect::Messages => &["max_tokens"],
    };
    let most = limits.iter().filter_map(|name| fields.get(*name)?.as_u64()).max();
    assert_eq!(head.output_tokens_max, most, "{dialect}: the most tokens");
    if dialect == Dialect::ChatCompletions {
        let choices = fields.get("n").and_then(Value::as_u64).unwrap_or(1);
        assert_eq!(u64::from(head.choices), choices, "n");
        let asked = fields.get("stream_options").and_then(|options| options.get("include_usage"));
        assert_eq!(asked.and_then(Value::as_bool).unwrap_or_default(), head.wants_usage, "usage");
    }
}

/// Another model is all that changes, and that a bill is asked for where somebody has to pay.
fn rewrite(dialect: Dialect, (head, mut fields): (&Head, Map<String, Value>), data: &[u8]) {
    let rewritten = head.rewrite(dialect, data, OTHER);
    let withholds_usage = rewritten.withholds_usage;
    let bytes = rewritten.apply(&Bytes::copy_from_slice(data)).into_bytes();
    let mut sent: Map<String, Value> =
        serde_json::from_slice(&bytes).expect("a rewritten request is JSON");
    assert_eq!(sent.get("model"), Some(&json!(OTHER)), "{dialect}: the model that is sent");
    fields.insert("model".to_owned(), OTHER.into());
    if withholds_usage {
        let usage = sent.get("stream_options").and_then(|options| options.get("include_usage"));
        assert_eq!(usage, Some(&Value::Bool(true)), "a bill is asked for");
        sent.shift_remove("stream_options");
        fields.shift_remove("stream_options");
    }
    assert_eq!(sent, fields, "{dialect}: nothing else is rewritten");
    // However often a field is there, it says one thing.
    let again = Head::read(dialect, &bytes).expect("a rewritten request can be read");
    assert_eq!(again.model, OTHER, "{dialect}: the scan of what is sent");
}
