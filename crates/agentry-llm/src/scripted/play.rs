//! Which rule answers a request, and the answer as timed events. Pure.

use std::time::Duration;

use agentry_core::chat::{CallKind, ChatRequest, Event, Head, Message, Role};
use agentry_core::model::ModelError;
use serde_json::Map;

use super::script::{Answer, OneOrMany, Pace, Refusal, Rule, Script, Then, When};
use agentry_wire::error::{Report, from_report};

type Step = Result<Event, ModelError>;

pub(super) struct Performance {
    /// How long nothing happens.
    pub(super) before: Duration,
    /// Each event, and how long it takes to come.
    pub(super) outcome: Result<Vec<(Duration, Step)>, ModelError>,
}

pub(super) fn perform(script: &Script, call_id: &str, request: &ChatRequest) -> Performance {
    let Some(rule) = script.rules.iter().find(|rule| matches(&rule.when, request)) else {
        return Performance { before: Duration::ZERO, outcome: Err(unmatched(request)) };
    };
    let Rule { when: _, then, pace } = rule;
    let outcome = match then {
        Then::Answer(answer) => Ok(timed(tell(answer, pace, call_id, request), pace)),
        Then::Refuse(refusal) => Err(refuse(refusal, &request.model)),
    };
    Performance { before: pace.first(), outcome }
}

fn matches(when: &When, request: &ChatRequest) -> bool {
    let When { model, system_contains, user_contains, tool_results, tool_result_contains } = when;
    let since_user = request.messages.rsplit(|message| message.role == Role::User);
    let tools: Vec<&Message> =
        since_user.take(1).flatten().filter(|message| message.role == Role::Tool).collect();
    let system = request
        .messages
        .iter()
        .filter(|message| matches!(message.role, Role::System | Role::Developer));
    model.as_ref().is_none_or(|model| *model == request.model)
        && contains(system_contains, || joined(system))
        && contains(user_contains, || request.last_user_text())
        && tool_results.is_none_or(|wanted| wanted != tools.is_empty())
        && contains(tool_result_contains, || joined(tools.iter().copied()))
}

fn contains(wanted: &OneOrMany, text: impl FnOnce() -> String) -> bool {
    if wanted.0.is_empty() {
        return true;
    }
    let text = text().to_lowercase();
    wanted.0.iter().all(|wanted| text.contains(&wanted.to_lowercase()))
}

fn joined<'a>(messages: impl Iterator<Item = &'a Message>) -> String {
    messages.map(Message::text).collect::<Vec<_>>().join("\n")
}

fn unmatched(request: &ChatRequest) -> ModelError {
    let text = request.last_user_text();
    let start: String = text.chars().take(80).collect();
    ModelError::Invalid {
        message: format!("no rule of the script matches `{start}`: add one that does"),
        param: Some("messages".to_owned()),
        upstream_code: Some("no_rule".to_owned()),
    }
}

fn refuse(refusal: &Refusal, model: &str) -> ModelError {
    let Refusal { status, message, code, retry_after_ms } = refusal;
    let report = Report { message: message.clone(), param: None, code: code.clone() };
    from_report(*status, report, retry_after_ms.map(Duration::from_millis), model)
}

fn tell(answer: &Answer, pace: &Pace, call_id: &str, request: &ChatRequest) -> Vec<Event> {
    let Answer { text, calls, usage, finish_reason } = answer;
    let choice = 0;
    let mut events = vec![Event::Started(head(call_id, &request.model))];
    for text in pieces(text.as_deref().unwrap_or(""), pace) {
        events.push(Event::Text { choice, text });
    }
    let turn = request.messages.len();
    for (index, call) in (0..).zip(calls) {
        let id = format!("call_scripted_{turn}_{index}");
        let kind = CallKind::Function;
        events.push(Event::ToolCall { choice, index, id, kind, name: call.name.clone() });
        for fragment in pieces(&call.arguments, pace) {
            events.push(Event::ToolArguments { choice, index, fragment });
        }
    }
    events.push(Event::Finished { choice, reason: finish_reason.clone() });
    events.extend(usage.clone().map(Event::Usage));
    events.push(Event::Done);
    events
}

fn head(call_id: &str, model: &str) -> Head {
    let mut extra = Map::new();
    extra.insert("system_fingerprint".to_owned(), "scripted".into());
    Head { id: format!("chatcmpl-scripted-{call_id}"), model: model.to_owned(), created: 0, extra }
}

fn pieces(text: &str, pace: &Pace) -> Vec<String> {
    let Some(size) = pace.chunk_chars else {
        return if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
    };
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(size.max(1)).map(|piece| piece.iter().collect()).collect()
}

/// Paces the events that carry something, and breaks off where the rule says so.
fn timed(events: Vec<Event>, pace: &Pace) -> Vec<(Duration, Step)> {
    let mut steps = Vec::new();
    let mut chunks = 0;
    for event in events {
        let is_chunk = matches!(
            event,
            Event::Text { .. } | Event::ToolCall { .. } | Event::ToolArguments { .. }
        );
        if let Some(error) = breaks(pace, chunks)
            && !matches!(event, Event::Started(_))
        {
            steps.push((pace.chunk(), Err(error)));
            return steps;
        }
        let wait = if is_chunk && chunks > 0 { pace.chunk() } else { Duration::ZERO };
        chunks += usize::from(is_chunk);
        steps.push((wait, Ok(event)));
    }
    steps
}

fn breaks(pace: &Pace, chunks: usize) -> Option<ModelError> {
    if pace.cut_after.is_some_and(|after| chunks >= after) {
        return Some(ModelError::Truncated);
    }
    let reports = pace.error_after.is_some_and(|after| chunks >= after);
    reports.then(|| ModelError::BrokeOff { message: "the script says so".to_owned() })
}
