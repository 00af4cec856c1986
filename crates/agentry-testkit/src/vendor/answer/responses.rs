//! The shape of OpenAI's Responses: items of output, and an event for each step of each.

use serde_json::{Value, json};

use super::{Answer, CREATED, ID};

impl Answer {
    pub(super) fn whole_response(&self) -> Value {
        self.response(self.finish.as_deref(), &self.items())
    }

    pub(super) fn response_events(&self) -> Vec<Vec<u8>> {
        let mut steps = vec![
            ("response.created", json!({ "response": self.response(None, &[]) })),
            ("response.in_progress", json!({ "response": self.response(None, &[]) })),
        ];
        for (at, item) in (0..).zip(self.items()) {
            let id = item["id"].clone();
            let mut begun = item.clone();
            begun["status"] = "in_progress".into();
            let place = |mut fields: Value| {
                fields["item_id"] = id.clone();
                fields["output_index"] = json!(at);
                fields
            };
            let kind = item["type"].as_str().unwrap_or_default().to_owned();
            for emptied in ["content", "summary"] {
                if begun.get(emptied).is_some() {
                    begun[emptied] = json!([]);
                }
            }
            if kind == "function_call" {
                begun["arguments"] = "".into();
            }
            steps
                .push(("response.output_item.added", json!({ "output_index": at, "item": begun })));
            match kind.as_str() {
                "message" => self.text_steps(&item, place, &mut steps),
                "function_call" => self.call_steps(&item, place, &mut steps),
                _ => {}
            }
            steps.push(("response.output_item.done", json!({ "output_index": at, "item": item })));
        }
        let last = match self.finish.as_deref() {
            Some("incomplete") => "response.incomplete",
            Some("failed") => "response.failed",
            _ => "response.completed",
        };
        steps.push((last, json!({ "response": self.whole_response() })));
        let numbered = (0..).zip(steps).map(|(number, (name, mut data))| {
            data["type"] = name.into();
            data["sequence_number"] = json!(number);
            format!("event: {name}\ndata: {data}\n\n").into_bytes()
        });
        numbered.collect()
    }

    fn text_steps(
        &self,
        item: &Value,
        place: impl Fn(Value) -> Value,
        steps: &mut Vec<(&'static str, Value)>,
    ) {
        let part = &item["content"][0];
        let mut empty = part.clone();
        empty["text"] = "".into();
        let mut step = |name, mut fields: Value| {
            fields["content_index"] = 0.into();
            steps.push((name, place(fields)));
        };
        step("response.content_part.added", json!({ "part": empty }));
        for piece in &self.pieces {
            step("response.output_text.delta", json!({ "delta": piece, "logprobs": [] }));
        }
        step("response.output_text.done", json!({ "text": part["text"], "logprobs": [] }));
        step("response.content_part.done", json!({ "part": part }));
    }

    fn call_steps(
        &self,
        item: &Value,
        place: impl Fn(Value) -> Value,
        steps: &mut Vec<(&'static str, Value)>,
    ) {
        let fragments =
            (0..).zip(&self.calls).find(|(index, _)| item["call_id"] == format!("call_{index}"));
        for fragment in fragments.map(|(_, (_, fragments))| fragments).into_iter().flatten() {
            let fields = json!({ "delta": fragment });
            steps.push(("response.function_call_arguments.delta", place(fields)));
        }
        let fields = json!({ "arguments": item["arguments"], "name": item["name"] });
        steps.push(("response.function_call_arguments.done", place(fields)));
    }

    fn items(&self) -> Vec<Value> {
        let mut items = Vec::new();
        if let Some((thought, signature)) = &self.thought {
            let summary = json!([{ "type": "summary_text", "text": thought }]);
            items.push(json!({
                "type": "reasoning", "id": "rs_0", "summary": summary, "encrypted_content": signature,
            }));
        }
        if !self.pieces.is_empty() {
            let part = json!({
                "type": "output_text", "text": self.text(), "annotations": [], "logprobs": [],
            });
            items.push(json!({
                "type": "message", "id": "msg_0", "status": "completed", "role": "assistant",
                "content": [part],
            }));
        }
        items.extend((0..).zip(&self.calls).map(|(index, (name, fragments))| {
            json!({
                "type": "function_call", "id": format!("fc_{index}"), "status": "completed",
                "call_id": format!("call_{index}"), "name": name, "arguments": fragments.concat(),
            })
        }));
        items
    }

    /// Without a status it has only begun.
    fn response(&self, status: Option<&str>, output: &[Value]) -> Value {
        let usage = if status.is_some() { self.usage.clone() } else { Value::Null };
        json!({
            "id": ID, "object": "response", "created_at": CREATED, "status": status.unwrap_or("in_progress"),
            "background": false, "error": null, "incomplete_details": null, "instructions": null,
            "max_output_tokens": null, "model": self.model, "output": output, "parallel_tool_calls": true,
            "previous_response_id": null, "reasoning": { "effort": null, "summary": null }, "store": true,
            "temperature": 1.0, "text": { "format": { "type": "text" } }, "tool_choice": "auto", "tools": [],
            "top_p": 1.0, "truncation": "disabled", "usage": usage, "user": null, "metadata": {},
        })
    }
}
