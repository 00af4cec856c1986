//! Gemini's shape: a thought, the text and the calls are parts; the account is in every chunk, and nothing is said at the end.

use serde_json::{Value, json};

use super::{Answer, ID};

impl Answer {
    pub(super) fn whole_gemini(&self) -> Value {
        let mut parts = self.thought_part();
        if !self.pieces.is_empty() {
            parts.push(json!({ "text": self.text() }));
        }
        parts.extend(self.call_parts());
        self.chunk(&parts, true)
    }

    pub(super) fn gemini_events(&self) -> Vec<Vec<u8>> {
        let mut chunks: Vec<Vec<Value>> =
            self.thought_part().into_iter().map(|part| vec![part]).collect();
        chunks.extend(self.pieces.iter().map(|piece| vec![json!({ "text": piece })]));
        // A call always comes whole.
        chunks.push(self.call_parts());
        let last = chunks.len() - 1;
        let chunks = (0..).zip(&chunks).map(|(at, parts)| self.chunk(parts, at == last));
        chunks.map(|chunk| format!("data: {chunk}\r\n\r\n").into_bytes()).collect()
    }

    fn thought_part(&self) -> Vec<Value> {
        let thought = self.thought.iter();
        thought.map(|(thought, _)| json!({ "text": thought, "thought": true })).collect()
    }

    /// The signature of a thought stands with the first call that came of it.
    fn call_parts(&self) -> Vec<Value> {
        let mut parts: Vec<Value> = Vec::new();
        for (name, fragments) in &self.calls {
            let arguments: Value =
                serde_json::from_str(&fragments.concat()).expect("arguments are JSON");
            parts.push(json!({ "functionCall": { "name": name, "args": arguments } }));
        }
        if let (Some(first), Some((_, signature))) = (parts.first_mut(), &self.thought) {
            first["thoughtSignature"] = signature.as_str().into();
        }
        parts
    }

    fn chunk(&self, parts: &[Value], is_last: bool) -> Value {
        let mut candidate = json!({ "content": { "parts": parts, "role": "model" }, "index": 0 });
        if let (true, Some(reason)) = (is_last, &self.finish) {
            candidate["finishReason"] = reason.as_str().into();
        }
        let mut chunk =
            json!({ "candidates": [candidate], "modelVersion": self.model, "responseId": ID });
        if !self.usage.is_null() {
            chunk["usageMetadata"] = self.usage.clone();
        }
        chunk
    }
}
