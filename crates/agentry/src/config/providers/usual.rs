//! Providers that need no more than their usual variable.

use std::collections::BTreeMap;

use agentry_llm::{anthropic, gemini, ollama, openai};

use super::{Kind, OPENAI_URL, Provider};

pub(in crate::config) fn usual(environment: &BTreeMap<String, String>) -> Vec<Provider> {
    let set = |variable: &'static str, name: &str, kind: fn(&str) -> Kind| {
        let value = environment.get(variable).map(|value| value.trim());
        let value = value.filter(|value| !value.is_empty())?;
        let (name, kind) = (name.to_owned(), kind(value));
        Some(Provider { name, kind, check: None, variable: Some(variable) })
    };
    let all = [
        set("OPENAI_API_KEY", "openai", |key| {
            let api_key = Some(key.into());
            Kind::OpenAi(openai::Settings { api_key, ..openai::Settings::new(OPENAI_URL) })
        }),
        set("ANTHROPIC_API_KEY", "anthropic", |key| {
            let settings = anthropic::Settings::new(anthropic::Settings::BASE_URL);
            Kind::Anthropic(anthropic::Settings { api_key: Some(key.into()), ..settings })
        }),
        set("GEMINI_API_KEY", "gemini", |key| {
            let settings = gemini::Settings::new(gemini::Settings::BASE_URL);
            Kind::Gemini(gemini::Settings { api_key: Some(key.into()), ..settings })
        }),
        set("OLLAMA_HOST", "ollama", |host| Kind::Ollama(ollama::Settings::new(ollama_url(host)))),
    ];
    all.into_iter().flatten().collect()
}

/// The variable tells a server where to listen and a client where to ask: a scheme and a port may be missing, and
/// "everywhere" is here.
fn ollama_url(host: &str) -> String {
    let (scheme, rest) = host.split_once("://").unwrap_or(("http", host));
    let rest = rest.trim_end_matches('/');
    let (name, port) = match rest.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        _ if scheme == "https" => (rest, "443"),
        _ => (rest, "11434"),
    };
    let name = if matches!(name, "" | "0.0.0.0" | "[::]") { "127.0.0.1" } else { name };
    format!("{scheme}://{name}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_ollama_is_understood_however_it_is_written() {
        for (host, url) in [
            ("127.0.0.1", "http://127.0.0.1:11434"),
            ("0.0.0.0:11500", "http://127.0.0.1:11500"),
            (":11434", "http://127.0.0.1:11434"),
            ("http://gpu.local/", "http://gpu.local:11434"),
            ("https://ollama.example", "https://ollama.example:443"),
            ("[::1]:80", "http://[::1]:80"),
        ] {
            assert_eq!(ollama_url(host), url, "{host}");
        }
    }
}
