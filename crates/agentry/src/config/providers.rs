//! `[providers.NAME]`: who answers model calls.

use std::fs;
use std::sync::Arc;

use agentry_llm::openai::Api;
use agentry_llm::scripted::Script;
use agentry_llm::{anthropic, azure, bedrock, gemini, ollama, openai};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::reader::{Reader, nearest};
use super::tree::Value;
use super::value::{self, Unreadable};

mod check;
mod usual;

pub(crate) use check::{Check, MODEL};
pub(super) use usual::usual;

#[derive(Debug, Clone)]
pub(crate) struct Provider {
    /// As targets name it: `openai` in `openai/gpt-4o-mini`.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// How it is looked at while nobody calls it, if it is.
    pub(crate) check: Option<Check>,
    /// The variable that made it appear without a configuration.
    pub(crate) variable: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    OpenAi(openai::Settings),
    Anthropic(anthropic::Settings),
    Gemini(gemini::Settings),
    Ollama(ollama::Settings),
    Azure(azure::Settings),
    Bedrock(bedrock::Settings),
    Scripted { script: Arc<Script> },
}

impl Kind {
    /// Whether it is asked at the same place in the same way with the same credentials.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        // `Debug` shows all but the secrets.
        format!("{self:?}") == format!("{other:?}") && self.secrets() == other.secrets()
    }

    fn secrets(&self) -> Vec<Option<&str>> {
        match self {
            Self::OpenAi(settings) => vec![exposed(settings.api_key.as_ref())],
            Self::Anthropic(settings) => vec![exposed(settings.api_key.as_ref())],
            Self::Gemini(settings) => vec![exposed(settings.api_key.as_ref())],
            Self::Ollama(settings) => vec![exposed(settings.api_key.as_ref())],
            Self::Azure(settings) => vec![exposed(settings.api_key.as_ref())],
            Self::Bedrock(settings) => match &settings.access {
                bedrock::Access::Bearer(key) => vec![exposed(Some(key))],
                bedrock::Access::Keys { access_key_id: _, secret_access_key, session_token } => {
                    vec![exposed(Some(secret_access_key)), exposed(session_token.as_ref())]
                }
            },
            Self::Scripted { .. } => Vec::new(),
        }
    }
}

fn exposed(secret: Option<&SecretString>) -> Option<&str> {
    secret.map(ExposeSecret::expose_secret)
}

impl Provider {
    /// The model to use when nobody says which; at Azure models have names of their own.
    pub(super) fn everyday_model(&self) -> Option<&'static str> {
        match self.kind {
            Kind::OpenAi(_) => Some("gpt-4o-mini"),
            Kind::Anthropic(_) => Some("claude-haiku-4-5"),
            Kind::Gemini(_) => Some("gemini-2.5-flash"),
            Kind::Ollama(_) => Some("llama3.2"),
            Kind::Bedrock(_) => Some("us.anthropic.claude-haiku-4-5-20251001-v1:0"),
            Kind::Azure(_) => None,
            Kind::Scripted { .. } => Some("scripted"),
        }
    }

    /// The vendor under whose name the catalogue has its prices, if it is that vendor and not somebody with the same API.
    pub(super) fn vendor(&self) -> Option<&'static str> {
        match &self.kind {
            Kind::OpenAi(settings) => (settings.base_url == OPENAI_URL).then_some("openai"),
            Kind::Anthropic(settings) => {
                (settings.base_url == anthropic::Settings::BASE_URL).then_some("anthropic")
            }
            Kind::Gemini(settings) => {
                (settings.base_url == gemini::Settings::BASE_URL).then_some("gemini")
            }
            Kind::Azure(_) => Some("azure"),
            Kind::Bedrock(_) => Some("bedrock"),
            Kind::Ollama(_) | Kind::Scripted { .. } => None,
        }
    }
}

const KINDS: &[&str] = &["openai", "anthropic", "gemini", "ollama", "azure", "bedrock", "scripted"];
const OPENAI_URL: &str = "https://api.openai.com/v1";

