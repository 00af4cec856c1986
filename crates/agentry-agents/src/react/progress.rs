//! How far a loop has come, and what it does next. Pure.

use std::collections::HashMap;

use agentry_core::chat::{ChatResponse, FinishReason, Message, ToolCall, Usage};
use agentry_core::model::ModelError;
use agentry_core::tool::ToolError;
use serde_json::Value;

use super::{Complaint, Limits, Outcome};

/// So often the same call may be made; then the model is going in circles.
const REPEATS_MAX: u32 = 3;

/// Why a loop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    Finished,
    /// The answer ended for another reason than that it was complete: its length, a filter.
    Cut(String),
    StepLimit,
    Deadline,
    /// More tokens were used than were allowed.
    Budget,
    ModelFailed(ModelError),
    /// The same call, well-formed or not, was made three times.
    Stuck {
        tool: String,
    },
}

/// One tool call and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub id: String,
    pub tool: String,
    /// As the model wrote them.
    pub arguments: String,
    pub result: Result<String, ToolError>,
}

pub(super) enum Decision {
    Act {
        said: Message,
        calls: Vec<Planned>,
    },
    /// The answer is not good enough yet.
    Again {
        said: Message,
        complaint: String,
    },
    Stop(Stop),
}

/// A call that the model wants.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Planned {
    pub(super) id: String,
    pub(super) name: String,
    written: String,
    /// Where in the list of tools it is, if anywhere.
    pub(super) tool: Option<usize>,
    pub(super) arguments: Result<Value, ToolError>,
}

pub(super) struct Progress {
    names: Vec<String>,
    steps_max: u32,
    tokens_max: Option<u64>,
    calls_of_model: u32,
    made: HashMap<(String, String), u32>,
    text: String,
    steps: Vec<Step>,
    usage: Usage,
}

impl Progress {
    pub(super) fn new(limits: &Limits, names: Vec<String>) -> Self {
        Self {
            names,
            steps_max: limits.steps_max,
            tokens_max: limits.tokens_max,
            calls_of_model: 0,
            made: HashMap::new(),
            text: String::new(),
            steps: Vec::new(),
            usage: Usage::default(),
        }
    }

    /// How often the model was asked.
    pub(super) fn asked(&self) -> u32 {
        self.calls_of_model
    }

    /// How many calls of tools are over.
    pub(super) fn called(&self) -> usize {
        self.steps.len()
    }

    /// Whether the next call of the model is the last one allowed.
    pub(super) fn is_last_step(&self) -> bool {
        self.calls_of_model.saturating_add(1) >= self.steps_max
    }

    pub(super) fn answered(
        &mut self,
        response: ChatResponse,
        complaint: Option<&Complaint<'_>>,
    ) -> Decision {
        self.calls_of_model = self.calls_of_model.saturating_add(1);
        if let Some(usage) = &response.usage {
            self.usage.add(usage);
        }
        let Some(choice) = response.choices.into_iter().next() else {
            let reason = "it has no choices".to_owned();
            return Decision::Stop(Stop::ModelFailed(ModelError::Malformed { reason }));
        };
        let said = choice.message;
        let text = said.text();
        if !text.is_empty() {
            self.text = text;
        }
        if said.tool_calls.is_empty() {
            return match choice.finish_reason {
                Some(reason @ (FinishReason::Length | FinishReason::ContentFilter)) => {
                    Decision::Stop(Stop::Cut(reason.as_str().to_owned()))
                }
                Some(FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Other(_))
                | None => self.ended(said, complaint.and_then(|complaint| complaint(&self.text))),
            };
        }
        if self.calls_of_model >= self.steps_max {
            return Decision::Stop(Stop::StepLimit);
        }
        if self.tokens_max.is_some_and(|tokens_max| self.usage.total_tokens() >= tokens_max) {
            return Decision::Stop(Stop::Budget);
        }
        self.act(said)
    }

    fn ended(&self, said: Message, complaint: Option<String>) -> Decision {
        match complaint {
            None => Decision::Stop(Stop::Finished),
            Some(complaint) if self.calls_of_model >= self.steps_max => {
                Decision::Stop(Stop::Cut(complaint))
            }
            Some(complaint) => Decision::Again { said, complaint },
        }
    }

    fn act(&mut self, said: Message) -> Decision {
        let calls: Vec<_> = said.tool_calls.iter().map(|call| self.plan(call)).collect();
        for call in &calls {
            let made = self.made.entry((call.name.clone(), call.canonical())).or_default();
            *made += 1;
            if *made >= REPEATS_MAX {
                return Decision::Stop(Stop::Stuck { tool: call.name.clone() });
            }
        }
        Decision::Act { said, calls }
    }

    fn plan(&self, call: &ToolCall) -> Planned {
        let ToolCall { id, kind: _, name, arguments, extra: _ } = call;
        Planned {
            id: id.clone(),
            name: name.clone(),
            written: arguments.clone(),
            tool: self.names.iter().position(|known| known == name),
            arguments: parse(arguments),
        }
    }

    pub(super) fn record(&mut self, call: Planned, result: Result<String, ToolError>) {
        let Planned { id, name, written, .. } = call;
        self.steps.push(Step { id, tool: name, arguments: written, result });
    }

    pub(super) fn into_outcome(self, stop: Stop) -> Outcome {
        Outcome { stop, text: self.text, steps: self.steps, usage: self.usage }
    }
}

impl Planned {
    /// The same for two calls that differ only in white space or in how they are malformed outwardly.
    fn canonical(&self) -> String {
        match &self.arguments {
            Ok(arguments) => arguments.to_string(),
            Err(_) => self.written.trim().to_owned(),
        }
    }
}

/// Models leave out the arguments of tools that have none.
fn parse(arguments: &str) -> Result<Value, ToolError> {
    if arguments.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let reason = match serde_json::from_str(arguments) {
        Ok(object @ Value::Object(_)) => return Ok(object),
        Ok(_) => "they must be a JSON object".to_owned(),
        Err(error) => format!("they are not valid JSON: {error}"),
    };
    Err(ToolError::InvalidArguments { reason })
}
