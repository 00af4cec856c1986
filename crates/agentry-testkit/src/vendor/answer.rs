//! What a vendor says when all is well, whole or as a stream, in either dialect. What is wrong with it is added by
//! [`Reply`].

use serde_json::{Value, json};

use super::Reply;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's chat completions.
    Chat,
    /// Anthropic's Messages.
    Messages,
}

/// A good answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    dialect: Dialect,
    model: String,
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
        };
        self.with_raw_usage(usage)
    }

    /// Whatever the vendor says; null for nothing at all.
    #[must_use]
    pub fn with_raw_usage(mut self, usage: Value) -> Self {
        self.usage = usage;
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
        })
    }

    /// One event for each piece; see [`Answer::events`].
    #[must_use]
    pub fn stream(&self) -> Reply {
        Reply::events(self.events())
    }

    /// The stream without what tells its end: `[DONE]` or `message_stop`.
    #[must_use]
    pub fn stream_without_end(&self) -> Reply {
        let mut events = self.events();
        events.pop();
        Reply::events(events)
    }

    /// Chat: the role, one for each piece, the calls, the finish, the usage, `[DONE]`. Messages: as Anthropic orders them.
    #[must_use]
    pub fn events(&self) -> Vec<Vec<u8>> {
        match self.dialect {
            Dialect::Chat => self.chat_events(),
            Dialect::Messages => self.message_events(),
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
        let mut content = vec![json!({ "type": "text", "text": self.text() })];
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
        let texts = self.pieces.iter().map(|text| json!({ "type": "text_delta", "text": text }));
        block(0, json!({ "type": "text", "text": "" }), texts.collect(), &mut events);
        for (index, (name, fragments)) in (1..).zip(&self.calls) {
            let start = json!({ "type": "tool_use", "id": format!("toolu_{}", index - 1), "name": name, "input": {} });
            let deltas = fragments
                .iter()
                .map(|fragment| json!({ "type": "input_json_delta", "partial_json": fragment }));
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