/// What the tables say.
pub(super) struct Providers {
    pub(super) good: Vec<Provider>,
    /// There is a table of that name, and what is wrong with it was reported.
    pub(super) wrong: Vec<String>,
}

impl Providers {
    pub(super) fn has(&self, name: &str) -> bool {
        self.good.iter().any(|known| known.name == name)
            || self.wrong.iter().any(|known| known == name)
    }
}

pub(super) fn read(table: Option<Reader<'_>>) -> Providers {
    let mut providers = Providers { good: Vec::new(), wrong: Vec::new() };
    for table in table.map(Reader::tables).unwrap_or_default() {
        let name = table.key().to_owned();
        match provider(table) {
            Some(provider) => providers.good.push(provider),
            None => providers.wrong.push(name),
        }
    }
    providers
}

fn provider(mut table: Reader<'_>) -> Option<Provider> {
    let name = table.key().to_owned();
    if name.contains('/') {
        table.report(format!("the provider's name `{name}` must not contain `/`"));
        return None;
    }
    let kind = table.required("kind", "\"openai\"", |value| {
        let kind = value::text(value)?;
        match KINDS.iter().find(|known| **known == kind) {
            Some(known) => Ok(*known),
            None => Err(Unreadable::new(format!("is no kind of provider: \"{kind}\"")).help(
                match nearest(&kind, KINDS) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => format!("there are {}", KINDS.join(", ")),
                },
            )),
        }
    });
    // What else is wrong can only be told when the kind is known.
    let kind = match kind?.value {
        "anthropic" => anthropic(&mut table),
        "gemini" => gemini(&mut table),
        "ollama" => ollama(&mut table),
        "azure" => azure(&mut table),
        "bedrock" => bedrock(&mut table),
        "scripted" => scripted(&mut table),
        _ => openai(&mut table),
    };
    let check = table.table("check").and_then(|table| check::read(table, kind.as_ref()));
    table.finish();
    Some(Provider { name, kind: kind?, check, variable: None })
}

fn openai(table: &mut Reader<'_>) -> Option<Kind> {
    let (base_url, api_key) = place(table, OPENAI_URL, "\"env:OPENAI_API_KEY\"")?;
    let mut settings = openai::Settings { api_key, ..openai::Settings::new(base_url) };
    settings.quirks = quirks(table, settings.quirks);
    settings.api = table.or("api", settings.api, api);
    Some(Kind::OpenAi(settings))
}

fn anthropic(table: &mut Reader<'_>) -> Option<Kind> {
    let place = place(table, anthropic::Settings::BASE_URL, "\"env:ANTHROPIC_API_KEY\"");
    let beta = table.read("beta", value::text).map(|at| at.value);
    let max_tokens = table.read("max_tokens", value::at_least_one);
    let (base_url, api_key) = place?;
    let settings = anthropic::Settings::new(base_url);
    let max_tokens = max_tokens.map_or(settings.max_tokens, |at| u64::from(at.value));
    Some(Kind::Anthropic(anthropic::Settings { api_key, beta, max_tokens, ..settings }))
}

fn gemini(table: &mut Reader<'_>) -> Option<Kind> {
    let (base_url, api_key) = place(table, gemini::Settings::BASE_URL, "\"env:GEMINI_API_KEY\"")?;
    Some(Kind::Gemini(gemini::Settings { api_key, ..gemini::Settings::new(base_url) }))
}

fn ollama(table: &mut Reader<'_>) -> Option<Kind> {
    let base_url = table.read("base_url", value::http_url);
    let base_url = match base_url {
        Some(at) => trimmed(&at.value),
        None => ollama::Settings::BASE_URL.to_owned(),
    };
    let api_key = optional_key(table)?;
    Some(Kind::Ollama(ollama::Settings { api_key, ..ollama::Settings::new(base_url) }))
}

