//! What a request or an answer says is still there after it went through the other dialect.

use agentry_core::chat::{
    Assembly, CallKind, ChatRequest, ChatResponse, Choice, Content, FinishReason, Message, Part,
    Role, Stop, ToolCall, ToolChoice, ToolDefinition, Usage,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::{Asked, Decode as _, Encode as _, reasoning};

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn text() -> impl Strategy<Value = String> {
    "[a-zé\"\\\\ \n]{1,8}"
}

fn part() -> impl Strategy<Value = Part> {
    let marker =
        prop_oneof![Just(json!({})), Just(json!({ "cache_control": { "type": "ephemeral" } })),];
    prop_oneof![
        (text(), marker).prop_map(|(text, extra)| Part::Text { text, extra: fields(extra) }),
        "[A-Za-z]{4}".prop_map(|data| Part::ImageUrl {
            image_url: json!({ "url": format!("data:image/png;base64,{data}") }),
            extra: Map::new(),
        }),
        "[a-z]{1,5}".prop_map(|name| Part::Other(fields(json!({
            "type": "file", "file": { "filename": name, "file_data": "data:application/pdf;base64,JVBERg==" },
        })))),
    ]
}

/// Several parts, or a mere text: a lone text as a part is the same as that.
fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        text().prop_map(Content::Text),
        proptest::collection::vec(part(), 2..4).prop_map(Content::Parts),
    ]
}

fn call(id: String) -> impl Strategy<Value = ToolCall> {
    (text(), "[a-z_]{1,6}").prop_map(move |(argument, name)| ToolCall {
        id: id.clone(),
        kind: CallKind::Function,
        name,
        arguments: json!({ "a": argument }).to_string(),
        extra: Map::new(),
    })
}

fn thoughts() -> impl Strategy<Value = Map<String, Value>> {
    prop_oneof![
        Just(Map::new()),
        (text(), "[a-z]{1,4}").prop_map(|(text, proof)| fields(json!({
            "reasoning_content": text,
            "reasoning_details": [
                reasoning::signed(&text, &proof, reasoning::ANTHROPIC, 0),
                reasoning::encrypted(&proof, reasoning::ANTHROPIC, 1),
            ],
        }))),
    ]
}

/// A question, an answer that calls a tool, and the tool's result.
fn round(at: usize) -> impl Strategy<Value = Vec<Message>> {
    let id = format!("c{at}");
    let calls = call(id.clone());
    (content(), text(), calls, content(), thoughts(), any::<bool>()).prop_map(
        move |(asked, said, call, result, extra, failed)| {
            let failed = if failed { json!({ "is_error": true }) } else { json!({}) };
            vec![
                Message { content: Some(asked), ..Message::empty(Role::User) },
                Message {
                    content: Some(Content::Text(said)),
                    tool_calls: vec![call],
                    extra,
                    ..Message::empty(Role::Assistant)
                },
                Message {
                    content: Some(result),
                    tool_call_id: Some(id.clone()),
                    extra: fields(failed),
                    ..Message::empty(Role::Tool)
                },
            ]
        },
    )
}

fn request_of() -> impl Strategy<Value = ChatRequest> {
    let choice = prop_oneof![
        Just(None),
        Just(Some(ToolChoice::Auto)),
        Just(Some(ToolChoice::None)),
        Just(Some(ToolChoice::Required)),
        Just(Some(ToolChoice::Named("f".to_owned()))),
    ];
    (
        (text(), round(0), round(1), any::<bool>()),
        choice,
        proptest::option::of(proptest::collection::vec(text(), 1..3)),
        proptest::option::of(0_u32..=4),
        1_u64..9_999,
    )
        .prop_map(|((system, one, two, stream), tool_choice, stop, quarters, max_tokens)| {
            let messages = [vec![Message::system(system)], one, two].concat();
            ChatRequest {
                model: "m".to_owned(),
                messages,
                tools: vec![ToolDefinition::function("f", "does f", json!({ "type": "object" }))],
                tool_choice,
                temperature: quarters.map(|quarters| f64::from(quarters) / 4.0),
                max_tokens: Some(max_tokens),
                stop: stop.map(Stop::Many),
                stream,
                extra: fields(json!({ "user": "u", "top_k": 3 })),
                ..ChatRequest::default()
            }
        })
}

fn answer() -> impl Strategy<Value = ChatResponse> {
    let reason = prop_oneof![
        Just(FinishReason::Stop),
        Just(FinishReason::Length),
        Just(FinishReason::ToolCalls),
        Just(FinishReason::ContentFilter),
    ];
    (text(), thoughts(), call("c0".to_owned()), call("c1".to_owned()), reason, 0_u64..999).prop_map(
        |(said, extra, one, two, reason, tokens)| {
            let message = Message {
                content: Some(Content::Text(said)),
                tool_calls: vec![one, two],
                extra,
                ..Message::empty(Role::Assistant)
            };
            let head = agentry_core::chat::Head {
                id: "i".to_owned(),
                model: "m".to_owned(),
                ..Default::default()
            };
            let reported =
                json!({ "cache_creation_input_tokens": 2, "cache_read_input_tokens": 1 });
            ChatResponse {
                head,
                choices: vec![Choice {
                    index: 0,
                    message,
                    finish_reason: Some(reason),
                    logprobs: None,
                    extra: Map::new(),
                }],
                usage: Some(Usage {
                    cached_input_tokens: 1,
                    reported: fields(reported),
                    ..Usage::new(tokens + 3, tokens)
                }),
            }
        },
    )
}

proptest! {
    #[test]
    fn a_request_survives_the_way_through_messages(asked in request_of()) {
        let sent = body(&asked, 1).unwrap();
        prop_assert_eq!(request(serde_json::from_slice(&sent).unwrap()).unwrap(), asked);
    }

    #[test]
    fn an_answer_survives_the_way_through_messages(answer in answer(), size in 1_usize..60) {
        let asked = Asked::default();
        let read = response(&whole(&answer, &asked), "m").unwrap();
        prop_assert_eq!(&read, &answer);
        let mut stream = Stream::new(&asked);
        let mut bytes = Vec::new();
        for event in answer.clone().into_events() {
            stream.encode(event, &mut bytes);
        }
        let mut decoder = Decoder::new("m");
        let mut assembly = Assembly::default();
        for step in bytes.chunks(size).flat_map(|piece| decoder.push(piece)).collect::<Vec<_>>() {
            assembly.push(step.unwrap());
        }
        prop_assert!(assembly.is_done());
        prop_assert_eq!(assembly.into_response(), answer);
    }
}
