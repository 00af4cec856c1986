//! A configuration to begin with: what is needed now, and by its side what may be wanted later.

use std::collections::BTreeMap;

const HEAD: &str = include_str!("scaffold/head.toml");
const REST: &str = include_str!("scaffold/rest.toml");
/// A graph to begin with.
pub(super) const GRAPH: (&str, &str) = ("review.toml", include_str!("scaffold/review.toml"));

/// The usual variable, and the table of its provider.
const PROVIDERS: [(&str, &str); 4] = [
    ("OPENAI_API_KEY", "[providers.openai]\nkind = \"openai\"\napi_key = \"env:OPENAI_API_KEY\"\n"),
    (
        "ANTHROPIC_API_KEY",
        "[providers.anthropic]\nkind = \"anthropic\"\napi_key = \"env:ANTHROPIC_API_KEY\"\n",
    ),
    ("GEMINI_API_KEY", "[providers.gemini]\nkind = \"gemini\"\napi_key = \"env:GEMINI_API_KEY\"\n"),
    (
        "OLLAMA_HOST",
        "[providers.ollama]\nkind = \"ollama\"\nbase_url = \"http://127.0.0.1:11434\"\n",
    ),
];

/// Providers whose variable is set are there; the others wait for theirs.
pub(super) fn scaffold(environment: &BTreeMap<String, String>) -> String {
    let mut text = HEAD.to_owned();
    for (variable, table) in PROVIDERS {
        let is_set = environment.get(variable).is_some_and(|value| !value.trim().is_empty());
        text.push('\n');
        for line in table.lines() {
            text.push_str(if is_set { "" } else { "# " });
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push('\n');
    text.push_str(REST);
    text
}

#[cfg(test)]
mod tests;
