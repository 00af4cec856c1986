//! Streams that are cut, stall, break or are merely odd. Once the client has read a word, nobody else is asked.

use std::time::Duration;

use agentry_testkit::vendor::{Ending, Framing, Reply, Writes};
use serde_json::{Value, json};

use super::{Case, Expected, good};

/// What the client has read when two of three pieces have come.
const TWO_OF_THREE: &str = "A says é 🦀 ";
/// Events until then: the role and two pieces.
const SO_FAR: usize = 3;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = cut();
    cases.extend(broken());
    cases.extend(before_the_first_word());
    cases.extend(odd_but_whole());
    cases.extend(ends());
    cases.extend(without_a_last_or_a_first_word());
    cases
}

fn cut() -> Vec<Case> {
    let truncated = || Expected::broken("model_truncated", TWO_OF_THREE);
    let stops = |ending| good().stream().stops_after(SO_FAR, ending);
    let mut ended_early = good().events();
    ended_early.truncate(SO_FAR);
    vec![
        Case::streamed("cut", vec![stops(Ending::Close)], truncated()),
        Case::streamed("cut, and B is not asked", vec![stops(Ending::Close)], truncated()).or_b(),
        Case::streamed("reset", vec![stops(Ending::Reset)], truncated()),
        Case::streamed("reset, and B is not asked", vec![stops(Ending::Reset)], truncated()).or_b(),
        Case::streamed(
            "cut without a framing that shows it",
            vec![good().stream().framed(Framing::UntilClose).stops_after(SO_FAR, Ending::Close)],
            truncated(),
        ),
        Case::streamed(
            "ends well, but not the answer",
            vec![Reply::events(ended_early)],
            truncated(),
        ),
        Case::streamed(
            "cut in the middle of an event",
            vec![good().stream().in_pieces_of(450).stops_after(1, Ending::Close)],
            Expected::broken("model_truncated", "A says "),
        ),
        Case::streamed(
            "cut in the arguments of a tool",
            vec![
                good().calling("look", &["{\"at\":", "1}"]).stream().stops_after(6, Ending::Close),
            ],
            Expected::broken("model_truncated", "A says é 🦀 so|look: {\"at\":"),
        ),
        Case::streamed(
            "stalls",
            vec![stops(Ending::Hang)],
            Expected::broken("model_timed_out", TWO_OF_THREE),
        )
        .brisk(),
        Case::streamed(
            "stalls, and B is not asked",
            vec![stops(Ending::Hang)],
            Expected::broken("model_timed_out", TWO_OF_THREE),
        )
        .or_b()
        .brisk(),
    ]
}

fn broken() -> Vec<Case> {
    let error = json!({ "error": { "message": "no more", "type": "server_error", "code": null } });
    let named = format!("event: error\ndata: {error}\n\n");
    let unnamed = format!("data: {error}\n\n");
    let broke_off = || Expected::broken("model_broke_off", TWO_OF_THREE);
    let with = |bytes: &str| vec![good().stream().with_piece(SO_FAR, bytes.as_bytes())];
    let long = format!("data: {}\n\n", "x".repeat(9 << 20));
    vec![
        Case::streamed("an error event", with(&named), broke_off()),
        Case::streamed("an error event, and B is not asked", with(&named), broke_off()).or_b(),
        Case::streamed("an error as a chunk", with(&unnamed), broke_off()),
        Case::streamed(
            "an error event, and then it hangs",
            vec![
                good()
                    .stream()
                    .with_piece(SO_FAR, named.as_bytes())
                    .stops_after(SO_FAR + 1, Ending::Hang),
            ],
            broke_off(),
        ),
        Case::streamed(
            "an event that never ends",
            with(&long),
            Expected::broken("model_malformed", TWO_OF_THREE),
        ),
        Case::streamed(
            "a chunk whose size is no number",
            vec![Reply::raw(
                [
                    good().stream().stops_after(SO_FAR, Ending::Close).bytes(),
                    b"zz\r\nx\r\n".to_vec(),
                ]
                .concat(),
            )],
            Expected::broken("model_truncated", TWO_OF_THREE),
        ),
    ]
}

fn before_the_first_word() -> Vec<Case> {
    let error =
        json!({ "error": { "message": "overloaded", "type": "server_error", "code": null } });
    let error = || Reply::events(vec![format!("event: error\ndata: {error}\n\n").into_bytes()]);
    let html = || Reply::body("text/html", "<html><body>busy</body></html>");
    vec![
        Case::streamed("no event at all, then B", vec![Reply::events(Vec::new())], Expected::b(1))
            .or_b(),
        Case::streamed(
            "no event at all",
            vec![Reply::events(Vec::new())],
            Expected::refused(502, "model_truncated", 2),
        ),
        Case::streamed("an error as the first event, then B", vec![error()], Expected::b(1)).or_b(),
        Case::streamed(
            "an error as the first event, once",
            vec![error(), good().stream()],
            Expected::a(2),
        ),
        Case::streamed(
            "an error as the first event",
            vec![error()],
            Expected::refused(502, "model_broke_off", 2),
        ),
        Case::streamed("a page, then B, streamed", vec![html()], Expected::b(1)).or_b(),
        Case::streamed(
            "an error under a good status, then B, streamed",
            vec![Reply::json(&json!({ "error": { "message": "no", "code": 503 } }))],
            Expected::b(1),
        )
        .or_b(),
    ]
}

