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
    assert!(decoder.push(b"{}\n").is_empty() && decoder.end(None).is_empty());
    steps
}

const STREAM: &str = concat!(
    r#"{"model":"m","created_at":"2026-07-28T06:38:03.000001Z","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}"#,
    "\n",
    r#"{"model":"m","message":{"content":"sée"},"logprobs":[{"token":"s","logprob":-0.5}],"done":false}"#,
    "\n",
    r#"{"message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}},{"id":"own","function":{"name":"g"}}]},"done":false}"#,
    "\n",
    r#"{"message":{"content":""},"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":2}"#,
    "\n"
);

#[test]
fn every_line_is_told() {
    let choice = 0;
    let text = |text: &str| text.to_owned();
    let kind = CallKind::Function;
    let head = Head { model: text("m"), created: 1_785_220_683, ..Head::default() };
    let id = format!("call_{:x}_0", 1_785_220_683_000_001_i64);
    let expected = [
        Event::Started(head),
        Event::Reasoning { choice, text: text("hm") },
        Event::Text { choice, text: text("sée") },
        Event::Logprobs {
            choice,
            value: json!({ "content": [{ "token": "s", "logprob": -0.5 }] }),
        },
        Event::ToolCall { choice, index: 0, id, kind, name: text("f") },
        Event::ToolArguments { choice, index: 0, fragment: text(r#"{"a":1}"#) },
        Event::ToolCall { choice, index: 1, id: text("own"), kind, name: text("g") },
        Event::ToolArguments { choice, index: 1, fragment: text("{}") },
        Event::Finished { choice, reason: FinishReason::ToolCalls },
        Event::Usage(Usage::new(3, 2)),
        Event::Done,
    ];
    let found: Vec<Event> = decode([STREAM.as_bytes()]).into_iter().map(Result::unwrap).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_whole_answer_is_one_line() {
    let body = r#"{"model":"m","message":{"content":"hi"},"done":true,"done_reason":"length"}"#;
    let found = response(body.as_bytes(), "m").unwrap();
    assert_eq!(found.text(), "hi");
    assert_eq!(found.choices[0].finish_reason, Some(FinishReason::Length));
    for (body, expected) in [
        (r#"{"error":"full"}"#, "full"),
        (r#"{"message":{"content":"hi"},"done":false}"#, "cut off"),
        ("<html>", "unreadable"),
    ] {
        let error = response(body.as_bytes(), "m").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let found = decode([b"{\"error\":\"oops\"}\n".as_slice()]);
    assert_eq!(found, [Err(ModelError::BrokeOff { message: "oops".to_owned() })]);
}

#[test]
fn recorded_streams_are_the_same_however_they_are_cut() {
    for exchange in exchanges("ollama") {
        if exchange.request.path != "/api/chat" {
            continue;
        }
        let bytes = exchange.text().as_bytes();
        let whole = decode([bytes]);
        assert_eq!(whole.last(), Some(&Ok(Event::Done)), "{}", exchange.name);
        for size in [1, 3, 64, 1_000] {
            assert_eq!(decode(bytes.chunks(size)), whole, "{} in {size}", exchange.name);
        }
        for at in (0..bytes.len()).step_by(bytes.len() / 53 + 1) {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(decode([head, tail]), whole, "{} cut at {at}", exchange.name);
            assert_eq!(decode([head]).last(), Some(&Err(ModelError::Truncated)), "ends at {at}");
        }
        let lines = exchange.text().lines();
        let said: String = lines
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|line| line["message"]["content"].as_str().unwrap().to_owned())
            .collect();
        let mut assembly = Assembly::default();
        whole.into_iter().for_each(|step| assembly.push(step.unwrap()));
        assert_eq!(assembly.into_response().text(), said, "{}", exchange.name);
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(cuts in prop::collection::vec(0_usize..STREAM.len(), 0..6), end in 0..=STREAM.len()) {
        let input = STREAM.as_bytes().get(..end).unwrap();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(end)).collect();
        cuts.extend([0, end]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]);
        prop_assert_eq!(decode(pieces), decode([input]));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}\",:a-z0-9\n]{0,80}") {
        decode([bytes.as_slice()]);
        decode([format!("{{\"message\":{text}}}\n").as_bytes()]);
        let _ = response(&bytes, "m");
    }
}
