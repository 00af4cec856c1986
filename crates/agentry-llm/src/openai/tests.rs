use std::time::Duration;

use agentry_core::chat::{Content, Event, FinishReason, Message, Usage};
use agentry_core::embed::{Embedder as _, EmbeddingInput, EmbeddingRequest, Vector};
use agentry_http::Settings as HttpSettings;
use serde_json::{Value, json};

use super::*;
use crate::testing::{Heard, LONG, Then, Vendor, cx, http, sse};

fn model(vendor: &Vendor) -> OpenAi {
    let settings = Settings {
        api_key: Some("sk-test\n".into()),
        ..Settings::new(format!("http://{}/v1/", vendor.address))
    };
    OpenAi::new(Client::new(&HttpSettings::default()), settings).unwrap()
}

const HELLO: &str =
    r#"data: {"id":"c","model":"m-1","choices":[{"index":0,"delta":{"content":"hello"}}]}"#;
const END: &str = r#"data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const WHOLE: &str = r#"{"id":"c","model":"m-1","object":"chat.completion","choices":[
    {"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#;

fn request() -> ChatRequest {
    ChatRequest {
        model: "m".to_owned(),
        messages: vec![Message::user("hi")],
        ..ChatRequest::default()
    }
}

/// The text of the answer, or how it failed.
async fn check(
    answer: String,
    timeout: Duration,
    whole: Result<&str, &str>,
    streamed: Result<&str, &str>,
) {
    let outline = |result: Result<ChatResponse, ModelError>| match result {
        Ok(response) => Ok(response.text()),
        Err(error) => Err(error.to_string()),
    };
    for (expected, is_streamed) in [(whole, false), (streamed, true)] {
        let then = if timeout == LONG { Then::Close } else { Then::Wait };
        let vendor = Vendor::start(answer.clone(), then).await;
        let openai = model(&vendor);
        let result = if is_streamed {
            match openai.stream(&cx(timeout), request()).await {
                Ok(stream) => agentry_core::model::collect(stream).await,
                Err(error) => Err(error),
            }
        } else {
            openai.complete(&cx(timeout), request()).await
        };
        match (outline(result), expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, expected),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (found, expected) => panic!("{found:?} instead of {expected:?} for {answer}"),
        }
    }
}

#[tokio::test]
async fn an_answer_arrives_or_its_failure_has_a_name() {
    let streamed = format!("{HELLO}\n\n{END}\n\ndata: [DONE]\n\n");
    check(sse(&streamed), LONG, Err("unreadable"), Ok("hello")).await;
    let json = http("200 OK", "application/json", WHOLE);
    check(json, LONG, Ok("hello"), Ok("hello")).await;
    let cut = "the answer was cut off before its end";
    check(sse(&format!("{HELLO}\n\n")), LONG, Err("unreadable"), Err(cut)).await;
    let error = r#"{"error":{"message":"come later","type":"x","param":null,"code":null}}"#;
    let limited = "the upstream's rate limit is reached: come later";
    check(http("429 Too Many", "application/json", error), LONG, Err(limited), Err(limited)).await;
    let hidden = "the upstream cannot answer now: come later";
    check(http("200 OK", "application/json", error), LONG, Err(hidden), Err(hidden)).await;
    let midway = sse(&format!("{HELLO}\n\nevent: error\ndata: {error}\n\n"));
    check(midway, LONG, Err("unreadable"), Err("the upstream broke off: come later")).await;
    check(String::new(), LONG, Err("cannot answer now"), Err("cannot answer now")).await;
    let strict = r#"{"error":"unknown field stream_options"}"#;
    let hint = "unknown field stream_options (perhaps quirks = [\"no_stream_options\"]";
    check(http("422 No", "application/json", strict), LONG, Err(hint), Err(hint)).await;
    check(http("301 Moved", "text/html", ""), LONG, Err("base_url"), Err("base_url")).await;
}

#[tokio::test]
async fn the_deadline_of_the_call_holds_everywhere() {
    let short = Duration::from_millis(80);
    let late = "no answer in time";
    check(String::new(), short, Err(late), Err(late)).await;
    check(sse(&format!("{HELLO}\n\n")), short, Err(late), Err(late)).await;
    // The answer is there; that the connection stays open takes nothing away from it.
    let ended = sse(&format!("{HELLO}\n\n{END}\n\n"));
    check(ended, short, Err(late), Ok("hello")).await;
}

