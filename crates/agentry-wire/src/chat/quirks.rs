//! How servers differ that call themselves compatible.

use std::borrow::Cow;

use agentry_core::chat::{ChatRequest, REASONING, Role, StreamOptions};

use crate::{messages, reasoning};

/// What has to be different in a request for a server to take it. The default is a server that takes everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Also answers `/responses`.
    pub responses: bool,
    pub max_tokens: MaxTokens,
    pub thoughts: Thoughts,
    /// Refuses `stream_options`; if it counts tokens, it tells them unasked.
    pub no_stream_options: bool,
    /// Knows no role `developer`.
    pub no_developer: bool,
}

/// Under which name a server knows the bound on what is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MaxTokens {
    #[default]
    AsSent,
    /// `max_tokens`.
    Older,
    /// `max_completion_tokens`.
    Newer,
}

/// What a server takes back of the thoughts of earlier turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Thoughts {
    #[default]
    AsSent,
    /// `reasoning_content`, but no `reasoning_details`.
    TextAlone,
    Refused,
}

/// The word names no quirk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no quirk `{0}`; there are {names}", names = NAMES.join(", "))]
pub struct UnknownQuirk(pub String);

const NAMES: [&str; 7] = [
    "responses",
    "max_tokens",
    "max_completion_tokens",
    "no_stream_options",
    "no_developer",
    "no_reasoning_details",
    "no_reasoning",
];

impl Quirks {
    /// Of the server at `base_url`, where its habits are known.
    #[must_use]
    pub fn of(base_url: &str) -> Self {
        let address = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
        let host = address.split(['/', ':']).next().unwrap_or_default();
        let older = Self { max_tokens: MaxTokens::Older, no_developer: true, ..Self::default() };
        match host {
            "api.openai.com" => Self {
                responses: true,
                max_tokens: MaxTokens::Newer,
                thoughts: Thoughts::Refused,
                ..Self::default()
            },
            "api.mistral.ai" => {
                Self { thoughts: Thoughts::Refused, no_stream_options: true, ..older }
            }
            "api.deepseek.com" => Self { thoughts: Thoughts::TextAlone, ..older },
            "api.groq.com" => Self { thoughts: Thoughts::Refused, ..Self::default() },
            _ if host.ends_with(".openai.azure.com") => Self {
                max_tokens: MaxTokens::Newer,
                thoughts: Thoughts::Refused,
                ..Self::default()
            },
            _ => Self::default(),
        }
    }

    /// With one more, by its name in the configuration.
    pub fn with(self, name: &str) -> Result<Self, UnknownQuirk> {
        Ok(match name {
            "responses" => Self { responses: true, ..self },
            "max_tokens" => Self { max_tokens: MaxTokens::Older, ..self },
            "max_completion_tokens" => Self { max_tokens: MaxTokens::Newer, ..self },
            "no_stream_options" => Self { no_stream_options: true, ..self },
            "no_developer" => Self { no_developer: true, ..self },
            "no_reasoning_details" => Self { thoughts: Thoughts::TextAlone, ..self },
            "no_reasoning" => Self { thoughts: Thoughts::Refused, ..self },
            _ => return Err(UnknownQuirk(name.to_owned())),
        })
    }

    /// Whether what a caller of chat completions sends can be sent on as it is.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.max_tokens != MaxTokens::Older && !self.no_stream_options && !self.no_developer
    }

    /// The request as this server takes it. A streamed answer reports its usage wherever that can be asked for: without
    /// it nobody knows what it cost.
    pub(super) fn adapt<'a>(&self, request: &'a ChatRequest) -> Cow<'a, ChatRequest> {
        let mut request = Cow::Borrowed(request);
        if request.stream && !self.no_stream_options {
            let options = &mut request.to_mut().stream_options;
            options.get_or_insert_with(StreamOptions::default).include_usage = true;
        } else if request.stream_options.is_some() {
            request.to_mut().stream_options = None;
        }
        let (older, newer) = (request.max_tokens, request.max_completion_tokens);
        match self.max_tokens {
            MaxTokens::Older if newer.is_some() => {
                let request = request.to_mut();
                request.max_tokens = newer;
                request.max_completion_tokens = None;
            }
            MaxTokens::Newer if older.is_some() => {
                let request = request.to_mut();
                request.max_completion_tokens = newer.or(older);
                request.max_tokens = None;
            }
            MaxTokens::AsSent | MaxTokens::Older | MaxTokens::Newer => {}
        }
        if self.no_developer && request.messages.iter().any(|it| it.role == Role::Developer) {
            for message in &mut request.to_mut().messages {
                if message.role == Role::Developer {
                    message.role = Role::System;
                }
            }
        }
        self.forget_thoughts(&mut request);
        if self.thoughts == Thoughts::Refused {
            // A server that refuses these refuses whatever it does not know.
            messages::forget(&mut request);
        }
        request
    }

    fn forget_thoughts(&self, request: &mut Cow<'_, ChatRequest>) {
        let [one, other] = REASONING;
        let names: &[&str] = match self.thoughts {
            Thoughts::AsSent => return,
            Thoughts::TextAlone => &[reasoning::DETAILS],
            Thoughts::Refused => &[reasoning::DETAILS, one, other],
        };
        let thinks = |name: &&str| request.messages.iter().any(|it| it.extra.contains_key(*name));
        if names.iter().any(thinks) {
            for message in &mut request.to_mut().messages {
                message.extra.retain(|name, _| !names.contains(&name.as_str()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
