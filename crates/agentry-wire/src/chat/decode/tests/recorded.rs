//! Real traffic, where a copy of it is at hand: `AGENTRY_TEST_DATA`, or `data` in a folder beside the workspace.

use std::path::{Path, PathBuf};

use agentry_core::chat::ChatRequest;
use http::{HeaderMap, StatusCode};

use super::*;
use crate::error::from_response;

#[derive(Deserialize)]
struct Exchange {
    request: Sent,
    response: Received,
}

#[derive(Deserialize)]
struct Sent {
    path: String,
    body: Option<String>,
}

#[derive(Deserialize)]
struct Received {
    status: u16,
    text: Option<String>,
}

fn recordings() -> Option<PathBuf> {
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
    Some(data.join("cassettes/openai_chat")).filter(|folder| folder.is_dir())
}

/// Every recorded chat completion: where it is from, the request, the status and the body of the answer.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn exchanges() -> Vec<(String, String, u16, String)> {
    let Some(folder) = recordings() else {
        println!(
            "skipped: no recorded traffic; set AGENTRY_TEST_DATA to the folder that has cassettes/"
        );
        return Vec::new();
    };
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for exchange in serde_json::from_str::<Vec<Exchange>>(&text).unwrap() {
            let Exchange { request, response } = exchange;
            if request.path.ends_with("/chat/completions") {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                found.push((name, request.body.unwrap(), response.status, response.text.unwrap()));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The recorded values say nothing where they say null.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

#[test]
fn recorded_requests_lose_nothing() {
    for (name, body, _, _) in exchanges() {
        let mut expected = without_nulls(&serde_json::from_str(&body).unwrap());
        let read = ChatRequest::from_value(expected.clone()).unwrap();
        expected
            .as_object_mut()
            .unwrap()
            .retain(|name, value| !(name == "stream" && *value == json!(false)));
        assert_eq!(without_nulls(&serde_json::to_value(read).unwrap()), expected, "{name}");
    }
}

#[test]
fn recorded_answers_lose_nothing() {
    for (name, _, status, text) in exchanges() {
        if status != 200 {
            let status = StatusCode::from_u16(status).unwrap();
            let error = from_response(status, &HeaderMap::new(), text.as_bytes(), "m");
            let recorded: Value = serde_json::from_str(&text).unwrap();
            let message = recorded["error"]["message"].as_str().unwrap();
            assert!(error.to_string().contains(message), "{name}: {error}");
        } else if text.starts_with('{') {
            let recorded: Value = serde_json::from_str(&text).unwrap();
            let read = serde_json::to_value(response(text.as_bytes(), "m").unwrap()).unwrap();
            assert_eq!(without_nulls(&read), without_nulls(&recorded), "{name}");
        }
    }
}

/// What the chunks of a stream say, read without the decoder.
fn added_up(text: &str, field: &str) -> String {
    let chunks = text.lines().filter_map(|line| line.strip_prefix("data: {"));
    chunks
        .map(|rest| serde_json::from_str::<Value>(&format!("{{{rest}")).unwrap())
        .filter_map(|chunk| Some(chunk["choices"].get(0)?.pointer(field)?.as_str()?.to_owned()))
        .collect()
}

#[test]
fn recorded_streams_are_the_same_however_they_are_cut() {
    for (name, _, status, text) in exchanges() {
        if status != 200 || text.starts_with('{') {
            continue;
        }
        let bytes = text.as_bytes();
        let whole = decode([bytes]);
        assert_eq!(whole.last(), Some(&Ok(Event::Done)), "{name}");
        for size in [1, 2, 3, 5, 7, 64, 1_000] {
            assert_eq!(decode(bytes.chunks(size)), whole, "{name} in pieces of {size}");
        }
        for at in (0..bytes.len()).step_by(bytes.len() / 97 + 1) {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(decode([head, tail]), whole, "{name} cut at {at}");
            let cut = decode([head]);
            assert!(
                matches!(cut.last(), Some(Ok(Event::Done) | Err(ModelError::Truncated))),
                "{name} ends at {at}"
            );
        }
        let mut assembly = Assembly::default();
        whole.into_iter().for_each(|step| assembly.push(step.unwrap()));
        let answer = assembly.into_response();
        let message = &answer.choices[0].message;
        assert_eq!(message.text(), added_up(&text, "/delta/content"), "{name}");
        assert_eq!(
            message.refusal.clone().unwrap_or_default(),
            added_up(&text, "/delta/refusal"),
            "{name}"
        );
        let arguments: String =
            message.tool_calls.iter().map(|call| call.arguments.as_str()).collect();
        assert_eq!(arguments, added_up(&text, "/delta/tool_calls/0/function/arguments"), "{name}");
        assert!(answer.head.id.starts_with("chatcmpl"), "{name}");
    }
}