fn azure(table: &mut Reader<'_>) -> Option<Kind> {
    let endpoint = table.required("base_url", "\"https://NAME.openai.azure.com\"", value::http_url);
    let api_key = required_key(table, "\"env:AZURE_OPENAI_API_KEY\"");
    let api_version = table.read("api_version", value::text).map(|at| at.value);
    let endpoint = endpoint.map_or_else(|| OPENAI_URL.to_owned(), |at| trimmed(&at.value));
    let mut settings = azure::Settings { api_version, ..azure::Settings::new(endpoint) };
    settings.quirks = quirks(table, settings.quirks);
    settings.api = table.or("api", settings.api, api);
    Some(Kind::Azure(azure::Settings { api_key: Some(api_key?), ..settings }))
}

fn bedrock(table: &mut Reader<'_>) -> Option<Kind> {
    let region = table.required("region", "\"us-east-1\"", value::text);
    let base_url = table.read("base_url", value::http_url).map(|at| trimmed(&at.value));
    let access = if table.has("access_key_id") || table.has("secret_access_key") {
        let notes = table.notes();
        let id = table.required("access_key_id", "\"env:AWS_ACCESS_KEY_ID\"", |value| {
            value::text_or_named(value, notes.environment, notes.folder)
        });
        let secret = match table.has("secret_access_key") {
            true => table.secret("secret_access_key").map(|at| at.value),
            false => {
                let example = "\"env:AWS_SECRET_ACCESS_KEY\"";
                table.required("secret_access_key", example, value::text);
                None
            }
        };
        let session_token = match table.has("session_token") {
            true => Some(table.secret("session_token")?.value),
            false => None,
        };
        let (access_key_id, secret_access_key) = (id?.value, secret?);
        bedrock::Access::Keys { access_key_id, secret_access_key, session_token }
    } else {
        bedrock::Access::Bearer(required_key(table, "\"env:AWS_BEARER_TOKEN_BEDROCK\"")?)
    };
    let settings = bedrock::Settings::new(region?.value, access);
    Some(Kind::Bedrock(bedrock::Settings { base_url, ..settings }))
}

/// Where it is and how it knows us. A vendor's own address wants a key; another may know no keys.
fn place(
    table: &mut Reader<'_>,
    default: &str,
    example: &str,
) -> Option<(String, Option<SecretString>)> {
    let base_url = table.read("base_url", value::http_url).map(|at| trimmed(&at.value));
    let base_url = base_url.unwrap_or_else(|| default.to_owned());
    let api_key = match base_url == default {
        true => Some(required_key(table, example)?),
        false => optional_key(table)?,
    };
    Some((base_url, api_key))
}

fn required_key(table: &mut Reader<'_>, example: &str) -> Option<SecretString> {
    if !table.has("api_key") {
        table.required("api_key", example, value::text);
        return None;
    }
    table.secret("api_key").map(|at| at.value)
}

/// Nothing when there is one that cannot be read.
fn optional_key(table: &mut Reader<'_>) -> Option<Option<SecretString>> {
    match table.has("api_key") {
        true => table.secret("api_key").map(|at| Some(at.value)),
        // Known, so that a misspelt one is recognised.
        false => Some(table.secret("api_key").map(|at| at.value)),
    }
}

fn trimmed(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

fn quirks(
    table: &mut Reader<'_>,
    mut quirks: agentry_wire::chat::Quirks,
) -> agentry_wire::chat::Quirks {
    table.list("quirks", |value| {
        let name = value::text(value)?;
        quirks = quirks
            .with(&name)
            .map_err(|unknown| Unreadable::new(format!("has a wrong entry: {unknown}")))?;
        Ok(())
    });
    quirks
}

fn api(value: &Value) -> Result<Api, Unreadable> {
    match value::text(value)?.as_str() {
        "chat_completions" => Ok(Api::ChatCompletions),
        "responses" => Ok(Api::Responses),
        other => Err(Unreadable::new(format!("is no API: \"{other}\""))
            .help("there are chat_completions and responses")),
    }
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
