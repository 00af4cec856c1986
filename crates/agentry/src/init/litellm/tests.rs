use std::collections::BTreeMap;

use super::*;
use crate::config;

fn everything() -> BTreeMap<String, String> {
    let names = [
        "OPENAI_API_KEY",
        "AZURE_API_KEY",
        "ANTHROPIC_API_KEY",
        "GROQ_API_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ];
    let mut all: BTreeMap<String, String> =
        names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
    for (name, value) in [
        ("LITELLM_MASTER_KEY", "sk-0123456789abcdef0123456789"),
        ("REDIS_URL", "redis://127.0.0.1:6379"),
        ("DATABASE_URL", "postgres://a:b@127.0.0.1/c"),
    ] {
        all.insert(name.to_owned(), value.to_owned());
    }
    all
}

/// What comes of `yaml` is exactly `toml`, and a configuration without a mistake.
fn check(yaml: &str, toml: &str) {
    let imported = import(yaml).unwrap();
    assert_eq!(imported.toml, toml, "{}", imported.toml);
    let folder = tempfile::tempdir().unwrap();
    let config = config::read_text(&imported.toml, folder.path(), &everything());
    if let Err(error) = config {
        panic!("{error}\n{}", imported.toml);
    }
    assert!(!imported.toml.contains("hunter2") && !imported.toml.contains("written-out"));
}

#[test]
fn a_small_proxy_becomes_a_small_configuration() {
    check(include_str!("tests/small.yaml"), include_str!("tests/small.toml"));
}

#[test]
fn a_large_proxy_is_taken_over_and_the_rest_is_told() {
    check(include_str!("tests/large.yaml"), include_str!("tests/large.toml"));
}

#[test]
fn what_cannot_be_read_is_refused_with_a_reason() {
    for (yaml, expected) in [
        ("", "is empty"),
        ("- a", "is no mapping"),
        ("model_list: [", "is no YAML"),
        ("model_list: []", "has no `model_list` with a model"),
        ("model_list: [{ model_name: a, litellm_params: { model: b } }]", "has no `model_list`"),
        ("? [a]\n: b", "a key that is no text"),
    ] {
        let why = import(yaml).err().unwrap_or_default();
        assert!(why.contains(expected), "{yaml}: {why}");
    }
}
