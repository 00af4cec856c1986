use std::collections::VecDeque;
use std::sync::Mutex;

use agentry_core::chat::{CallKind, ChatResponse, Choice, Content, FinishReason, Head, ToolCall};
use agentry_core::model::{Capabilities, ChatStream};
use agentry_core::tool::{Risks, ToolOutput, ToolSpec};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use serde_json::{Map, Value, json};

use super::*;

const LONG: Duration = Duration::from_secs(30);

/// Says its lines one after the other, and keeps what it was asked.
#[derive(Default)]
struct Actor {
    lines: Mutex<VecDeque<Line>>,
    asked: Mutex<Vec<ChatRequest>>,
}

enum Line {
    Says(ChatResponse),
    Fails(ModelError),
    Hangs,
}

#[async_trait]
impl ChatModel for Actor {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn stream(
        &self,
        _: &CallContext,
        request: ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        self.asked.lock().unwrap().push(request);
        let line = self.lines.lock().unwrap().pop_front();
        match line.expect("the model was asked more often than it has lines") {
            Line::Says(response) => {
                Ok(stream::iter(response.into_events().into_iter().map(Ok)).boxed())
            }
            Line::Fails(error) => Err(error),
            Line::Hangs => std::future::pending().await,
        }
    }
}

fn says(text: &str, reason: FinishReason, calls: &[(&str, &str)]) -> Line {
    let tool_calls = calls.iter().enumerate().map(|(at, (name, arguments))| ToolCall {
        id: format!("c{at}"),
        kind: CallKind::Function,
        name: (*name).to_owned(),
        arguments: (*arguments).to_owned(),
        extra: Map::new(),
    });
    let message = Message {
        content: Some(Content::Text(text.to_owned())),
        tool_calls: tool_calls.collect(),
        ..Message::assistant("")
    };
    Line::Says(ChatResponse {
        head: Head::default(),
        choices: vec![Choice {
            index: 0,
            message,
            finish_reason: Some(reason),
            logprobs: None,
            extra: Map::new(),
        }],
        usage: Some(Usage::new(10, 1)),
    })
}

fn answers(text: &str) -> Line {
    says(text, FinishReason::Stop, &[])
}

fn calls(calls: &[(&str, &str)]) -> Line {
    says("let me see", FinishReason::ToolCalls, calls)
}

struct Sum {
    spec: ToolSpec,
}

#[async_trait]
impl Tool for Sum {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, _: &ToolContext, arguments: Value) -> Result<ToolOutput, ToolError> {
        let numbers = arguments.get("numbers").and_then(Value::as_array);
        let Some(numbers) = numbers else {
            return Err(ToolError::InvalidArguments { reason: "`numbers` is missing".to_owned() });
        };
        if numbers.is_empty() {
            return std::future::pending().await;
        }
        Ok(ToolOutput(numbers.iter().filter_map(Value::as_i64).sum::<i64>().into()))
    }
}

fn tools() -> Vec<Arc<dyn Tool>> {
    let spec = ToolSpec {
        name: "sum".to_owned(),
        description: "adds numbers".to_owned(),
        parameters: json!({ "type": "object" }),
        effect: Effect::Read,
        risks: Risks::default(),
    };
    vec![Arc::new(Sum { spec })]
}

fn limits() -> Limits {
    Limits { tokens_max: Some(100), steps_max: 5, ..Limits::until(Instant::now() + LONG) }
}

async fn play(lines: Vec<Line>, limits: Limits) -> (Outcome, Vec<ChatRequest>) {
    let actor = Actor { lines: Mutex::new(lines.into()), asked: Mutex::default() };
    let cx = CallContext::new("t", "agent");
    let task = Task { model: "default", system: "add", user: "1 + 2?" };
    let outcome = run(&cx, &actor, &tools(), task, &limits).await;
    (outcome, actor.asked.into_inner().unwrap())
}

/// How it ended, what was said last, and what each tool call came to.
async fn check(lines: Vec<Line>, limits: Limits, stop: Stop, text: &str, results: &[&str]) {
    let (outcome, _) = play(lines, limits).await;
    let came_to: Vec<_> = outcome
        .steps
        .iter()
        .map(|step| match &step.result {
            Ok(text) => text.clone(),
            Err(error) => error.to_string(),
        })
        .collect();
    assert_eq!((outcome.stop, outcome.text.as_str()), (stop, text));
    assert_eq!(came_to, results);
}

