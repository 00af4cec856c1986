//! How servers differ that call themselves compatible.

use std::borrow::Cow;

use agentry_core::Pieces;
use agentry_core::chat::{ChatRequest, Message, REASONING, Role, StreamOptions};
use memchr::memmem;
use serde_json::Value;
use twox_hash::XxHash3_64;

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
    pub developer: Developer,
    /// Refuses hints that only OpenAI knows, such as `prompt_cache_key`.
    pub no_hints: bool,
    /// Calls the seed `random_seed`.
    pub random_seed: bool,
    /// Takes ids of tool calls only as it makes them itself: nine letters and digits.
    pub short_ids: bool,
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

/// Whether a server knows the role `developer`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Developer {
    /// What passes as it is keeps it; what is written anew says `system`, which every server knows.
    #[default]
    Unsure,
    Known,
    Refused,
}

/// What only OpenAI knows and what no answer depends on.
const HINTS: [&str; 9] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
];

/// The word names no quirk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no quirk `{0}`; there are {names}", names = NAMES.join(", "))]
pub struct UnknownQuirk(pub String);

const NAMES: [&str; 11] = [
    "responses",
    "max_tokens",
    "max_completion_tokens",
    "no_stream_options",
    "developer",
    "no_developer",
    "no_hints",
    "random_seed",
    "no_reasoning_details",
    "no_reasoning",
    "short_ids",
];

impl Quirks {
    /// Of the server at `base_url`, where its habits are known.
    #[must_use]
    pub fn of(base_url: &str) -> Self {
        let address = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
        let host = address.split(['/', ':']).next().unwrap_or_default();
        let developer = Developer::Refused;
        let older = Self { max_tokens: MaxTokens::Older, developer, ..Self::default() };
        match host {
            "api.openai.com" => Self {
                responses: true,
                max_tokens: MaxTokens::Newer,
                thoughts: Thoughts::Refused,
                developer: Developer::Known,
                ..Self::default()
            },
            "openrouter.ai" => Self { developer: Developer::Known, ..Self::default() },
            "api.mistral.ai" => {
                let refused = Self { thoughts: Thoughts::Refused, no_hints: true, ..older };
                Self { no_stream_options: true, random_seed: true, short_ids: true, ..refused }
            }
            "api.deepseek.com" => Self { thoughts: Thoughts::TextAlone, ..older },
            "api.groq.com" => Self { thoughts: Thoughts::Refused, ..Self::default() },
            _ if host.ends_with(".openai.azure.com") => Self {
                max_tokens: MaxTokens::Newer,
                thoughts: Thoughts::Refused,
                developer: Developer::Known,
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
            "developer" => Self { developer: Developer::Known, ..self },
            "no_developer" => Self { developer: Developer::Refused, ..self },
            "no_hints" => Self { no_hints: true, ..self },
            "random_seed" => Self { random_seed: true, ..self },
            "no_reasoning_details" => Self { thoughts: Thoughts::TextAlone, ..self },
            "no_reasoning" => Self { thoughts: Thoughts::Refused, ..self },
            "short_ids" => Self { short_ids: true, ..self },
            _ => return Err(UnknownQuirk(name.to_owned())),
        })
    }

