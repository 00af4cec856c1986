//! Whatever an upstream says, a caller of any dialect understands the same.

use agentry_core::chat::{Assembly, ChatRequest, ChatResponse, Event, FinishReason, Usage};
use agentry_core::model::ModelError;
use agentry_core::relay::Dialect;
use bytes::Bytes;
use serde_json::Value;

use crate::testing::exchanges;
use crate::{Asked, Decode, chat, gemini, ingress, messages, ollama, responses};

/// What every dialect can tell.
#[derive(Debug, PartialEq)]
struct Outline {
    text: String,
    /// Id, name and arguments; of arguments that were cut short nobody can say more than that.
    calls: Vec<(String, String, Option<Value>)>,
    finish: Option<FinishReason>,
    tokens: Option<(u64, u64, u64)>,
}

impl Outline {
    fn of(answer: &ChatResponse) -> Self {
        let choice = &answer.choices[0];
        let refusal = choice.message.refusal.as_deref();
        let calls = choice.message.tool_calls.iter();
        let cut = choice.finish_reason == Some(FinishReason::Length);
        let arguments = |text: &str| (!cut).then(|| serde_json::from_str(text).unwrap());
        let tokens =
            |usage: &Usage| (usage.input_tokens, usage.cached_input_tokens, usage.output_tokens);
        Self {
            // Some dialects have a place of its own for a refusal, others a reason to end.
            text: choice.message.text() + refusal.unwrap_or_default(),
            calls: calls
                .map(|call| (call.id.clone(), call.name.clone(), arguments(&call.arguments)))
                .collect(),
            finish: match refusal {
                Some(_) => Some(FinishReason::ContentFilter),
                None => choice.finish_reason.clone(),
            },
            tokens: answer.usage.as_ref().map(tokens),
        }
    }
}

fn check(name: &str, events: Vec<Event>) {
    let mut assembly = Assembly::default();
    events.iter().cloned().for_each(|event| assembly.push(event));
    let answer = assembly.into_response();
    let expected = Outline::of(&answer);
    let body = Bytes::from_static(
        br#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
    );
    for dialect in [Dialect::ChatCompletions, Dialect::Responses, Dialect::Messages] {
        let asked = Asked { body: body.clone(), wants_usage: true, ..Asked::default() };
        let mut encoder = ingress::encoder(dialect, &asked);
        let mut frames = Vec::new();
        for event in events.iter().cloned() {
            encoder.encode(event, &mut frames);
        }
        let streamed = ingress::read_frames(dialect, &frames).unwrap();
        assert_eq!(Outline::of(&streamed), expected, "{name} streamed as {dialect}");
        let whole = ingress::whole(dialect, answer.clone(), &asked);
        let whole = ingress::read_whole(dialect, &whole).unwrap();
        assert_eq!(Outline::of(&whole), expected, "{name} whole as {dialect}");
    }
}

fn told(mut decoder: impl Decode, bytes: &[u8]) -> Vec<Event> {
    let steps = decoder.push(bytes).into_iter().chain(decoder.end(None));
    steps.filter_map(Result::ok).collect()
}

#[test]
fn every_recorded_answer_reaches_callers_of_every_dialect() {
    for vendor in ["openai_chat", "openai_responses", "anthropic", "gemini", "ollama"] {
        for exchange in exchanges(vendor) {
            let bytes = exchange.text().as_bytes();
            let streamed = !exchange.text().starts_with('{') || vendor == "ollama";
            if exchange.response.status != 200 || !streamed {
                continue;
            }
            let events = match vendor {
                "openai_chat" => told(chat::Decoder::new(), bytes),
                "openai_responses" => told(responses::Decoder::new(), bytes),
                "anthropic" => told(messages::Decoder::new(""), bytes),
                "gemini" => told(gemini::Decoder::new(), bytes),
                _ => told(ollama::Decoder::new(), bytes),
            };
            if events.last() == Some(&Event::Done) {
                check(&exchange.name, events);
            }
        }
    }
}

/// What among the recordings cannot be said to whom.
const REFUSED: [(&str, &str); 7] = [
    ("Gemini", "tools[0]"),
    ("Messages", "logprobs"),
    ("Messages", "web_search_options"),
    ("Ollama", "messages[3].content[1]"),
    ("Ollama", "tool_choice"),
    ("Ollama", "tools[0]"),
    ("Ollama", "web_search_options"),
];

/// What upstreams of other vendors are sent, or the parameter that they cannot be sent.
fn sent(request: &ChatRequest) -> Vec<(&'static str, Result<Bytes, ModelError>)> {
    vec![
        ("chat completions", chat::body(request, &chat::Quirks::default())),
        ("Responses", responses::body(request)),
        ("Messages", messages::body(request, 4_096)),
        ("Gemini", gemini::body(request)),
        ("Ollama", ollama::body(request)),
    ]
}

#[test]
fn every_recorded_request_is_sent_to_every_upstream_or_refused_by_a_name() {
    for (vendor, dialect) in [
        ("openai_chat", Dialect::ChatCompletions),
        ("openai_responses", Dialect::Responses),
        ("anthropic", Dialect::Messages),
    ] {
        for exchange in exchanges(vendor) {
            let body = exchange.request.body.as_deref().unwrap_or_default();
            let Ok(request) = ingress::request(dialect, body.as_bytes()) else { continue };
            for (upstream, sent) in sent(&request) {
                match sent {
                    Ok(sent) => {
                        let sent: Value = serde_json::from_slice(&sent).unwrap();
                        let text = request.last_user_text();
                        let words = Value::from(text.as_str()).to_string();
                        let words = words.trim_matches('"');
                        assert!(
                            sent.to_string().contains(words),
                            "{} to {upstream}",
                            exchange.name
                        );
                    }
                    Err(ModelError::Invalid { param: Some(param), .. }) => {
                        let known = REFUSED.contains(&(upstream, param.as_str()));
                        assert!(known, "{} to {upstream}: {param}", exchange.name);
                    }
                    Err(error) => panic!("{} to {upstream}: {error}", exchange.name),
                }
            }
        }
    }
}
