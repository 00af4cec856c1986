use proptest::prelude::*;

use super::*;
use crate::testing::exchanges;

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Step> {
    let mut decoder = Decoder::new();
    let mut steps: Vec<Step> = Vec::new();
    for piece in pieces {
        steps.extend(decoder.push(piece));
    }
    steps.extend(decoder.end(None));
    assert!(decoder.is_over());
    assert!(decoder.push(b"data: {}\n\n").is_empty() && decoder.end(None).is_empty());
    steps
}

const STREAM: &str = concat!(
    r#"data: {"candidates":[{"content":{"parts":[{"text":"hm","thought":true}],"role":"model"},"index":0}],"modelVersion":"m-1","responseId":"r","usageMetadata":{"promptTokenCount":5}}"#,
    "\r\n\r\n",
    r#"data: {"candidates":[{"content":{"parts":[{"text":"let's sée","thoughtSignature":"sig0"}]},"index":0}],"responseId":"r"}"#,
    "\r\n\r\n",
    r#"data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"sig1"},{"functionCall":{"name":"g","id":"own"}}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":5,"cachedContentTokenCount":2,"candidatesTokenCount":3,"thoughtsTokenCount":4}}"#,
    "\r\n\r\n"
);

#[test]
fn thoughts_text_and_calls_are_told_with_their_signatures() {
    let choice = 0;
    let text = |text: &str| text.to_owned();
    let kind = CallKind::Function;
    let signed = |data: &str, id: Option<&str>| {
        let mut detail = reasoning::encrypted(data, reasoning::GEMINI, 0);
        if let Some(id) = id {
            detail["id"] = id.into();
        }
        reasoning::told(0, detail)
    };
    let expected = [
        Event::Started(Head { id: text("r"), model: text("m-1"), ..Head::default() }),
        Event::Reasoning { choice, text: text("hm") },
        Event::Text { choice, text: text("let's sée") },
        signed("sig0", None),
        Event::ToolCall { choice, index: 0, id: text("call_r_0_0"), kind, name: text("f") },
        Event::ToolArguments { choice, index: 0, fragment: text(r#"{"a":1}"#) },
        signed("sig1", Some("call_r_0_0")),
        Event::ToolCall { choice, index: 1, id: text("own"), kind, name: text("g") },
        Event::ToolArguments { choice, index: 1, fragment: text("{}") },
        Event::Finished { choice, reason: FinishReason::ToolCalls },
        Event::Usage(Usage { cached_input_tokens: 2, reasoning_tokens: 4, ..Usage::new(5, 7) }),
        Event::Done,
    ];
    let found: Vec<Event> = decode([STREAM.as_bytes()]).into_iter().map(Result::unwrap).collect();
    assert_eq!(found, expected);
}

#[test]
fn an_answer_that_has_ended_only_waits_for_its_bill() {
    let mut decoder = Decoder::new();
    for (chunk, complete) in STREAM.split_inclusive("\r\n\r\n").zip([false, false, true]) {
        decoder.push(chunk.as_bytes());
        assert_eq!((decoder.is_complete(), decoder.is_over()), (complete, false), "{chunk}");
    }
    decoder.end(None);
    assert_eq!((decoder.is_complete(), decoder.is_over()), (false, true));
}

#[test]
fn every_end_has_its_word() {
    for (reason, expected) in [
        ("STOP", FinishReason::Stop),
        ("MAX_TOKENS", FinishReason::Length),
        ("SAFETY", FinishReason::ContentFilter),
        ("MODEL_ARMOR", FinishReason::ContentFilter),
        ("MALFORMED_FUNCTION_CALL", FinishReason::Other("malformed_function_call".to_owned())),
    ] {
        let body = format!(r#"{{"candidates":[{{"finishReason":"{reason}"}}]}}"#);
        let found = response(body.as_bytes(), "m").unwrap();
        assert_eq!(found.choices[0].finish_reason, Some(expected));
    }
    let blocked =
        br#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3}}"#;
    let found = response(blocked, "m").unwrap();
    assert_eq!(found.choices[0].finish_reason, Some(FinishReason::ContentFilter));
    assert_eq!(found.usage, Some(Usage::new(3, 0)));
}

#[test]
fn what_is_no_answer_is_an_error() {
    let check = |body: &str, expected: &str| {
        let error = response(body.as_bytes(), "m").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("{}", "no candidates");
    check("<html>", "unreadable");
    check(r#"{"error":{"code":503,"message":"full"}}"#, "cannot answer now: full");
    let broken = "data: {\"error\":{\"code\":500,\"message\":\"oops\"}}\r\n\r\n";
    let found = decode([broken.as_bytes()]);
    assert_eq!(found, [Err(ModelError::BrokeOff { message: "oops".to_owned() })]);
    // What came before is paid for.
    let head = STREAM.split_inclusive("\r\n\r\n").next().unwrap();
    let found = decode([head.as_bytes(), broken.as_bytes()]);
    assert!(matches!(
        found.as_slice(),
        [.., Ok(Event::Usage(_)), Err(ModelError::BrokeOff { .. })]
    ));
}

#[test]
fn recorded_answers_are_read_however_they_are_cut() {
    for exchange in exchanges("gemini") {
        let text = exchange.text();
        if exchange.response.status != 200 {
            continue;
        }
        if text.starts_with('{') {
            let answer = response(text.as_bytes(), "m").unwrap();
            assert!(answer.choices[0].finish_reason.is_some() && answer.usage.is_some());
            continue;
        }
        let bytes = text.as_bytes();
        let whole = decode([bytes]);
        assert_eq!(whole.last(), Some(&Ok(Event::Done)), "{}", exchange.name);
        for size in [1, 3, 7, 64] {
            assert_eq!(decode(bytes.chunks(size)), whole, "{} in {size}", exchange.name);
        }
        for at in (0..bytes.len()).step_by(bytes.len() / 53 + 1) {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(decode([head, tail]), whole, "{} cut at {at}", exchange.name);
            let cut = decode([head]);
            assert!(
                matches!(cut.last(), Some(Ok(Event::Done) | Err(ModelError::Truncated))),
                "{} ends at {at}: {cut:?}",
                exchange.name
            );
        }
        let said: String = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|chunk| {
                let part = chunk["candidates"][0]["content"]["parts"][0].clone();
                let told = part["text"].as_str()?.to_owned();
                (part["thought"] != true).then_some(told)
            })
            .collect();
        let mut assembly = Assembly::default();
        whole.into_iter().for_each(|step| assembly.push(step.unwrap()));
        assert_eq!(assembly.into_response().text(), said, "{}", exchange.name);
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(cuts in prop::collection::vec(0_usize..STREAM.len(), 0..6), end in 0..STREAM.len()) {
        let input = STREAM.as_bytes().get(..end).unwrap();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(end)).collect();
        cuts.extend([0, end]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]);
        prop_assert_eq!(decode(pieces), decode([input]));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}\",:a-z0-9]{0,80}") {
        decode([bytes.as_slice()]);
        decode([format!("data: {{\"candidates\":[{text}]}}\n\n").as_bytes()]);
        let _ = response(&bytes, "m");
    }
}
