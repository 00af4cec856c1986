//! Requests that are wrong before any face reads them.

use super::{Case, check};
use crate::support::{get, post, post_as};

#[test]
fn a_request_for_nobody_is_told_who_is_there() {
    let case = |name, request, status, says| Case { name, request, status, says };
    let put = |method: &str, path: &str| {
        format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").into_bytes()
    };
    check(vec![
        case("an unknown path", get("/nothing"), 404, "/v1/chat/completions"),
        case(
            "a name that is not ours",
            b"GET /health HTTP/1.1\r\nhost: evil.example:7171\r\nconnection: close\r\n\r\n"
                .to_vec(),
            421,
            "nobody here is called `evil.example`",
        ),
        case("no path", get("/"), 404, "there is nothing at /"),
        case("without the version", get("/models"), 404, "did you mean /v1/models?"),
        case("the version twice", get("/v1/v1/models"), 404, "did you mean /v1/models?"),
        case("a slash at the end", get("/v1/models/"), 404, "did you mean /v1/models?"),
        case("a very long path", get(&format!("/{}", "x".repeat(5_000))), 404, "path_unknown"),
        case("a path upwards", get("/../../etc/passwd"), 404, "path_unknown"),
        case("an odd escape", get("/v1/models/%ff%00"), 400, "Invalid UTF-8"),
        case("GET where POST is meant", get("/v1/chat/completions"), 405, "GET is not possible"),
        case("POST where GET is meant", post("/v1/models", "{}"), 405, "POST is not possible"),
        case("DELETE", put("DELETE", "/v1/models/fast"), 405, "DELETE is not possible"),
        case("PUT", put("PUT", "/health"), 405, "PUT is not possible"),
        case("an invented method", put("BREW", "/health"), 405, "BREW is not possible"),
        case("TRACE", put("TRACE", "/health"), 405, "TRACE is not possible"),
        case("an unknown model", get("/v1/models/gpt-9"), 404, "there are: fast, default"),
    ]);
}

#[test]
fn a_body_that_cannot_be_read_is_told_why() {
    let chat = "/v1/chat/completions";
    let case = |name, request, status, says| Case { name, request, status, says };
    let bare = |headers: &str, body: &str| {
        let length = body.len();
        format!("POST {chat} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes()
    };
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    check(vec![
        case("no body", post(chat, ""), 400, "the body is empty"),
        case("no content-type", bare("", "{}"), 415, "content-type header is missing"),
        case("a form", post_as("application/x-www-form-urlencoded", chat, "a=b"), 415, "send JSON"),
        case("plain text", post_as("text/plain", chat, "{}"), 415, "text/plain"),
        case(
            "a strange content-type",
            post_as("\u{e9}", chat, "{}"),
            415,
            "content_type_unsupported",
        ),
        case(
            "compressed",
            bare("content-encoding: gzip\r\ncontent-type: application/json\r\n", "x"),
            415,
            "uncompressed",
        ),
        case(
            "broken JSON",
            post(chat, "{\"model\": \"fast\",\n \"messages\": [}"),
            400,
            "line 2 column 15",
        ),
        case("half of it", post(chat, "{\"model\": \"fa"), 400, "json_invalid"),
        case("two of them", post(chat, "{}{}"), 400, "trailing characters"),
        case("a comment", post(chat, "// {}"), 400, "json_invalid"),
        case("not a number", post(chat, "{\"temperature\": NaN}"), 400, "json_invalid"),
        case(
            "invalid UTF-8",
            post(chat, b"{\"model\": \"\xc3\x28\"}"),
            400,
            "not UTF-8: the byte at line 1 column 12",
        ),
        case("UTF-16", post(chat, b"\xff\xfe{\x00}\x00"), 400, "not UTF-8"),
        case("too deep", post(chat, deep), 400, "recursion limit"),
        case("a lone surrogate", post(chat, r#"{"model": "\ud800"}"#), 400, "hex escape"),
        case("100 MB", post(chat, vec![b' '; 100_000_000]), 413, "10485760 bytes"),
        case(
            "a byte too much",
            post(chat, vec![b' '; 10 * 1024 * 1024 + 1]),
            413,
            "body_too_large",
        ),
    ]);
}