#[tokio::test]
async fn a_connection_cut_after_the_reason_to_finish_is_a_complete_answer() {
    let body = format!("{HELLO}\n\n{END}\n\n");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n";
    let late = Err("cannot answer now");
    check(format!("{head}{body}"), LONG, late, Ok("hello")).await;
    check(format!("{head}{HELLO}\n\n"), LONG, late, Err("cut off")).await;
}

#[tokio::test]
async fn we_send_what_was_asked_and_the_key() {
    let mut vendor = Vendor::start(http("200 OK", "application/json", WHOLE), Then::Close).await;
    let openai = model(&vendor);
    let mut request = request();
    request
        .messages
        .push(Message { content: Some(Content::Text("é".to_owned())), ..Message::user("") });
    request.extra.insert("reasoning_effort".to_owned(), "low".into());
    openai.complete(&cx(LONG), request.clone()).await.unwrap();
    let Heard::Request { head, body } = vendor.heard().await else { panic!() };
    assert!(head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{head}");
    for header in [
        "authorization: bearer sk-test\r\n",
        "content-type: application/json\r\n",
        "user-agent: agentry/",
    ] {
        assert!(head.contains(header), "{head}");
    }
    let mut expected = json!({
        "model": "m",
        "messages": [{ "role": "user", "content": "hi" }, { "role": "user", "content": "é" }],
        "reasoning_effort": "low",
    });
    assert_eq!(body, expected);

    drop(openai.stream(&cx(LONG), request).await.unwrap());
    let Heard::Request { body, .. } = vendor.heard().await else { panic!() };
    expected["stream"] = json!(true);
    expected["stream_options"] = json!({ "include_usage": true });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_dropped_stream_hangs_up() {
    let mut vendor = Vendor::start(sse(&format!("{HELLO}\n\n")), Then::Wait).await;
    let mut stream = model(&vendor).stream(&cx(LONG), request()).await.unwrap();
    assert!(matches!(stream.next().await, Some(Ok(Event::Started(_)))));
    assert!(matches!(vendor.heard().await, Heard::Request { .. }));
    drop(stream);
    assert_eq!(vendor.heard().await, Heard::HungUp);
}

#[tokio::test]
async fn what_passes_as_it_is_hangs_up_when_it_is_dropped_and_ends_at_its_deadline() {
    let mut vendor = Vendor::start(sse(&format!("{HELLO}\n\n")), Then::Wait).await;
    let relay = raw(Dialect::ChatCompletions);
    let answer = model(&vendor).relay(&cx(LONG), relay.clone()).await.unwrap();
    let RawAnswer::Streamed(mut frames) = answer else { panic!() };
    assert!(matches!(frames.next().await, Some(Ok(frame)) if !frame.marks.done));
    assert!(matches!(vendor.heard().await, Heard::Request { .. }));
    drop(frames);
    assert_eq!(vendor.heard().await, Heard::HungUp);

    let vendor = Vendor::start(sse(&format!("{HELLO}\n\n")), Then::Wait).await;
    let short = cx(Duration::from_millis(80));
    let answer = model(&vendor).relay(&short, relay).await.unwrap();
    let RawAnswer::Streamed(frames) = answer else { panic!() };
    let seen: Vec<_> = frames.collect().await;
    assert!(matches!(seen.as_slice(), [Ok(_), Err(ModelError::TimedOut { .. })]), "{seen:?}");
}

#[test]
fn a_bad_base_url_says_how_to_write_it() {
    for url in ["", "api.openai.com/v1", "ftp://x/v1", "http://", "https://x/v1?api-version=1"] {
        let client = Client::new(&HttpSettings::default());
        let error = OpenAi::new(client, Settings::new(url)).unwrap_err();
        assert!(error.to_string().contains("https://api.openai.com/v1"), "{error}");
    }
}

#[test]
fn the_key_is_never_shown() {
    let client = Client::new(&HttpSettings::default());
    let settings = Settings { api_key: Some("sk-secret".into()), ..Settings::new("http://x/v1") };
    assert!(!format!("{settings:?}").contains("sk-secret"));
    let model = OpenAi::new(client.clone(), settings).unwrap();
    assert!(!format!("{model:?}").contains("sk-secret"));
    let broken = Settings { api_key: Some("sk-a\nb".into()), ..Settings::new("http://x/v1") };
    assert_eq!(OpenAi::new(client, broken).unwrap_err(), Misconfigured::ApiKey);
}

const BILL: &str =
    r#"data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;

/// What passes, what was read off it, and how it ended.
async fn relayed(answer: String, stream: bool, withhold_usage: bool) -> Result<Frame, ModelError> {
    let raw = Raw { stream, withhold_usage, ..raw(Dialect::ChatCompletions) };
    relayed_as(raw, answer).await
}

fn raw(dialect: Dialect) -> Raw {
    Raw {
        dialect,
        body: "{\"model\": \"m\"}".into(),
        stream: true,
        model: "m".to_owned(),
        withhold_usage: false,
        choices_max: 1,
    }
}

async fn relayed_as(raw: Raw, answer: String) -> Result<Frame, ModelError> {
    let path = match raw.dialect {
        Dialect::Responses => "/v1/responses",
        Dialect::ChatCompletions | Dialect::Messages => "/v1/chat/completions",
    };
    let mut vendor = Vendor::start(answer, Then::Close).await;
    let answer = model(&vendor).relay(&cx(LONG), raw).await?;
    let Heard::Request { head, body } = vendor.heard().await else { panic!() };
    assert_eq!(body, json!({ "model": "m" }));
    assert!(head.starts_with(&format!("post {path} ")), "{head}");
    let mut frames = match answer {
        RawAnswer::Whole(whole) => {
            let marks = Marks {
                says: true,
                usage: whole.usage.map(Box::new),
                finish: whole.finish,
                done: true,
            };
            return Ok(Frame { bytes: whole.body, marks });
        }
        RawAnswer::Streamed(frames) => frames,
    };
    let mut seen = Vec::new();
    let mut all = Marks::default();
    while let Some(frame) = frames.next().await {
        let Frame { bytes, marks } = frame?;
        assert!(!all.done, "something after the end");
        seen.extend_from_slice(&bytes);
        all.usage = marks.usage.or(all.usage);
        all.finish = worse(all.finish, marks.finish);
        all.done = marks.done;
        all.says |= marks.says;
    }
    Ok(Frame { bytes: seen.into(), marks: all })
}

#[tokio::test]
async fn what_passes_as_it_is_is_not_changed_and_is_paid_for() {
    let marks = |usage: Option<Usage>| Marks {
        says: true,
        usage: usage.map(Box::new),
        finish: Some(FinishReason::Stop),
        done: true,
    };
    let bill = serde_json::from_str::<Usage>(r#"{"prompt_tokens":3,"completion_tokens":2}"#).ok();
    let done = "data: [DONE]\n\n";
    let body = format!("{HELLO}\n\n{END}\n\n{BILL}\n\n{done}");
    let frame = |bytes: &str, marks| Ok(Frame { bytes: bytes.to_owned().into(), marks });
    let found = relayed(sse(&body), true, false).await;
    assert_eq!(found, frame(&body, marks(bill.clone())));
    let found = relayed(sse(&body), true, true).await;
    assert_eq!(found, frame(&format!("{HELLO}\n\n{END}\n\n{done}"), marks(bill.clone())));
    // Without the last word the bill counts, too.
    let unended = body.strip_suffix(done).unwrap();
    let found = relayed(sse(unended), true, false).await;
    assert_eq!(found, frame(&body, marks(bill)));
    let found = relayed(http("200 OK", "application/json", WHOLE), false, false).await;
    assert_eq!(found, frame(WHOLE, marks(None)));
}

#[tokio::test]
async fn a_whole_answer_to_a_request_for_a_stream_is_streamed() {
    let found = relayed(http("200 OK", "application/json", WHOLE), true, true).await.unwrap();
    let text = String::from_utf8(found.bytes.to_vec()).unwrap();
    assert!(text.contains(r#""content":"hello""#) && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(found.marks.finish, Some(FinishReason::Stop));
    let answer = agentry_wire::Decode::push(&mut Decoder::new(), text.as_bytes());
    assert_eq!(answer.last(), Some(&Ok(Event::Done)));
}

#[tokio::test]
async fn what_passes_as_it_is_fails_as_everything_else() {
    let error = r#"{"error":{"message":"come later","type":"x","param":null,"code":null}}"#;
    for (answer, stream, expected) in [
        (
            http("429 Too Many", "application/json", error),
            true,
            "rate limit is reached: come later",
        ),
        (http("200 OK", "application/json", error), true, "cannot answer now: come later"),
        (http("200 OK", "application/json", error), false, "cannot answer now: come later"),
        (sse(&format!("{HELLO}\n\n")), true, "cut off before its end"),
        (
            sse(&format!("{HELLO}\n\nevent: error\ndata: {error}\n\n")),
            true,
            "broke off: come later",
        ),
        (String::new(), true, "cannot answer now"),
    ] {
        let found = relayed(answer, stream, false).await.unwrap_err().to_string();
        assert!(found.contains(expected), "{found} instead of {expected}");
    }
}

#[tokio::test]
async fn responses_pass_as_they_are() {
    let response =
        r#"{"status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":2}}"#;
    let stream = format!(
        "event: response.created\ndata: {{}}\n\nevent: response.completed\ndata: \
         {{\"type\":\"response.completed\",\"response\":{response}}}\n\n"
    );
    let marks = Marks {
        says: true,
        usage: Some(Box::new(Usage::new(3, 2))),
        finish: Some(FinishReason::Stop),
        done: true,
    };
    let whole = Raw { stream: false, ..raw(Dialect::Responses) };
    for (raw, answer, body) in [
        (raw(Dialect::Responses), sse(&stream), stream.as_str()),
        (whole, http("200 OK", "application/json", response), response),
    ] {
        let found = relayed_as(raw, answer).await;
        assert_eq!(found, Ok(Frame { bytes: body.to_owned().into(), marks: marks.clone() }));
    }
    let cut =
        relayed_as(raw(Dialect::Responses), sse("event: response.created\ndata: {}\n\n")).await;
    assert_eq!(cut, Err(ModelError::Truncated));
}

#[test]
fn what_passes_as_it_is_depends_on_the_server() {
    for (url, chat, responses) in [
        ("https://api.openai.com/v1", true, true),
        ("http://localhost:8000/v1", true, false),
        ("https://api.mistral.ai/v1", false, false),
    ] {
        let client = Client::new(&HttpSettings::default());
        let model = OpenAi::new(client, Settings::new(url)).unwrap();
        assert_eq!(model.speaks(Dialect::ChatCompletions), chat, "{url}");
        assert_eq!(model.speaks(Dialect::Responses), responses, "{url}");
        assert!(!model.speaks(Dialect::Messages), "{url}");
    }
}

#[tokio::test]
async fn embeddings_come_one_for_each_input() {
    let body = |count: usize| {
        let data: Vec<Value> =
            (0..count).map(|index| json!({ "index": index, "embedding": [0.5] })).collect();
        let body = json!({ "object": "list", "model": "e-1", "data": data });
        http("200 OK", "application/json", &body.to_string())
    };
    let text = |text: &str| EmbeddingInput::Text(text.to_owned());
    let request = EmbeddingRequest {
        model: "e".to_owned(),
        input: vec![text("a"), text("b")],
        ..EmbeddingRequest::default()
    };
    let mut vendor = Vendor::start(body(2), Then::Close).await;
    let found = model(&vendor).embed(&cx(LONG), request.clone()).await.unwrap();
    assert_eq!(found.vectors, [Vector::Floats(vec![0.5]), Vector::Floats(vec![0.5])]);
    let Heard::Request { head, body: sent } = vendor.heard().await else { panic!() };
    assert!(head.starts_with("post /v1/embeddings "), "{head}");
    assert_eq!(sent, json!({ "model": "e", "input": ["a", "b"] }));
    let vendor = Vendor::start(body(1), Then::Close).await;
    let error = model(&vendor).embed(&cx(LONG), request).await.unwrap_err();
    assert!(error.to_string().contains("2 inputs were sent, 1 vectors"), "{error}");
}

#[tokio::test]
async fn an_upstream_that_answers_responses_alone_is_asked_in_them() {
    let output = r#"[{"type":"message","content":[{"type":"output_text","text":"hello"}]}]"#;
    let response =
        format!(r#"{{"id":"resp_1","model":"m-1","status":"completed","output":{output}}}"#);
    let event = format!(r#"{{"type":"response.completed","response":{response}}}"#);
    let streamed = sse(&format!("event: response.completed\ndata: {event}\n\n"));
    for (answer, stream) in
        [(http("200 OK", "application/json", &response), false), (streamed, true)]
    {
        let mut vendor = Vendor::start(answer, Then::Close).await;
        let base_url = format!("http://{}/v1", vendor.address);
        let settings = Settings { api: Api::Responses, ..Settings::new(base_url) };
        let openai = OpenAi::new(Client::new(&HttpSettings::default()), settings).unwrap();
        assert!(openai.speaks(Dialect::Responses) && !openai.speaks(Dialect::ChatCompletions));
        let found = if stream {
            let stream = openai.stream(&cx(LONG), request()).await.unwrap();
            agentry_core::model::collect(stream).await.unwrap()
        } else {
            openai.complete(&cx(LONG), request()).await.unwrap()
        };
        assert_eq!(found.text(), "hello");
        let Heard::Request { head, body } = vendor.heard().await else { panic!() };
        assert!(head.starts_with("post /v1/responses "), "{head}");
        let message = json!({ "type": "message", "role": "user", "content": "hi" });
        assert_eq!(body["input"], json!([message]));
    }
}
