//! Whole answers that are late, odd, cut or no answers at all.

use std::time::Duration;

use agentry_testkit::vendor::{Answer, Ending, Framing, Reply, Writes};
use serde_json::{Value, json};

use super::{Case, Expected, good};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = odd_but_whole();
    cases.extend(cut());
    cases.extend(no_answers());
    cases.extend(bills());
    cases
}

fn odd_but_whole() -> Vec<Case> {
    let whole = || good().whole();
    let long = "so ".repeat(1 << 20);
    let tools = good().calling("look", &[r#"{"at":"#, r#""é"}"#]).calling("leave", &["{}"]);
    vec![
        Case::whole("each byte by itself", vec![whole().written(Writes::EachByte)], Expected::a(1)),
        Case::whole(
            "slowly",
            vec![whole().in_pieces_of(40).written(Writes::Paced(Duration::from_millis(20)))],
            Expected::a(1),
        ),
        Case::whole(
            "chunked",
            vec![whole().in_pieces_of(7).framed(Framing::Chunked)],
            Expected::a(1),
        ),
        Case::whole(
            "ends with the connection",
            vec![whole().framed(Framing::UntilClose)],
            Expected::a(1),
        ),
        Case::whole(
            "called text",
            vec![whole().header("content-type", "text/plain")],
            Expected::a(1),
        ),
        Case::whole("called nothing", vec![whole().without_header("content-type")], Expected::a(1)),
        Case::whole(
            "huge",
            vec![Answer::chat(&[&long]).by("model-a").whole()],
            // Longer than what a cache keeps of one answer.
            Expected::a(1).saying(&long).not_kept(),
        ),
        Case::whole(
            "calls of tools",
            vec![tools.whole()],
            Expected::a(1).saying("A says é 🦀 so|look: {\"at\":\"é\"}|leave: {}"),
        ),
        Case::whole(
            "ended by its length",
            vec![good().finishing("length").whole()],
            Expected::a(1).not_kept(),
        ),
        Case::whole(
            "filtered",
            vec![good().finishing("content_filter").whole()],
            Expected::a(1).not_kept(),
        ),
        Case::whole(
            "does not say why it ended",
            vec![good().without_finish().whole()],
            Expected::a(1).not_kept(),
        ),
    ]
}

fn cut() -> Vec<Case> {
    let short = |ending| good().whole().framed(Framing::WrongLength(9)).stops_after(1, ending);
    let chunked = || good().whole().in_pieces_of(40).framed(Framing::Chunked);
    vec![
        Case::whole(
            "shorter than it says, once",
            vec![short(Ending::Close), good().whole()],
            Expected::a(2),
        ),
        Case::whole("shorter than it says, then B", vec![short(Ending::Close)], Expected::b(1))
            .or_b(),
        Case::whole(
            "shorter than it says, reset, then B",
            vec![short(Ending::Reset)],
            Expected::b(1),
        )
        .or_b(),
        Case::whole(
            "longer than it says",
            vec![good().whole().framed(Framing::WrongLength(-9))],
            Expected::refused(502, "model_malformed", 2),
        ),
        Case::whole(
            "longer than it says, then whole",
            vec![good().whole().framed(Framing::WrongLength(-9)), good().whole()],
            Expected::a(2),
        ),
        Case::whole(
            "cut in a chunk, then B",
            vec![chunked().stops_after(2, Ending::Close)],
            Expected::b(1),
        )
        .or_b(),
        Case::whole(
            "reset in a chunk, once",
            vec![chunked().stops_after(2, Ending::Reset), good().whole()],
            Expected::a(2),
        ),
        Case::whole(
            "half an object, and then it ends well",
            vec![Reply::body("application/json", "{\"id\":\"x\",\"choices\":[{\"index\":0,\"mess")],
            Expected::refused(502, "model_malformed", 2),
        ),
    ]
}

fn no_answers() -> Vec<Case> {
    let malformed = || Expected::refused(502, "model_malformed", 2);
    let html = || Reply::body("text/html", "<html><body>busy</body></html>");
    let under_200 = |error: Value| Reply::json(&json!({ "error": error }));
    vec![
        Case::whole("empty", vec![Reply::body("application/json", "")], malformed()),
        Case::whole("empty, then B", vec![Reply::body("application/json", "")], Expected::b(1))
            .or_b(),
        Case::whole("a page", vec![html()], malformed()),
        Case::whole("a page, then B", vec![html()], Expected::b(1)).or_b(),
        Case::whole(
            "not UTF-8",
            vec![Reply::body("application/json", b"{\"id\":\"\xff\"}")],
            malformed(),
        ),
        Case::whole("a list", vec![Reply::json(&json!([]))], malformed()),
        Case::whole(
            "no choices",
            vec![Reply::json(&json!({ "id": "x", "choices": [] }))],
            malformed(),
        ),
        Case::whole(
            "choices that are null",
            vec![Reply::json(&json!({ "id": "x", "choices": null }))],
            malformed(),
        ),
        Case::whole(
            "an error under a good status",
            vec![under_200(
                json!({ "message": "no", "type": "server_error", "param": null, "code": null }),
            )],
            Expected::refused(503, "model_unavailable", 2),
        ),
        Case::whole(
            "an error under a good status, then B",
            vec![under_200(json!({ "message": "no", "code": 502 }))],
            Expected::b(1),
        )
        .or_b(),
        Case::whole(
            "a rate limit under a good status",
            vec![under_200(json!({ "message": "slowly", "code": 429 }))],
            Expected::refused(429, "model_rate_limited", 2),
        ),
        Case::whole("a stream instead, then B", vec![good().stream()], Expected::b(1)).or_b(),
    ]
}

fn bills() -> Vec<Case> {
    let usage = |usage: Value| good().with_raw_usage(usage).whole();
    vec![
        Case::whole("no usage", vec![usage(Value::Null)], Expected::a(1).using(None)),
        Case::whole(
            "a usage of other things",
            vec![usage(
                json!({ "prompt_tokens": -5, "completion_tokens": "many", "total_tokens": null }),
            )],
            Expected::a(1).using(Some((0, 0))),
        ),
        Case::whole(
            "an enormous usage",
            vec![usage(json!({ "prompt_tokens": 4_000_000_000_000_u64, "completion_tokens": 1 }))],
            Expected::a(1).using(Some((4_000_000_000_000, 1))),
        ),
        Case::whole(
            "more cached than there is",
            vec![usage(json!({
                "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                "prompt_tokens_details": { "cached_tokens": 99 },
            }))],
            Expected::a(1),
        ),
    ]
}
