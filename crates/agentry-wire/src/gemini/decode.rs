//! From Gemini's answers, whole or streamed, to events.

use agentry_core::chat::{Assembly, CallKind, ChatResponse, Event, FinishReason, Head, Usage};
use agentry_core::model::ModelError;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::from_error;
use crate::error::Report;
use crate::{Decode, Step, reasoning, sse};

const EVENT_BYTES_MAX: usize = 64 << 20;

/// A streamed answer as far as it has come. It has no last word: it is complete when every candidate has ended.
#[derive(Debug)]
pub struct Decoder {
    frames: sse::Decoder,
    told: Told,
    over: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    #[must_use]
    pub fn new() -> Self {
        Self { frames: sse::Decoder::new(EVENT_BYTES_MAX), told: Told::default(), over: false }
    }

    fn read(&mut self, frames: &[sse::Frame], steps: &mut Vec<Step>) {
        for frame in frames {
            if self.over {
                return;
            }
            if let Err(error) = self.told.frame(&frame.data, steps) {
                self.fail(error, steps);
            }
        }
    }

    fn fail(&mut self, error: ModelError, steps: &mut Vec<Step>) {
        // What was used so far is paid for, whatever became of the answer.
        steps.extend(self.told.usage.take().map(|usage| Ok(Event::Usage(usage))));
        steps.push(Err(error));
        self.over = true;
    }
}

impl Decode for Decoder {
    fn push(&mut self, bytes: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut frames = Vec::new();
        let pushed = if self.over { Ok(()) } else { self.frames.push(bytes, &mut frames) };
        self.read(&frames, &mut steps);
        if let Err(error) = pushed
            && !self.over
        {
            self.fail(ModelError::Malformed { reason: error.to_string() }, &mut steps);
        }
        steps
    }

    fn end(&mut self, error: Option<ModelError>) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.over {
            return steps;
        }
        let mut frames = Vec::new();
        self.frames.finish(&mut frames);
        // A frame that was cut in the middle is not an unreadable one: the cut is what is wrong.
        frames.retain(|frame| serde_json::from_slice::<serde::de::IgnoredAny>(&frame.data).is_ok());
        self.read(&frames, &mut steps);
        if self.over {
            return steps;
        }
        if self.told.is_complete() {
            self.told.finish(&mut steps);
            self.over = true;
        } else {
            self.fail(error.unwrap_or(ModelError::Truncated), &mut steps);
        }
        steps
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn is_complete(&self) -> bool {
        !self.over && self.told.is_complete()
    }
}