fn odd_but_whole() -> Vec<Case> {
    let stream = || good().stream();
    let all = || String::from_utf8(good().events().concat()).expect("text");
    let as_text = |text: String| Reply::events(vec![text.into_bytes()]);
    let tools = good().calling("look", &[r#"{"at":"#, r#""é"}"#]).calling("leave", &["{}"]);
    vec![
        Case::streamed(
            "each byte by itself, streamed",
            vec![stream().written(Writes::EachByte)],
            Expected::a(1),
        ),
        Case::streamed("in pieces of five", vec![stream().in_pieces_of(5)], Expected::a(1)),
        Case::streamed("in one piece", vec![stream().written(Writes::AtOnce)], Expected::a(1)),
        Case::streamed(
            "slowly, streamed",
            vec![stream().written(Writes::Paced(Duration::from_millis(30)))],
            Expected::a(1),
        ),
        Case::streamed(
            "slowly, in pieces of a character's half",
            vec![stream().in_pieces_of(61).written(Writes::Paced(Duration::from_millis(10)))],
            Expected::a(1),
        ),
        Case::streamed(
            "lines that end like on Windows",
            vec![as_text(all().replace('\n', "\r\n"))],
            Expected::a(1),
        ),
        Case::streamed(
            "comments, names and numbers in between",
            vec![as_text(all().replace("data: ", ": ping\n\nid: 7\nretry: 10\ndata: "))],
            Expected::a(1),
        ),
        Case::streamed(
            "no space after the colon",
            vec![as_text(all().replace("data: ", "data:"))],
            Expected::a(1),
        ),
        Case::streamed(
            "called text, streamed",
            vec![stream().header("content-type", "text/plain")],
            Expected::a(1),
        ),
        Case::streamed(
            "called nothing, streamed",
            vec![stream().without_header("content-type")],
            Expected::a(1),
        ),
        Case::streamed("a whole answer instead", vec![good().whole()], Expected::a(1)),
        Case::streamed(
            "calls of tools, streamed",
            vec![tools.stream()],
            Expected::a(1).saying("A says é 🦀 so|look: {\"at\":\"é\"}|leave: {}"),
        ),
        Case::streamed(
            "ended by its length, streamed",
            vec![good().finishing("length").stream()],
            Expected::a(1).not_kept(),
        ),
    ]
}

/// How a stream may end and still be whole, and what it then reports.
fn ends() -> Vec<Case> {
    let usage = |usage: Value| good().with_raw_usage(usage).stream();
    let done = good().stream().pieces();
    vec![
        Case::streamed(
            "hangs after [DONE]",
            vec![good().stream().stops_after(done, Ending::Hang)],
            Expected::a(1),
        ),
        Case::streamed(
            "resets after [DONE]",
            vec![good().stream().stops_after(done, Ending::Reset)],
            Expected::a(1),
        ),
        Case::streamed(
            "goes on after [DONE]",
            vec![good().stream().with_piece(done, b"data: {\"choices\":[]}\n\n".as_slice())],
            Expected::a(1),
        ),
        Case::streamed(
            "does not say why it ended, streamed",
            vec![good().without_finish().stream()],
            Expected::a(1).not_kept(),
        ),
        Case::streamed(
            "neither says why nor that it ended",
            vec![good().without_finish().with_raw_usage(Value::Null).stream_without_end()],
            Expected::broken("model_truncated", "A says é 🦀 so"),
        ),
        Case::streamed("no usage, streamed", vec![usage(Value::Null)], Expected::a(1).using(None)),
        Case::streamed(
            "a usage of other things, streamed",
            vec![usage(json!({ "prompt_tokens": -5, "completion_tokens": "many" }))],
            Expected::a(1).using(Some((0, 0))),
        ),
        Case::streamed(
            "cut after the usage was told, before the end",
            vec![good().without_finish().stream().stops_after(done - 2, Ending::Close)],
            Expected::broken("model_truncated", "A says é 🦀 so").using(Some((10, 5))),
        ),
    ]
}

fn without_a_last_or_a_first_word() -> Vec<Case> {
    let role_only = |ending| good().stream().stops_after(1, ending);
    let done = good().stream().pieces();
    vec![
        // All is there but the line that says so: the client is still owed it.
        Case::streamed("no [DONE]", vec![good().stream_without_end()], Expected::a(1)),
        Case::streamed(
            "no [DONE], and cut",
            vec![good().stream().stops_after(done - 1, Ending::Close)],
            Expected::a(1),
        ),
        // A role is no word: nothing was said that could not be said by somebody else.
        Case::streamed(
            "cut after the role, then B",
            vec![role_only(Ending::Close)],
            Expected::b(1),
        )
        .or_b(),
        Case::streamed(
            "reset after the role, then B",
            vec![role_only(Ending::Reset)],
            Expected::b(1),
        )
        .or_b(),
        Case::streamed(
            "cut after the role, once",
            vec![role_only(Ending::Close), good().stream()],
            Expected::a(2),
        ),
        Case::streamed(
            "hangs after the role, then B",
            vec![role_only(Ending::Hang)],
            Expected::b(1),
        )
        .or_b()
        .brisk(),
    ]
}
