//! `[providers.NAME]`: who answers model calls.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use agentry_llm::scripted::Script;
use secrecy::SecretString;
use url::Url;

use super::reader::{Reader, nearest};
use super::value::{self, Unreadable};

#[derive(Debug, Clone)]
pub(crate) struct Provider {
    /// As targets name it: `openai` in `openai/gpt-4o-mini`.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The variable that made it appear without a configuration.
    pub(crate) variable: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    OpenAi { base_url: Url, api_key: Option<SecretString> },
    Scripted { script: Arc<Script> },
}

impl Provider {
    /// The model to use when nobody says which.
    pub(super) fn everyday_model(&self) -> &'static str {
        match self.kind {
            Kind::OpenAi { .. } => "gpt-4o-mini",
            Kind::Scripted { .. } => "scripted",
        }
    }
}

const KINDS: &[&str] = &["openai", "scripted", "anthropic", "gemini", "ollama", "azure", "bedrock"];
const OPENAI_URL: &str = "https://api.openai.com/v1";
const OPENAI_KEY: &str = "OPENAI_API_KEY";

pub(super) fn read(table: Option<Reader<'_>>) -> Vec<Provider> {
    let tables = table.map(Reader::tables).unwrap_or_default();
    tables.into_iter().filter_map(provider).collect()
}

/// Providers that need no more than their usual variable.
pub(super) fn usual(environment: &BTreeMap<String, String>) -> Vec<Provider> {
    let key = environment.get(OPENAI_KEY).filter(|key| !key.trim().is_empty());
    let provider = key.zip(Url::parse(OPENAI_URL).ok()).map(|(key, base_url)| Provider {
        name: "openai".to_owned(),
        kind: Kind::OpenAi { base_url, api_key: Some(key.as_str().into()) },
        variable: Some(OPENAI_KEY),
    });
    provider.into_iter().collect()
}

fn provider(mut table: Reader<'_>) -> Option<Provider> {
    let name = table.key().to_owned();
    if name.contains('/') {
        table.report(format!("the provider's name `{name}` must not contain `/`"));
        return None;
    }
    let kind = table.required("kind", "\"openai\"", |value| {
        let kind = value::text(value)?;
        match kind.as_str() {
            "openai" | "scripted" => Ok(kind),
            known if KINDS.contains(&known) => Err(Unreadable::new(format!(
                "is `{known}`, which is not available yet in this version"
            ))
            .help("use \"openai\" with the base_url of a compatible endpoint, or \"scripted\"")),
            other => Err(Unreadable::new(format!("is no kind of provider: \"{other}\"")).help(
                match nearest(other, KINDS) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => format!("there are {}", KINDS.join(", ")),
                },
            )),
        }
    });
    // What else is wrong can only be told when the kind is known.
    let kind = match kind?.value.as_str() {
        "scripted" => scripted(&mut table),
        _ => openai(&mut table),
    };
    table.finish();
    Some(Provider { name, kind: kind?, variable: None })
}

fn openai(table: &mut Reader<'_>) -> Option<Kind> {
    let default = Url::parse(OPENAI_URL).ok()?;
    let base_url = table.or("base_url", default.clone(), value::http_url);
    let api_key = match (table.has("api_key"), base_url == default) {
        (false, true) => {
            table.required("api_key", "\"env:OPENAI_API_KEY\"", value::text);
            return None;
        }
        // A local endpoint may know no keys.
        (false, false) => None,
        (true, _) => Some(table.secret("api_key")?.value),
    };
    Some(Kind::OpenAi { base_url, api_key })
}

fn scripted(table: &mut Reader<'_>) -> Option<Kind> {
    let notes = table.notes();
    let script = table.required("script", "\"answers.toml\"", |value| {
        let name = value::text(value)?;
        let path = notes.path(&name);
        let text = fs::read_to_string(&path).map_err(|error| {
            Unreadable::new(format!("names {}, which cannot be read: {error}", path.display()))
        })?;
        let json = path.extension().is_some_and(|extension| extension == "json");
        let script = if json { Script::from_json(&text) } else { Script::from_toml(&text) };
        script.map_err(|problems| {
            Unreadable::new(format!("names {}, which is wrong: {problems}", path.display()))
        })
    });
    Some(Kind::Scripted { script: Arc::new(script?.value) })
}