    /// Whether what a caller of chat completions sends can be sent on as it is.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.max_tokens != MaxTokens::Older
            && !self.no_stream_options
            && !self.no_hints
            && !self.random_seed
            && self.developer != Developer::Refused
            && !self.short_ids
    }

    /// The quirk that a server may have which refuses a request with such a message, if it is not yet known to have it.
    #[must_use]
    pub fn suspected(&self, message: &str) -> Option<&'static str> {
        let says = |word: &str| message.contains(word);
        if says("stream_options") && !self.no_stream_options {
            Some("no_stream_options")
        } else if says("reasoning_details") && self.thoughts == Thoughts::AsSent {
            Some("no_reasoning_details")
        } else if says("reasoning_content") && self.thoughts != Thoughts::Refused {
            Some("no_reasoning")
        } else if self.max_tokens != MaxTokens::AsSent {
            None
        } else if says("'max_tokens'") && says("'max_completion_tokens' instead") {
            Some("max_completion_tokens")
        } else if says("max_completion_tokens") {
            Some("max_tokens")
        } else {
            None
        }
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
        if self.developer != Developer::Known {
            say_system(&mut request);
        }
        if self.no_hints && HINTS.iter().any(|name| request.extra.contains_key(*name)) {
            request.to_mut().extra.retain(|name, _| !HINTS.contains(&name.as_str()));
        }
        if self.random_seed
            && let Some(seed) = request.seed
        {
            let request = request.to_mut();
            request.seed = None;
            request.extra.insert("random_seed".to_owned(), seed.into());
        }
        if self.short_ids {
            shorten_ids(&mut request);
        }
        self.forget_thoughts(&mut request);
        if self.thoughts == Thoughts::Refused {
            // A server that refuses these refuses whatever it does not know.
            messages::forget(&mut request);
        }
        request
    }

    /// What of a message this server refuses.
    fn forgotten(&self) -> &'static [&'static str] {
        const ALL: [&str; 3] = [reasoning::DETAILS, REASONING[0], REASONING[1]];
        match self.thoughts {
            Thoughts::AsSent => &[],
            Thoughts::TextAlone => &[reasoning::DETAILS],
            Thoughts::Refused => &ALL,
        }
    }

    /// A body that passes as it is, without the thoughts that this server refuses. Most have none: they cost one search.
    #[must_use]
    pub fn own_thoughts(&self, body: Pieces) -> Pieces {
        let names = self.forgotten();
        if names.is_empty() || !body.any(tells_thoughts) {
            return body;
        }
        let body = body.into_bytes();
        let Ok(mut request) = serde_json::from_slice::<Value>(&body) else { return body.into() };
        let messages = request.get_mut("messages").and_then(Value::as_array_mut);
        for message in messages.into_iter().flatten() {
            if let Value::Object(fields) = message {
                fields.retain(|name, _| !names.contains(&name.as_str()));
            }
        }
        request.to_string().into()
    }

    fn forget_thoughts(&self, request: &mut Cow<'_, ChatRequest>) {
        let names = self.forgotten();
        let thinks = |name: &&str| request.messages.iter().any(|it| it.extra.contains_key(*name));
        if names.iter().any(thinks) {
            for message in &mut request.to_mut().messages {
                message.extra.retain(|name, _| !names.contains(&name.as_str()));
            }
        }
    }
}

fn tells_thoughts(body: &[u8]) -> bool {
    const START: &[u8] = b"\"reasoning_";
    memmem::find_iter(body, START).any(|at| {
        let rest = body.get(at + START.len()..).unwrap_or_default();
        rest.starts_with(b"details\"") || rest.starts_with(b"content\"")
    })
}

fn say_system(request: &mut Cow<'_, ChatRequest>) {
    if request.messages.iter().any(|message| message.role == Role::Developer) {
        for message in &mut request.to_mut().messages {
            if message.role == Role::Developer {
                message.role = Role::System;
            }
        }
    }
}

/// Calls and their answers find each other under the new ids, too, in every turn.
fn shorten_ids(request: &mut Cow<'_, ChatRequest>) {
    let calls =
        |message: &Message| message.tool_call_id.is_some() || !message.tool_calls.is_empty();
    if !request.messages.iter().any(calls) {
        return;
    }
    for message in &mut request.to_mut().messages {
        let calls = message.tool_calls.iter_mut().map(|call| &mut call.id);
        for id in calls.chain(&mut message.tool_call_id) {
            if id.len() != SHORT || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                *id = short(id);
            }
        }
    }
}

const SHORT: usize = 9;
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

fn short(id: &str) -> String {
    let mut rest = XxHash3_64::oneshot(id.as_bytes());
    let digits = std::iter::repeat_with(|| {
        let digit = usize::try_from(rest % 36).ok().and_then(|at| DIGITS.get(at)).copied();
        rest /= 36;
        char::from(digit.unwrap_or(b'0'))
    });
    digits.take(SHORT).collect()
}

#[cfg(test)]
mod tests;
