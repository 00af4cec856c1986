use serde_json::{Value, json};

use super::*;
use crate::chat::body;

fn check(quirks: Quirks, request: Value, expected: Value) {
    let request = ChatRequest::from_value(request).unwrap();
    let sent: Value = serde_json::from_slice(&body(&request, &quirks).unwrap()).unwrap();
    assert_eq!(sent, expected, "{quirks:?}");
}

#[test]
fn a_bound_has_the_name_that_the_server_knows() {
    let request = |name: &str| {
        let mut request =
            json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
        request[name] = 9.into();
        request
    };
    let (older, newer) = (request("max_tokens"), request("max_completion_tokens"));
    for (url, from, to) in [
        ("https://api.openai.com/v1", &older, &newer),
        ("https://api.openai.com/v1", &newer, &newer),
        ("https://x.openai.azure.com", &older, &newer),
        ("https://api.mistral.ai/v1", &newer, &older),
        ("https://api.deepseek.com", &newer, &older),
        ("http://localhost:8000/v1", &newer, &newer),
        ("http://localhost:8000/v1", &older, &older),
    ] {
        check(Quirks::of(url), from.clone(), to.clone());
    }
}

#[test]
fn usage_is_asked_for_only_where_that_is_allowed() {
    let request = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }],
        "stream": true });
    let mut asked = request.clone();
    asked["stream_options"] = json!({ "include_usage": true });
    check(Quirks::default(), request.clone(), asked.clone());
    let refuses = Quirks::default().with("no_stream_options").unwrap();
    check(refuses, asked.clone(), request.clone());
    asked["stream"] = false.into();
    let mut whole = request;
    whole.as_object_mut().unwrap().remove("stream");
    check(Quirks::default(), asked, whole);
}

#[test]
fn thoughts_and_roles_that_a_server_refuses_are_not_sent() {
    let request = |fields: Value, role: &str| {
        let mut said = json!({ "role": "assistant", "content": "x" });
        said.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "model": "m", "messages": [{ "role": role, "content": "hi" }, said] })
    };
    let text = json!({ "reasoning_content": "hm" });
    let all = json!({ "reasoning_content": "hm", "reasoning_details": [{ "type": "x" }] });
    let full = request(all, "developer");
    check(Quirks::default().with("developer").unwrap(), full.clone(), full.clone());
    let mut system = full.clone();
    system["messages"][0]["role"] = "system".into();
    check(Quirks::of("http://localhost:8000/v1"), full.clone(), system);
    check(Quirks::of("https://openrouter.ai/api/v1"), full.clone(), full.clone());
    check(Quirks::of("https://api.openai.com/v1"), full.clone(), request(json!({}), "developer"));
    check(Quirks::of("https://api.deepseek.com/v1"), full, request(text, "system"));
}

#[test]
fn quirks_have_names() {
    for name in NAMES {
        assert_ne!(Quirks::default().with(name).unwrap(), Quirks::default(), "{name}");
    }
    let error = Quirks::default().with("no_such").unwrap_err().to_string();
    assert!(error.contains("no_such") && error.contains("no_stream_options"), "{error}");
    assert!(Quirks::of("https://api.openai.com/v1").takes_all());
    assert!(!Quirks::of("https://api.mistral.ai/v1").takes_all());
}

#[test]
fn calls_and_answers_share_an_id_that_the_server_takes() {
    let request = |first: &str, second: &str| {
        let call = |id: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } });
        ChatRequest::from_value(json!({ "model": "m", "messages": [
            { "role": "assistant", "content": null, "tool_calls": [call(first), call(second)] },
            { "role": "tool", "tool_call_id": first, "content": "x" },
            { "role": "tool", "tool_call_id": second, "content": "y" },
        ] }))
        .unwrap()
    };
    let quirks = Quirks::of("https://api.mistral.ai/v1");
    let own = request("abcDEF123", "000000000");
    assert_eq!(*quirks.adapt(&own), own);
    let foreign = request("call_a1B2c3", "call_0_1");
    let adapted = quirks.adapt(&foreign).into_owned();
    let ids: Vec<&str> =
        adapted.messages[0].tool_calls.iter().map(|call| call.id.as_str()).collect();
    let [first, second] = ids.as_slice() else { panic!("{ids:?}") };
    assert_ne!(first, second);
    assert!(ids.iter().all(|id| id.len() == 9 && id.bytes().all(|it| it.is_ascii_alphanumeric())));
    assert_eq!(adapted.messages[1].tool_call_id.as_deref(), Some(*first));
    assert_eq!(adapted.messages[2].tool_call_id.as_deref(), Some(*second));
}

#[test]
fn a_strict_server_is_sent_no_hints_and_knows_the_seed_by_another_name() {
    let messages = json!([{ "role": "user", "content": "hi" }]);
    check(
        Quirks::of("https://api.mistral.ai/v1"),
        json!({ "model": "m", "messages": messages, "seed": 3, "user": "u", "prompt_cache_key": "k",
                "safe_prompt": true }),
        json!({ "model": "m", "messages": messages, "safe_prompt": true, "random_seed": 3 }),
    );
}

#[test]
fn what_passes_as_it_is_brings_no_thoughts_that_are_refused() {
    let body = |said: &str| Pieces::from(format!(r#"{{"model":"m","messages":[{said}]}}"#));
    let plain = body(r#"{"role":"assistant","content":"\"reasoning_content\"?"}"#);
    let thought = body(
        r#"{"role":"assistant","reasoning_content":"hm","content":"x","reasoning_details":[]}"#,
    );
    let openai = Quirks::of("https://api.openai.com/v1");
    assert_eq!(openai.own_thoughts(plain.clone()), plain);
    assert_eq!(openai.own_thoughts(thought.clone()), body(r#"{"role":"assistant","content":"x"}"#));
    assert_eq!(Quirks::default().own_thoughts(thought.clone()), thought);
    let effort = Pieces::from(r#"{"reasoning_effort":"low","messages":[] }"#);
    assert_eq!(openai.own_thoughts(effort.clone()), effort);
}

#[test]
fn a_refusal_tells_which_quirk_a_server_may_have() {
    let unknown = Quirks::default();
    for (message, expected) in [
        ("Unrecognized request argument supplied: stream_options", Some("no_stream_options")),
        (
            "Extra inputs are not permitted: messages.1.reasoning_details",
            Some("no_reasoning_details"),
        ),
        ("property 'reasoning_content' is unsupported", Some("no_reasoning")),
        ("unknown field `max_completion_tokens`", Some("max_tokens")),
        (
            "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            Some("max_completion_tokens"),
        ),
        ("the model is asleep", None),
    ] {
        assert_eq!(unknown.suspected(message), expected, "{message}");
        // Who has it already refuses for another reason.
        let known = expected.map(|name| unknown.with(name).unwrap().suspected(message));
        assert!(known.is_none_or(|again| again.is_none()), "{message}: {known:?}");
    }
}
