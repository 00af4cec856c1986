//! Real traffic, where a copy of it is at hand: `AGENTRY_TEST_DATA`, or `data` in a folder beside the workspace.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(crate) struct Exchange {
    /// The recording that it is from.
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) request: Sent,
    pub(crate) response: Received,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Sent {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) body: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Received {
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) text: Option<String>,
    /// A body that is no text.
    #[serde(default)]
    pub(crate) base64: Option<String>,
}

impl Exchange {
    pub(crate) fn sent(&self) -> Value {
        serde_json::from_str(self.request.body.as_deref().unwrap_or("null")).unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        self.response.text.as_deref().unwrap_or_default()
    }
}

/// Every exchange that was recorded with a vendor; none, and a word about it, where there are no recordings.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
pub(crate) fn exchanges(vendor: &str) -> Vec<Exchange> {
    let Some(folder) = folder(vendor) else {
        println!(
            "skipped: no recorded traffic; set AGENTRY_TEST_DATA to the folder that has cassettes/"
        );
        return Vec::new();
    };
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for mut exchange in serde_json::from_str::<Vec<Exchange>>(&text).unwrap() {
            exchange.name = path.file_name().unwrap().to_string_lossy().into_owned();
            found.push(exchange);
        }
    }
    assert!(!found.is_empty());
    found
}

fn folder(vendor: &str) -> Option<PathBuf> {
    let data = match std::env::var_os("AGENTRY_TEST_DATA") {
        Some(data) => PathBuf::from(data),
        None => {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
            let beside = std::fs::read_dir(workspace.parent()?).ok()?;
            beside
                .flatten()
                .map(|entry| entry.path().join("data"))
                .find(|data| data.join("cassettes").is_dir())?
        }
    };
    Some(data.join("cassettes").join(vendor)).filter(|folder| folder.is_dir())
}

/// Any JSON whose strings are often words that some dialect knows.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        proptest::sample::select(vec![
            "type",
            "text",
            "role",
            "user",
            "assistant",
            "tool",
            "content",
            "message",
            "id",
            "name",
            "input_text",
            "output_text",
            "input_image",
            "image_url",
            "url",
            "function",
            "function_call",
            "function_call_output",
            "call_id",
            "arguments",
            "output",
            "reasoning",
            "summary",
            "custom",
            "encrypted_content",
            "agentry:[{}]",
            "json_schema",
            "format",
            "schema",
            "parts",
            "usage",
            "data:image/png;base64,AA",
            "file",
            "file_data",
            "refusal",
            "tools",
            "allowed_tools",
        ])
        .prop_map(str::to_owned),
        ".{0,3}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        let fields = proptest::collection::vec((word.clone(), inner.clone()), 0..6);
        prop_oneof![
            proptest::collection::vec(inner, 0..6).prop_map(Value::from),
            fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}
