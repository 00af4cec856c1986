//! What a vendor says when all is well, whole or as a stream, in its dialect. What is wrong with it is added by [`Reply`].

use serde_json::{Value, json};

use super::Reply;

mod gemini;
mod responses;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's chat completions.
    Chat,
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Responses.
    Responses,
    /// Gemini's `generateContent`.
    Gemini,
}

/// A good answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    dialect: Dialect,
    model: String,
    /// What it thought aloud before, and what proves it.
    thought: Option<(String, String)>,
    /// Each is a delta of a stream.
    pieces: Vec<String>,
    /// Name, and the JSON text of the arguments in the fragments of a stream.
    calls: Vec<(String, Vec<String>)>,
    finish: Option<String>,
    usage: Value,
}

const ID: &str = "vendor-1";
const CREATED: u64 = 1_750_000_000;

impl Answer {
    /// In OpenAI's shape: `pieces` one after the other, 10 tokens in and 5 out.
    #[must_use]
    pub fn chat(pieces: &[&str]) -> Self {
        Self {
            dialect: Dialect::Chat,
            model: "vendor-model".to_owned(),
            thought: None,
            pieces: pieces.iter().map(|piece| (*piece).to_owned()).collect(),
            calls: Vec::new(),
            finish: Some("stop".to_owned()),
            usage: Value::Null,
        }
        .with_usage(10, 5)
    }

    /// The same in Anthropic's.
    #[must_use]
    pub fn messages(pieces: &[&str]) -> Self {
        let answer = Self { dialect: Dialect::Messages, ..Self::chat(pieces) };
        Self { finish: Some("end_turn".to_owned()), ..answer }.with_usage(10, 5)
    }

    /// The same in the shape of OpenAI's Responses.
    #[must_use]
    pub fn responses(pieces: &[&str]) -> Self {
        let answer = Self { dialect: Dialect::Responses, ..Self::chat(pieces) };
        Self { finish: Some("completed".to_owned()), ..answer }.with_usage(10, 5)
    }

    /// The same in Gemini's.
    #[must_use]
    pub fn gemini(pieces: &[&str]) -> Self {
        let answer = Self { dialect: Dialect::Gemini, ..Self::chat(pieces) };
        Self { finish: Some("STOP".to_owned()), ..answer }.with_usage(10, 5)
    }

    /// The same in any.
    #[must_use]
    pub fn of(dialect: Dialect, pieces: &[&str]) -> Self {
        match dialect {
            Dialect::Chat => Self::chat(pieces),
            Dialect::Messages => Self::messages(pieces),
            Dialect::Responses => Self::responses(pieces),
            Dialect::Gemini => Self::gemini(pieces),
        }
    }

    /// As the vendor names the model that answers.
    #[must_use]
    pub fn by(mut self, model: &str) -> Self {
        model.clone_into(&mut self.model);
        self
    }

    #[must_use]
    pub fn with_usage(self, input: u64, output: u64) -> Self {
        let usage = match self.dialect {
            Dialect::Chat => json!({
                "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
            }),
            Dialect::Messages => json!({ "input_tokens": input, "output_tokens": output }),
            Dialect::Responses => json!({
                "input_tokens": input, "input_tokens_details": { "cached_tokens": 0 },
                "output_tokens": output, "output_tokens_details": { "reasoning_tokens": 0 },
                "total_tokens": input + output,
            }),
            Dialect::Gemini => json!({
                "promptTokenCount": input, "candidatesTokenCount": output, "totalTokenCount": input + output,
            }),
        };
        self.with_raw_usage(usage)
    }

    /// Whatever the vendor says; null for nothing at all.
    #[must_use]
    pub fn with_raw_usage(mut self, usage: Value) -> Self {
        self.usage = usage;
        self
    }

    /// Thinks aloud before it says anything. Chat completions have no place for the signature.
    #[must_use]
    pub fn thinking(mut self, thought: &str, signature: &str) -> Self {
        self.thought = Some((thought.to_owned(), signature.to_owned()));
        self
    }

    /// `fragments` add up to the arguments.
    #[must_use]
    pub fn calling(mut self, name: &str, fragments: &[&str]) -> Self {
        let fragments = fragments.iter().map(|fragment| (*fragment).to_owned()).collect();
        self.calls.push((name.to_owned(), fragments));
        self.finish = Some(match self.dialect {
            Dialect::Chat => "tool_calls".to_owned(),
            Dialect::Messages => "tool_use".to_owned(),
            Dialect::Responses => "completed".to_owned(),
            // Calls end with the word for a plain end.
            Dialect::Gemini => "STOP".to_owned(),
        });
        self
    }

    /// Why it ended, in the vendor's word.
    #[must_use]
    pub fn finishing(mut self, reason: &str) -> Self {
        self.finish = Some(reason.to_owned());
        self
    }

    /// Does not say why it ended.
    #[must_use]
    pub fn without_finish(mut self) -> Self {
        self.finish = None;
        self
    }

    #[must_use]
    pub fn text(&self) -> String {
        self.pieces.concat()
    }

    #[must_use]
    pub fn whole(&self) -> Reply {
        Reply::json(&match self.dialect {
            Dialect::Chat => self.whole_chat(),
            Dialect::Messages => self.whole_message(),
            Dialect::Responses => self.whole_response(),
            Dialect::Gemini => self.whole_gemini(),
        })
    }

    /// One event for each piece; see [`Answer::events`].
    #[must_use]
    pub fn stream(&self) -> Reply {
        Reply::events(self.events())
    }

    /// The stream without what tells its end: `[DONE]`, `message_stop`, or the last event.
    #[must_use]
    pub fn stream_without_end(&self) -> Reply {
        let mut events = self.events();
        events.pop();
        Reply::events(events)
    }