/// A whole answer.
pub fn response(body: &[u8], model: &str) -> Result<ChatResponse, ModelError> {
    let chunk: Chunk = serde_json::from_slice(body)
        .map_err(|error| ModelError::Malformed { reason: error.to_string() })?;
    if let Some(error) = chunk.error.as_ref().filter(|error| !error.is_null()) {
        let status =
            error.get("code").and_then(Value::as_u64).and_then(|code| code.try_into().ok());
        return Err(from_error(status.unwrap_or(500), error, model));
    }
    let mut told = Told::default();
    let mut steps = Vec::new();
    told.chunk(chunk, &mut steps)?;
    if told.candidates.is_empty() {
        return Err(ModelError::Malformed { reason: "it has no candidates".to_owned() });
    }
    told.finish(&mut steps);
    let mut assembly = Assembly::default();
    for step in steps {
        assembly.push(step?);
    }
    Ok(assembly.into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    #[serde(default)]
    candidates: Option<Vec<Candidate>>,
    #[serde(default)]
    prompt_feedback: Option<Feedback>,
    #[serde(default)]
    usage_metadata: Option<Counted>,
    #[serde(default)]
    model_version: Option<String>,
    #[serde(default)]
    response_id: Option<String>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    content: Option<Said>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    grounding_metadata: Option<Value>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    parts: Option<Vec<Part>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thought: bool,
    #[serde(default)]
    thought_signature: Option<String>,
    #[serde(default)]
    function_call: Option<Call>,
    #[serde(default)]
    inline_data: Option<Blob>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    args: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob {
    #[serde(default)]
    mime_type: String,
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    #[serde(default)]
    block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Counted {
    prompt_token_count: u64,
    tool_use_prompt_token_count: u64,
    cached_content_token_count: u64,
    candidates_token_count: u64,
    thoughts_token_count: u64,
}

impl From<Counted> for Usage {
    fn from(counted: Counted) -> Self {
        let Counted {
            prompt_token_count,
            tool_use_prompt_token_count,
            cached_content_token_count,
            candidates_token_count,
            thoughts_token_count,
        } = counted;
        Self {
            input_tokens: prompt_token_count.saturating_add(tool_use_prompt_token_count),
            cached_input_tokens: cached_content_token_count,
            output_tokens: candidates_token_count.saturating_add(thoughts_token_count),
            reasoning_tokens: thoughts_token_count,
            reported: Map::new(),
        }
    }
}

/// What was told so far.
#[derive(Debug, Default)]
struct Told {
    started: bool,
    id: String,
    candidates: Vec<Progress>,
    /// The last one counts.
    usage: Option<Usage>,
}

#[derive(Debug)]
struct Progress {
    index: u32,
    calls: u32,
    ended: bool,
}

impl Told {
    fn is_complete(&self) -> bool {
        !self.candidates.is_empty() && self.candidates.iter().all(|candidate| candidate.ended)
    }

    fn frame(&mut self, data: &[u8], steps: &mut Vec<Step>) -> Result<(), ModelError> {
        let data = data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_slice(data)
            .map_err(|error| ModelError::Malformed { reason: format!("a chunk: {error}") })?;
        self.chunk(chunk, steps)
    }

    fn chunk(&mut self, chunk: Chunk, steps: &mut Vec<Step>) -> Result<(), ModelError> {
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(ModelError::BrokeOff { message: Report::from_value(&error).message });
        }
        if !std::mem::replace(&mut self.started, true) {
            self.id = chunk.response_id.unwrap_or_default();
            let model = chunk.model_version.unwrap_or_default();
            steps.push(Ok(Event::Started(Head { id: self.id.clone(), model, ..Head::default() })));
        }
        if let Some(counted) = chunk.usage_metadata {
            self.usage = Some(counted.into());
        }
        for candidate in chunk.candidates.unwrap_or_default() {
            self.candidate(candidate, steps);
        }
        // What blocks a prompt ends the answer before it begins.
        if chunk.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some())
            && self.candidates.is_empty()
        {
            self.candidates.push(Progress { index: 0, calls: 0, ended: true });
            steps.push(Ok(Event::Finished { choice: 0, reason: FinishReason::ContentFilter }));
        }
        Ok(())
    }

    fn candidate(&mut self, candidate: Candidate, steps: &mut Vec<Step>) {
        let Candidate { index: choice, content, finish_reason, grounding_metadata } = candidate;
        let known = self.candidates.iter().position(|known| known.index == choice);
        let progress = match known.and_then(|at| self.candidates.get_mut(at)) {
            Some(progress) => progress,
            None => self.candidates.push_mut(Progress { index: choice, calls: 0, ended: false }),
        };
        for part in content.and_then(|content| content.parts).unwrap_or_default() {
            tell(part, progress, &self.id, steps);
        }
        if let Some(grounding) = grounding_metadata {
            let fields = [("grounding_metadata".to_owned(), grounding)].into_iter().collect();
            steps.push(Ok(Event::Extra { choice, fields }));
        }
        if let Some(reason) = finish_reason.filter(|reason| !reason.is_empty())
            && !std::mem::replace(&mut progress.ended, true)
        {
            let reason = finish(&reason, progress.calls > 0);
            steps.push(Ok(Event::Finished { choice, reason }));
        }
    }

    fn finish(&mut self, steps: &mut Vec<Step>) {
        steps.extend(self.usage.take().map(|usage| Ok(Event::Usage(usage))));
        steps.push(Ok(Event::Done));
    }
}

fn tell(part: Part, progress: &mut Progress, id: &str, steps: &mut Vec<Step>) {
    let Part { text, thought, thought_signature, function_call, inline_data } = part;
    let choice = progress.index;
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        steps.push(Ok(match thought {
            true => Event::Reasoning { choice, text },
            false => Event::Text { choice, text },
        }));
    }
    let mut signed = None;
    if let Some(Call { id: given, name, args }) = function_call {
        let index = progress.calls;
        progress.calls += 1;
        // The answer to the call needs one, and another turn may have calls of its own.
        let id = given
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| format!("call_{id}_{choice}_{index}"));
        signed = Some(id.clone());
        steps.push(Ok(Event::ToolCall { choice, index, id, kind: CallKind::Function, name }));
        let fragment = Value::Object(args.unwrap_or_default()).to_string();
        steps.push(Ok(Event::ToolArguments { choice, index, fragment }));
    }
    if let Some(signature) = thought_signature {
        let mut detail = reasoning::encrypted(&signature, reasoning::GEMINI, 0);
        if let (Some(id), Value::Object(fields)) = (signed, &mut detail) {
            fields.insert("id".to_owned(), id.into());
        }
        steps.push(Ok(reasoning::told(choice, detail)));
    }
    if let Some(Blob { mime_type, data }) = inline_data {
        let url = format!("data:{mime_type};base64,{data}");
        let image = json!([{ "type": "image_url", "image_url": { "url": url } }]);
        let fields = [("images".to_owned(), image)].into_iter().collect();
        steps.push(Ok(Event::Extra { choice, fields }));
    }
}

/// Calls end with the word for a plain end.
fn finish(reason: &str, calls: bool) -> FinishReason {
    match reason {
        "STOP" if calls => FinishReason::ToolCalls,
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests;
