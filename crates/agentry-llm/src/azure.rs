//! OpenAI's models at Azure, by either of the two shapes of its URLs.

use agentry_core::embed::BatchMax;
use agentry_core::model::Capabilities;
use agentry_http::Client;
use agentry_wire::chat::{Developer, MaxTokens, Quirks, Thoughts};
use secrecy::SecretString;

use crate::drive::Misconfigured;
use crate::openai::{Api, OpenAi, Settings as OpenAiSettings};

/// Where the resource is and how it knows us.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The resource alone: `https://NAME.openai.azure.com`.
    pub endpoint: String,
    /// With one, models are deployments in the path; without, the newer `/openai/v1` is asked, where they are names in the body.
    pub api_version: Option<String>,
    pub api_key: Option<SecretString>,
    pub capabilities: Capabilities,
    pub quirks: Quirks,
    /// Which of its two APIs is asked for chats.
    pub api: Api,
    /// How much one request for embeddings may hold.
    pub batch_max: BatchMax,
}

impl Settings {
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        let OpenAiSettings { base_url, api_key, capabilities, quirks: _, api, batch_max } =
            OpenAiSettings::new(endpoint);
        let quirks = Quirks {
            responses: true,
            max_tokens: MaxTokens::Newer,
            thoughts: Thoughts::Refused,
            developer: Developer::Known,
            ..Quirks::default()
        };
        Self {
            endpoint: base_url,
            api_version: None,
            api_key,
            capabilities,
            quirks,
            api,
            batch_max,
        }
    }
}

/// The driver for a resource at Azure. Only its URLs and its credential are other than OpenAI's.
pub fn azure(client: Client, settings: Settings) -> Result<OpenAi, Misconfigured> {
    let Settings { endpoint, api_version, api_key, capabilities, quirks, api, batch_max } =
        settings;
    // People copy the endpoint with and without what follows it.
    let endpoint = endpoint.trim_end_matches('/').trim_end_matches("/v1");
    let endpoint = endpoint.trim_end_matches('/').trim_end_matches("/openai");
    let base_url = match api_version {
        None => format!("{endpoint}/openai/v1"),
        Some(_) => endpoint.to_owned(),
    };
    let settings = OpenAiSettings { base_url, api_key, capabilities, quirks, api, batch_max };
    OpenAi::at_azure(client, settings, api_version.as_deref())
}

#[cfg(test)]
mod tests;