#[tokio::test]
async fn the_model_gets_what_its_tools_return_and_answers() {
    let lines = vec![
        calls(&[("sum", r#"{"numbers":[1,2]}"#), ("sum", r#"{"numbers":[4]}"#)]),
        answers("3"),
    ];
    let (outcome, asked) = play(lines, limits()).await;
    assert_eq!((outcome.stop, outcome.text.as_str()), (Stop::Finished, "3"));
    assert_eq!(outcome.usage, Usage::new(20, 2));
    let step = |id: &str, arguments: &str, result: &str| Step {
        id: id.to_owned(),
        tool: "sum".to_owned(),
        arguments: arguments.to_owned(),
        result: Ok(result.to_owned()),
    };
    let steps = [step("c0", r#"{"numbers":[1,2]}"#, "3"), step("c1", r#"{"numbers":[4]}"#, "4")];
    assert_eq!(outcome.steps, steps);

    let [first, second] = asked.as_slice() else { panic!("asked {} times", asked.len()) };
    assert_eq!((first.model.as_str(), first.tools.len(), first.messages.len()), ("default", 1, 2));
    let told: Vec<_> = second.messages.iter().skip(2).map(Message::text).collect();
    let wrapped = |text: &str| format!("<tool_output tool=\"sum\">\n{text}\n</tool_output>");
    assert_eq!(told, ["let me see".to_owned(), wrapped("3"), wrapped("4")]);
    assert_eq!(second.messages[3].tool_call_id.as_deref(), Some("c0"));
}

#[tokio::test]
async fn what_goes_wrong_with_a_tool_is_told_to_the_model() {
    let lines = vec![
        calls(&[("sum", "{}")]),
        calls(&[("sum", "[1]"), ("sum", "{oops"), ("divide", "{}"), ("sum", "")]),
        answers("I give up"),
    ];
    let missing = "the arguments are wrong: `numbers` is missing";
    let malformed =
        "the arguments are wrong: they are not valid JSON: key must be a string at line 1 column 2";
    let unknown = "the arguments are wrong: there is no tool `divide`; there are: sum";
    let object = "the arguments are wrong: they must be a JSON object";
    let results = [missing, object, malformed, unknown, missing];
    check(lines, limits(), Stop::Finished, "I give up", &results).await;
}

#[tokio::test]
async fn a_loop_that_goes_in_circles_is_stopped() {
    let same = || calls(&[("sum", r#"{"numbers": [1]}"#)]);
    let other = || calls(&[("sum", r#"{"numbers":[1]}"#)]);
    let stuck = Stop::Stuck { tool: "sum".to_owned() };
    check(vec![same(), other(), same()], limits(), stuck.clone(), "let me see", &["1", "1"]).await;
    let malformed = || calls(&[("sum", "{")]);
    let wrong = "the arguments are wrong: they are not valid JSON: EOF while parsing an object at line 1 column 1";
    check(
        vec![malformed(), malformed(), malformed()],
        limits(),
        stuck,
        "let me see",
        &[wrong, wrong],
    )
    .await;
}

#[tokio::test]
async fn every_limit_ends_the_loop_with_its_own_reason() {
    let turn = |n: u32| calls(&[("sum", &format!(r#"{{"numbers":[{n}]}}"#))]);
    let two = Limits { steps_max: 2, ..limits() };
    check(vec![turn(1), turn(2)], two, Stop::StepLimit, "let me see", &["1"]).await;
    let cheap = Limits { tokens_max: Some(22), ..limits() };
    check(vec![turn(1), turn(2)], cheap, Stop::Budget, "let me see", &["1"]).await;
    let soon = || Limits { deadline: Instant::now() + Duration::from_millis(50), ..limits() };
    check(vec![turn(1), Line::Hangs], soon(), Stop::Deadline, "let me see", &["1"]).await;
    let cut = says("half an ans", FinishReason::Length, &[]);
    check(vec![cut], limits(), Stop::Cut("length".to_owned()), "half an ans", &[]).await;
    let error = ModelError::QuotaExhausted { message: "pay".to_owned() };
    let lines = vec![turn(1), Line::Fails(error.clone())];
    check(lines, limits(), Stop::ModelFailed(error), "let me see", &["1"]).await;
}

#[tokio::test]
async fn a_tool_that_hangs_is_given_up_and_the_loop_goes_on() {
    let hasty = Limits { tool_timeout: Duration::from_millis(20), ..limits() };
    let lines = vec![calls(&[("sum", r#"{"numbers":[]}"#)]), answers("no idea")];
    check(lines, hasty, Stop::Finished, "no idea", &["no result within 20 ms"]).await;
}

#[tokio::test]
async fn on_its_last_step_the_model_must_answer() {
    let two = Limits { steps_max: 2, ..limits() };
    let lines = vec![calls(&[("sum", r#"{"numbers":[1]}"#)]), answers("1")];
    let (outcome, asked) = play(lines, two).await;
    assert_eq!(outcome.stop, Stop::Finished);
    let choices: Vec<_> = asked.into_iter().map(|request| request.tool_choice).collect();
    assert_eq!(choices, [None, Some(ToolChoice::None)]);
}
