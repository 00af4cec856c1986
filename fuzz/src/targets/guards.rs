//! What guards make of a text, at once and in pieces.

use std::sync::LazyLock;

use agentry_guards::{Action, Blocked, Guards, Settings};
use secrecy::SecretString;
use serde_json::Value;

use super::text_pieces;
use crate::Shape;

static REDACTING: LazyLock<Guards> = LazyLock::new(|| {
    let everything = Settings {
        pii: Action::Redact,
        secrets: Action::Redact,
        deny: vec!["(?i)project\\s+\\w+".to_owned()],
        deny_action: Action::Redact,
        injection: Action::Report,
        hash_key: Some(SecretString::from("0123456789abcdef".to_owned())),
        ..Settings::default()
    };
    Guards::new(&everything).expect("good settings")
});

pub(crate) fn guards(data: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(data);
    let guards = &*REDACTING;
    let findings = guards.scan(&text);
    for finding in &findings {
        assert!(
            text.get(finding.range.clone()).is_some(),
            "a finding cuts a character: {finding:?}"
        );
    }
    let cleaned = guards.clean(&text);
    let mut streamed = String::new();
    let ended = stream(&text, &mut streamed);
    assert!(ended.is_ok(), "nothing here blocks");
    // What is long in the making is let go at some length, so only short texts come out the same.
    if text.len() < 400 {
        assert_eq!(streamed, cleaned.text, "a split changes what passes");
    }
    json(&text);
    let kinds: Vec<String> =
        findings.iter().take(6).map(|finding| format!("{:?}", finding.kind)).collect();
    Shape::new().with(kinds).done()
}

fn stream(text: &str, out: &mut String) -> Result<(), Blocked> {
    let mut guard = REDACTING.stream("answer");
    text_pieces(text).into_iter().try_for_each(|piece| guard.push(piece, out))?;
    guard.finish(out)
}

/// Arguments of a call stay what they are: JSON.
fn json(text: &str) {
    let mut out = String::new();
    let mut guard = REDACTING.json("arguments");
    let pushed = text_pieces(text).into_iter().try_for_each(|piece| guard.push(piece, &mut out));
    assert!(pushed.and_then(|()| guard.finish(&mut out)).is_ok(), "nothing here blocks");
    if serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object()) {
        assert!(serde_json::from_str::<Value>(&out).is_ok(), "it was JSON and is none: {out}");
    }
}