    /// Chat: the role, one for each piece, the calls, the finish, the usage, `[DONE]`. The others: as their vendors order them.
    #[must_use]
    pub fn events(&self) -> Vec<Vec<u8>> {
        match self.dialect {
            Dialect::Chat => self.chat_events(),
            Dialect::Messages => self.message_events(),
            Dialect::Responses => self.response_events(),
            Dialect::Gemini => self.gemini_events(),
        }
    }

    fn whole_chat(&self) -> Value {
        let calls: Vec<Value> = (0..)
            .zip(&self.calls)
            .map(|(index, (name, fragments))| call(index, name, &fragments.concat()))
            .collect();
        let mut message = json!({ "role": "assistant", "content": self.text(), "refusal": null });
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        if let Some((thought, _)) = &self.thought {
            message["reasoning_content"] = thought.as_str().into();
        }
        let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": self.finish });
        let mut answer = json!({
            "id": ID, "object": "chat.completion", "created": CREATED, "model": self.model, "choices": [choice],
        });
        if !self.usage.is_null() {
            answer["usage"] = self.usage.clone();
        }
        answer
    }

    fn chat_events(&self) -> Vec<Vec<u8>> {
        let chunk = |choices: Value, usage: &Value| {
            let chunk = json!({
                "id": ID, "object": "chat.completion.chunk", "created": CREATED, "model": self.model,
                "choices": choices, "usage": usage,
            });
            format!("data: {chunk}\n\n").into_bytes()
        };
        let delta = |delta: Value, reason: Option<&str>| {
            let choice =
                json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": reason });
            chunk(json!([choice]), &Value::Null)
        };
        let mut events =
            vec![delta(json!({ "role": "assistant", "content": "", "refusal": null }), None)];
        let thought = self.thought.iter();
        events.extend(
            thought.map(|(thought, _)| delta(json!({ "reasoning_content": thought }), None)),
        );
        events.extend(self.pieces.iter().map(|piece| delta(json!({ "content": piece }), None)));
        for (index, (name, fragments)) in (0..).zip(&self.calls) {
            events.push(delta(json!({ "tool_calls": [call(index, name, "")] }), None));
            events.extend(fragments.iter().map(|fragment| {
                let call = json!({ "index": index, "function": { "arguments": fragment } });
                delta(json!({ "tool_calls": [call] }), None)
            }));
        }
        if let Some(reason) = &self.finish {
            events.push(delta(json!({}), Some(reason)));
        }
        if !self.usage.is_null() {
            events.push(chunk(json!([]), &self.usage));
        }
        events.push(b"data: [DONE]\n\n".to_vec());
        events
    }

    fn whole_message(&self) -> Value {
        let mut content = Vec::new();
        content.extend(self.thought.iter().map(|(thought, signature)| {
            json!({ "type": "thinking", "thinking": thought, "signature": signature })
        }));
        content.push(json!({ "type": "text", "text": self.text() }));
        content.extend((0..).zip(&self.calls).map(|(index, (name, fragments))| {
            let input: Value = serde_json::from_str(&fragments.concat()).expect("arguments are JSON");
            json!({ "type": "tool_use", "id": format!("toolu_{index}"), "name": name, "input": input })
        }));
        json!({
            "id": ID, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": self.finish, "stop_sequence": null, "usage": self.usage,
        })
    }

    fn message_events(&self) -> Vec<Vec<u8>> {
        let event = |name: &str, mut data: Value| {
            data["type"] = name.into();
            format!("event: {name}\ndata: {data}\n\n").into_bytes()
        };
        let message = json!({
            "id": ID, "type": "message", "role": "assistant", "model": self.model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": self.usage,
        });
        let mut events = vec![event("message_start", json!({ "message": message }))];
        let block = |index: usize, start: Value, deltas: Vec<Value>, events: &mut Vec<Vec<u8>>| {
            events.push(event(
                "content_block_start",
                json!({ "index": index, "content_block": start }),
            ));
            for delta in deltas {
                events
                    .push(event("content_block_delta", json!({ "index": index, "delta": delta })));
            }
            events.push(event("content_block_stop", json!({ "index": index })));
        };
        let mut index = 0;
        if let Some((thought, signature)) = &self.thought {
            let start = json!({ "type": "thinking", "thinking": "", "signature": "" });
            let deltas = vec![
                json!({ "type": "thinking_delta", "thinking": thought }),
                json!({ "type": "signature_delta", "signature": signature }),
            ];
            block(index, start, deltas, &mut events);
            index += 1;
        }
        let texts = self.pieces.iter().map(|text| json!({ "type": "text_delta", "text": text }));
        block(index, json!({ "type": "text", "text": "" }), texts.collect(), &mut events);
        for (number, (name, fragments)) in (0..).zip(&self.calls) {
            let start = json!({ "type": "tool_use", "id": format!("toolu_{number}"), "name": name, "input": {} });
            let deltas = fragments
                .iter()
                .map(|fragment| json!({ "type": "input_json_delta", "partial_json": fragment }));
            index += 1;
            block(index, start, deltas.collect(), &mut events);
        }
        let delta = json!({ "stop_reason": self.finish, "stop_sequence": null });
        events.push(event("message_delta", json!({ "delta": delta, "usage": self.usage })));
        events.push(event("message_stop", json!({})));
        events
    }
}

fn call(index: usize, name: &str, arguments: &str) -> Value {
    json!({
        "index": index, "id": format!("call_{index}"), "type": "function",
        "function": { "name": name, "arguments": arguments },
    })
}
