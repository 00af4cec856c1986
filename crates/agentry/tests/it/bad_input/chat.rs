//! Chat completions that cannot be answered.

use super::{Case, check};
use crate::support::post;

fn case(name: &'static str, body: &str, status: u16, says: &'static str) -> Case {
    Case { name, request: post("/v1/chat/completions", body), status, says }
}

fn messages(messages: &str) -> String {
    format!(r#"{{"model":"fast","messages":{messages}}}"#)
}

fn with(field: &str) -> String {
    format!(r#"{{"model":"fast","messages":[{{"role":"user","content":"hello"}}],{field}}}"#)
}

#[test]
fn a_chat_that_cannot_be_answered_names_the_parameter() {
    check(vec![
        case("a list", "[]", 400, "must be a JSON object"),
        case("a null", "null", 400, "must be a JSON object"),
        case("nothing in it", "{}", 400, "\"model\""),
        case("a model that is a number", r#"{"model":5}"#, 400, "\"model\""),
        case("an empty model", r#"{"model":"","messages":[]}"#, 400, "GET /v1/models"),
        case(
            "an unknown model",
            r#"{"model":"gpt-9","messages":[{"role":"user","content":"x"}]}"#,
            404,
            "there are: fast, default",
        ),
        case("no messages", r#"{"model":"fast"}"#, 400, "\"messages\""),
        case("empty messages", &messages("[]"), 400, "at least one message"),
        case("messages that are text", &messages("\"hi\""), 400, "must be an array"),
        case("a message that is text", &messages("[\"hi\"]"), 400, "\"messages[0]\""),
        case(
            "an unknown role",
            &messages(r#"[{"role":"robot","content":"x"}]"#),
            400,
            "\"messages[0]\"",
        ),
        case("no role", &messages(r#"[{"content":"x"}]"#), 400, "role"),
        case("no content", &messages(r#"[{"role":"user"}]"#), 400, "\"messages[0].content\""),
        case(
            "content that is a number",
            &messages(r#"[{"role":"user","content":5}]"#),
            400,
            "content is a string",
        ),
        case(
            "a part without type",
            &messages(r#"[{"role":"user","content":[{"text":"x"}]}]"#),
            400,
            "messages[0]",
        ),
        case(
            "a tool answer to nothing",
            &messages(r#"[{"role":"tool","content":"x"}]"#),
            400,
            "tool_call_id",
        ),
    ]);
}

#[test]
fn a_parameter_that_makes_no_sense_is_named() {
    check(vec![
        case("temperature as text", &with(r#""temperature":"hot""#), 400, "\"temperature\""),
        case("max_tokens below zero", &with(r#""max_tokens":-1"#), 400, "\"max_tokens\""),
        case("no choices", &with(r#""n":0"#), 400, "\"n\""),
        case("stream as text", &with(r#""stream":"yes""#), 400, "\"stream\""),
        case("tools that are an object", &with(r#""tools":{}"#), 400, "\"tools\""),
        case(
            "an odd tool choice",
            &with(r#""tool_choice":"maybe""#),
            400,
            "`auto`, `none`, `required`",
        ),
        case("an odd stop", &with(r#""stop":5"#), 400, "stop is a string"),
        case("odd stream options", &with(r#""stream_options":7"#), 400, "\"stream_options\""),
        case(
            "what no rule answers",
            &messages(r#"[{"role":"user","content":"xyzzy"}]"#),
            400,
            "rule",
        ),
        case(
            "an upstream that is busy",
            &messages(r#"[{"role":"user","content":"overload"}]"#),
            429,
            "slow down",
        ),
    ]);
}
