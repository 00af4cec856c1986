//! How much a model is to think, in the words of both sides.

use agentry_core::chat::{ChatRequest, ToolChoice};
use serde_json::{Map, Value, json};

use super::generation::Generation;

/// The least that the vendor lets a model think.
const BUDGET_MIN: u64 = 1_024;

/// What is asked of the model before it answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Thinking {
    pub(crate) asked: Option<Value>,
    effort: Option<&'static str>,
    pub(crate) max_tokens: u64,
    /// Asked for by us, on the strength of an effort: what does not go with it is left out.
    translated: bool,
}

/// Where something leaves no room for thoughts.
pub(crate) fn none(request: &ChatRequest, default: u64) -> Thinking {
    let given = request.max_completion_tokens.or(request.max_tokens);
    Thinking { max_tokens: given.unwrap_or(default), ..Thinking::default() }
}

pub(crate) fn of(request: &ChatRequest, generation: Generation, default: u64) -> Thinking {
    let given = request.max_completion_tokens.or(request.max_tokens);
    let plain = none(request, default);
    if let Some(own) = request.extra.get("thinking").filter(|own| own.is_object()) {
        return Thinking { asked: Some(own.clone()), ..plain };
    }
    // A tool that must be called leaves no room for thoughts.
    let forced = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    let Some(wish) = Wish::of(request).filter(|_| !forced) else { return plain };
    if generation.thinks_adaptively() {
        let asked = json!({ "type": "adaptive", "display": "summarized" });
        let effort = wish.effort(generation);
        return Thinking { asked: Some(asked), effort: Some(effort), translated: true, ..plain };
    }
    let budget = wish.budget().max(BUDGET_MIN);
    // The bound holds for thoughts and answer together; half of it at most is for thoughts.
    let (budget, max_tokens) = match given {
        Some(given) => (budget.min(given / 2), given),
        None => (budget, default.saturating_add(budget)),
    };
    if budget < BUDGET_MIN {
        return plain;
    }
    let asked = json!({ "type": "enabled", "budget_tokens": budget });
    Thinking { asked: Some(asked), effort: None, max_tokens, translated: true }
}

impl Thinking {
    pub(crate) fn output_config(&self, request: &ChatRequest) -> Map<String, Value> {
        let own = request.extra.get("output_config").and_then(Value::as_object).cloned();
        let mut config = own.unwrap_or_default();
        if let Some(effort) = self.effort {
            config.entry("effort").or_insert_with(|| effort.into());
        }
        config
    }

    pub(crate) fn allows_sampling(&self, generation: Generation) -> bool {
        !self.translated && !generation.refuses_sampling()
    }
}

/// What the caller says about it: a word, or a number of tokens.
enum Wish<'a> {
    Effort(&'a str),
    Tokens(u64),
}

impl<'a> Wish<'a> {
    fn of(request: &'a ChatRequest) -> Option<Self> {
        let effort = request.extra.get("reasoning_effort");
        let reasoning = request.extra.get("reasoning");
        let inner = |name: &str| reasoning.and_then(|fields| fields.get(name));
        let tokens = inner("max_tokens").and_then(Value::as_u64).map(Self::Tokens);
        let word = effort.or_else(|| inner("effort")).and_then(Value::as_str);
        word.map(Self::Effort).or(tokens).filter(|wish| !matches!(wish, Self::Effort("none")))
    }

    fn effort(&self, generation: Generation) -> &'static str {
        match *self {
            Self::Effort("minimal" | "low") | Self::Tokens(..2_048) => "low",
            Self::Effort("high") | Self::Tokens(8_192..) => "high",
            Self::Effort("xhigh") if generation.knows_xhigh() => "xhigh",
            Self::Effort("xhigh" | "max") => "max",
            Self::Effort(_) | Self::Tokens(_) => "medium",
        }
    }

    fn budget(&self) -> u64 {
        match *self {
            Self::Tokens(tokens) => tokens,
            Self::Effort("minimal" | "low") => BUDGET_MIN,
            Self::Effort("high") => 16_384,
            Self::Effort("xhigh" | "max") => 32_000,
            Self::Effort(_) => 4_096,
        }
    }
}

/// The word of chat completions for what a caller of Messages asks.
pub(super) fn effort(thinking: Option<&Value>, effort: Option<&str>) -> Option<&'static str> {
    match effort {
        Some("low") => return Some("low"),
        Some("medium") => return Some("medium"),
        Some("high") => return Some("high"),
        Some("xhigh" | "max") => return Some("xhigh"),
        _ => {}
    }
    let thinking = thinking?;
    if thinking.get("type").and_then(Value::as_str) != Some("enabled") {
        return None;
    }
    match thinking.get("budget_tokens").and_then(Value::as_u64)? {
        ..2_048 => Some("low"),
        2_048..8_192 => Some("medium"),
        8_192.. => Some("high"),
    }
}
