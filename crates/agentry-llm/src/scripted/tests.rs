use agentry_core::chat::{CallKind, Event, FinishReason, Message, Usage};
use agentry_core::model::collect;

use super::*;

const SCRIPT: &str = r#"
[[rules]]
when = { user_contains = "weather", tool_results = false }
answer = { text = "I look.", tool_calls = [{ name = "get_weather", arguments = { city = "Paris" } }, { name = "oops", arguments = "{" }] }

[[rules]]
when = { tool_results = true, tool_result_contains = ["RAIN", "cold"] }
answer = { text = "Stay in.", usage = { input = 40, output = 4, cached_input = 8 } }

[[rules]]
when = { user_contains = "overload" }
error = { status = 429, message = "slow down", retry_after_ms = 100 }

[[rules]]
when = { user_contains = "cut" }
answer = { text = "abcdef" }
pace = { chunk_chars = 2, cut_after = 2 }

[[rules]]
when = { user_contains = "report" }
answer = { text = "abcdef" }
pace = { chunk_chars = 4, error_after = 1 }

[[rules]]
when = { model = "big", system_contains = "brief" }
answer = { text = "Short.", finish_reason = "length" }
"#;

fn scripted() -> Scripted {
    Scripted::new(Script::from_toml(SCRIPT).unwrap())
}

fn request(messages: Vec<Message>) -> ChatRequest {
    ChatRequest { model: "big".to_owned(), messages, ..ChatRequest::default() }
}

/// The events without the head.
async fn play(messages: Vec<Message>) -> Result<Vec<Result<Event, ModelError>>, ModelError> {
    let cx = CallContext::new("7", "test");
    let mut events: Vec<_> = scripted().stream(&cx, request(messages)).await?.collect().await;
    let Ok(Event::Started(head)) = events.remove(0) else { panic!("it begins with {events:?}") };
    assert_eq!((head.id.as_str(), head.model.as_str()), ("chatcmpl-scripted-7", "big"));
    assert_eq!(head.extra["system_fingerprint"], "scripted");
    Ok(events)
}

async fn check(messages: Vec<Message>, expected: &[Result<Event, ModelError>]) {
    assert_eq!(play(messages).await.unwrap(), expected);
}

fn says(text: &str) -> Result<Event, ModelError> {
    Ok(Event::Text { choice: 0, text: text.to_owned() })
}

fn finished(reason: FinishReason) -> Result<Event, ModelError> {
    Ok(Event::Finished { choice: 0, reason })
}

#[tokio::test]
async fn the_first_rule_that_matches_answers() {
    let call = |index, name: &str| {
        let (id, name) = (format!("call_scripted_1_{index}"), name.to_owned());
        Ok(Event::ToolCall { choice: 0, index, id, kind: CallKind::Function, name })
    };
    let writes = |index, fragment: &str| {
        Ok(Event::ToolArguments { choice: 0, index, fragment: fragment.to_owned() })
    };
    let asked = vec![Message::user("How is the WEATHER?")];
    let expected = [
        says("I look."),
        call(0, "get_weather"),
        writes(0, r#"{"city":"Paris"}"#),
        call(1, "oops"),
        writes(1, "{"),
        finished(FinishReason::ToolCalls),
        Ok(Event::Done),
    ];
    check(asked.clone(), &expected).await;

    let answered = [asked, vec![Message::tool("a", "rain"), Message::tool("b", "cold")]].concat();
    let usage = Usage { cached_input_tokens: 8, ..Usage::new(40, 4) };
    let expected =
        [says("Stay in."), finished(FinishReason::Stop), Ok(Event::Usage(usage)), Ok(Event::Done)];
    check(answered, &expected).await;

    let brief = vec![Message::system("Be brief."), Message::user("hi")];
    check(brief, &[says("Short."), finished(FinishReason::Length), Ok(Event::Done)]).await;
}

#[tokio::test]
async fn an_answer_can_break_off() {
    let cut = [says("ab"), says("cd"), Err(ModelError::Truncated)];
    check(vec![Message::user("cut it")], &cut).await;
    let message = "the script says so".to_owned();
    let reported = [says("abcd"), Err(ModelError::BrokeOff { message })];
    check(vec![Message::user("report it")], &reported).await;
}

#[tokio::test]
async fn a_rule_can_refuse_and_what_no_rule_matches_is_refused() {
    let after = Some(Duration::from_millis(100));
    let limited = ModelError::RateLimited { message: "slow down".to_owned(), after };
    assert_eq!(play(vec![Message::user("overload")]).await, Err(limited));
    let Err(error) = play(vec![Message::user("hello?")]).await else { panic!() };
    assert!(error.to_string().contains("no rule of the script matches `hello?`"), "{error}");
}

#[tokio::test]
async fn a_paced_answer_is_the_same_answer() {
    let toml = r#"
        [[rules]]
        answer = { text = "äöü", tool_calls = [{ name = "f", arguments = "{}" }] }
        pace = { first_ms = 1, chunk_ms = 1, chunk_chars = 1 }
    "#;
    let json = r#"{"rules": [{"answer": {"text": "äöü", "tool_calls": [{"name": "f", "arguments": {}}]}}]}"#;
    let cx = CallContext::new("7", "test");
    let mut answers = Vec::new();
    for script in [Script::from_toml(toml).unwrap(), Script::from_json(json).unwrap()] {
        let stream = Scripted::new(script).stream(&cx, request(vec![Message::user("hi")])).await;
        answers.push(collect(stream.unwrap()).await.unwrap());
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].text(), "äöü");
}

#[test]
fn everything_that_is_wrong_with_a_script_is_said_at_once() {
    let broken = r#"
        title = "x"
        [[rules]]
        when = { user_contain = "a" }
        answer = { text = "b" }
        error = { status = 429, message = "c" }
        [[rules]]
        answer = { }
        pace = { chunk_chars = 0, cut_after = 1, error_after = 2 }
        delay = 7
        [[rules]]
        error = { status = 200, message = "fine" }
        [[rules]]
        answer = { tool_calls = [{ name = "f", arguments = 7 }] }
        [[rules]]
        when = { user_contains = 7 }
    "#;
    let Problems(problems) = Script::from_toml(broken).unwrap_err();
    let expected = [
        "script: there is no `title` here",
        "rules[0]: give either an `answer` or an `error`",
        "rules[0].when: unknown field `user_contain`",
        "rules[1]: there is no `delay` here",
        "rules[1].pace: chunk_chars must be at least 1",
        "rules[1].pace: give either cut_after or error_after",
        "rules[1].answer: it says nothing",
        "rules[2].error.status: an error's status is from 400 to 599",
        "rules[3].answer.tool_calls[0].arguments: a table, or a string",
        "rules[4]: give either an `answer` or an `error`",
        "rules[4].when: ",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem} instead of {expected}");
    }
    for (text, expected) in
        [("", "rules: there are none"), ("rules = 1", "rules: "), ("[[", "TOML parse error")]
    {
        let problems = Script::from_toml(text).unwrap_err().to_string();
        assert!(problems.starts_with(expected), "{problems}");
    }
    assert!(Script::from_json("{").is_err());
}
