//! Calls that ask the same at the same time.

use crate::cache::{Cache, Levels, Settings};
use agentry_core::relay::{Dialect, Frame, FrameStream, Marks, Raw, RawAnswer, RawWhole};
use agentry_wire::head;
use bytes::Bytes;

use super::*;

fn caching() -> Policies {
    let settings = Settings { bytes_max: 8 << 20, ttl: LONG };
    let cache = Cache::new(settings, tokio::time::Instant::now().into_std());
    let caching = Caching::new(Arc::new(Levels::local(Arc::new(cache))));
    Policies { cache: Some(caching), ..Policies::default() }
}

#[tokio::test]
async fn whoever_joins_an_answer_gets_it_in_the_form_asked_for() {
    let check = async |forms: [bool; 2], found: Found, asked: usize| {
        let begun = Line::Says(vec![begins(), says("so")], Then::Hangs);
        let lines =
            if forms[0] { vec![begun, whole("so")] } else { vec![Line::Hangs, whole("so")] };
        let stage = Stage::under(caching(), vec![lines], unchanged);
        // Polled once, the first call is under way.
        let mut first = Box::pin(stage.call("m", forms[0]));
        let first = futures_util::poll!(first.as_mut()).map(Result::unwrap);
        let second = stage.call("m", forms[1]);
        let second = tokio::time::timeout(SHORT, second).await.expect("answered").unwrap();
        assert_eq!(second.found, found, "{forms:?}");
        assert_eq!(matches!(second.answer, Answer::Streamed(_)), forms[1], "{forms:?}");
        assert_eq!(stage.actors[0].asked.lock().unwrap().len(), asked, "{forms:?}");
        drop(first);
    };
    check([true, true], Found::Join, 1).await;
    check([true, false], Found::Miss, 2).await;
    check([false, true], Found::Miss, 2).await;
}

/// Speaks chat completions as they are. It answers a stream with text, and reports usage in an event of its own.
struct Speaker;

#[async_trait]
impl ChatModel for Speaker {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn stream(&self, _: &CallContext, _: ChatRequest) -> Result<ChatStream, ModelError> {
        unreachable!("it is sent what callers send")
    }

    fn speaks(&self, dialect: Dialect) -> bool {
        dialect == Dialect::ChatCompletions
    }

    async fn relay(&self, _: &CallContext, raw: Raw) -> Result<RawAnswer, ModelError> {
        // Whoever asks the same meanwhile joins.
        tokio::task::yield_now().await;
        let usage = Box::new(Usage::new(10, 3));
        if !raw.stream {
            return Ok(RawAnswer::Whole(RawWhole {
                body: Bytes::from_static(WHOLE),
                usage: Some(*usage),
                finish: Some(FinishReason::Stop),
            }));
        }
        let text = Frame {
            bytes: Bytes::from_static(TEXT),
            marks: Marks { says: true, finish: Some(FinishReason::Stop), ..Marks::default() },
        };
        let bill = if raw.withhold_usage { Bytes::new() } else { Bytes::from_static(BILL) };
        let bill = Frame { bytes: bill, marks: Marks { usage: Some(usage), ..Marks::default() } };
        let done = Frame {
            bytes: Bytes::from_static(b"data: [DONE]\n\n"),
            marks: Marks { done: true, ..Marks::default() },
        };
        let frames: FrameStream = stream::iter([text, bill, done].map(Ok)).boxed();
        Ok(RawAnswer::Streamed(frames))
    }
}

const WHOLE: &[u8] = br#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"so"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":3,"total_tokens":13}}"#;
const TEXT: &[u8] = b"data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"so\"},\"finish_reason\":\"stop\"}]}\n\n";
const BILL: &[u8] = b"data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":3,\"total_tokens\":13}}\n\n";

/// What a caller reads who asks in chat completions with these fields too.
async fn ask(gateway: &Gateway, fields: &str) -> (Found, Result<String, String>) {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{fields}}}"#);
    let head = head::Head::read(Dialect::ChatCompletions, body.as_bytes()).unwrap();
    let wire = Wire::new(Dialect::ChatCompletions, head, body.into());
    let outcome = gateway.call(&CallContext::new("call", "test"), wire).await.unwrap();
    let told = match outcome.answer {
        Answer::WholeBytes(bytes) => Ok(String::from_utf8(bytes.to_vec()).unwrap()),
        Answer::Whole(response) => Ok(serde_json::to_string(&response).unwrap()),
        Answer::StreamedBytes(frames) => {
            let frames: Vec<_> = frames.map(|frame| frame.unwrap().bytes).collect().await;
            Err(String::from_utf8(frames.concat()).unwrap())
        }
        Answer::Streamed(events) => {
            let events: Vec<_> = events.map(Result::unwrap).collect().await;
            Err(format!("{events:?}"))
        }
    };
    (outcome.found, told)
}

#[tokio::test]
async fn every_form_of_an_answer_is_made_of_every_other() {
    let forms =
        ["", r#","stream":true"#, r#","stream":true,"stream_options":{"include_usage":true}"#];
    let target = Target::new("p", "0", Arc::new(Speaker));
    for first in forms {
        for second in forms {
            let surroundings =
                Surroundings { policies: caching(), ..around(Arc::new(Book::default())) };
            let alias = Alias::new("m", vec![target.clone()]);
            let gateway = Gateway::new(vec![alias], surroundings).unwrap();
            let at_once = tokio::join!(ask(&gateway, first), ask(&gateway, second));
            let (found, later) = ask(&gateway, second).await;
            assert_eq!(found, Found::Hit, "{first} {second}");
            for told in [at_once.1.1, later] {
                assert_eq!(told.is_err(), second.contains("true"), "{first} {second}");
                let text = told.clone().unwrap_or_else(|streamed| streamed);
                assert!(text.contains("so"), "{first} {second}: {text}");
                if second.contains("usage") {
                    assert!(text.contains("10"), "{first} {second}: {text}");
                }
                if second.ends_with("true") && text.starts_with("data:") {
                    assert!(!text.contains("prompt_tokens"), "{first} {second}: {text}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_for_a_better_answer_is_not_given_for_long() {
    let lines = vec![vec![Line::Refuses(down()), whole("A")], vec![whole("B")]];
    let stage = Stage::under(caching(), lines, |alias| alias.retries = 0);
    let mut alias = stage.gateway.models()[0].as_ref().clone();
    let targets = alias.targets.split_off(1);
    alias.fallbacks = vec!["b".to_owned()];
    let surroundings = Surroundings { policies: caching(), ..around(Arc::new(Book::default())) };
    let aliases = vec![alias, Alias::new("b", targets)];
    let gateway = Gateway::new(aliases, surroundings).unwrap();
    let check = async |says: &str, found: Found| {
        let request = ChatRequest {
            model: "m".to_owned(),
            messages: vec![Message::user("hi")],
            ..ChatRequest::default()
        };
        let outcome = gateway.call(&CallContext::new("call", "test"), request).await.unwrap();
        assert_eq!(outcome.found, found, "{says}");
        assert_eq!(outcome.answer.into_whole().unwrap().text(), says);
    };
    check("B", Found::Miss).await;
    tokio::time::advance(Duration::from_secs(20)).await;
    check("B", Found::Hit).await;
    tokio::time::advance(Duration::from_secs(11)).await;
    check("A", Found::Miss).await;
    tokio::time::advance(Duration::from_secs(20)).await;
    check("A", Found::Hit).await;
}
