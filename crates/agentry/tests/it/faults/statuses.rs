//! Refusals with a status: who may be asked again, who else, and what the client is told.

use agentry_testkit::vendor::Reply;
use serde_json::json;

use super::{Case, Expected, good};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = passing();
    cases.extend(lasting());
    cases.extend(callers_own());
    cases.extend(our_own());
    cases
}

/// The vendor is overloaded or has a hiccup: asked again, then the next one.
fn passing() -> Vec<Case> {
    let mut cases = Vec::new();
    let named: [(u16, [&'static str; 5]); 7] = [
        (
            408,
            ["408 twice", "408 once", "408 once, streamed", "408, then B", "408, then B, streamed"],
        ),
        (
            409,
            ["409 twice", "409 once", "409 once, streamed", "409, then B", "409, then B, streamed"],
        ),
        (
            429,
            ["429 twice", "429 once", "429 once, streamed", "429, then B", "429, then B, streamed"],
        ),
        (
            500,
            ["500 twice", "500 once", "500 once, streamed", "500, then B", "500, then B, streamed"],
        ),
        (
            502,
            ["502 twice", "502 once", "502 once, streamed", "502, then B", "502, then B, streamed"],
        ),
        (
            503,
            ["503 twice", "503 once", "503 once, streamed", "503, then B", "503, then B, streamed"],
        ),
        (
            529,
            ["529 twice", "529 once", "529 once, streamed", "529, then B", "529, then B, streamed"],
        ),
    ];
    for (status, [twice, once, once_streamed, then_b, then_b_streamed]) in named {
        let fault = || Reply::error(status);
        let refused = match status {
            429 => Expected::refused(429, "model_rate_limited", 2),
            _ => Expected::refused(503, "model_unavailable", 2),
        };
        cases.push(Case::whole(twice, vec![fault()], refused));
        cases.push(Case::whole(once, vec![fault(), good().whole()], Expected::a(2)));
        cases.push(Case::streamed(once_streamed, vec![fault(), good().stream()], Expected::a(2)));
        cases.push(Case::whole(then_b, vec![fault()], Expected::b(1)).or_b());
        cases.push(Case::streamed(then_b_streamed, vec![fault()], Expected::b(1)).or_b());
    }
    cases
}

/// When to come again, in the ways in which vendors say it.
fn lasting() -> Vec<Case> {
    let busy = || Reply::error(429);
    let again = || Expected::a(2);
    vec![
        Case::whole(
            "429 with retry-after-ms",
            vec![busy().header("retry-after-ms", "300"), good().whole()],
            again().after_pause(300),
        ),
        Case::whole(
            "429 with retry-after in seconds",
            vec![busy().header("retry-after", "1"), good().whole()],
            again().after_pause(1_000),
        ),
        Case::whole(
            "503 with retry-after in seconds",
            vec![Reply::error(503).header("retry-after", "1"), good().whole()],
            again().after_pause(1_000),
        ),
        Case::whole(
            "429 with a retry-after beyond the deadline",
            vec![busy().header("retry-after", "600"), good().whole()],
            Expected::refused(429, "model_rate_limited", 1).with_retry_after(),
        ),
        Case::whole(
            "429 with a retry-after that B does not have to wait for",
            vec![busy().header("retry-after", "600")],
            Expected::b(1),
        )
        .or_b(),
        Case::whole(
            "429 with a retry-after that is nonsense",
            vec![busy().header("retry-after", "soon"), good().whole()],
            again(),
        ),
        Case::whole(
            "429 with a retry-after in the past",
            vec![busy().header("retry-after", "-1"), good().whole()],
            again(),
        ),
        // A date means something by the vendor's own clock only.
        Case::whole(
            "429 with a retry-after that is a date",
            vec![
                busy()
                    .header("date", "Fri, 20 Nov 2026 12:00:00 GMT")
                    .header("retry-after", "Fri, 20 Nov 2026 12:00:01 GMT"),
                good().whole(),
            ],
            again().after_pause(1_000),
        ),
        Case::whole(
            "429 with a retry-after that is a date far away",
            vec![
                busy()
                    .header("date", "Fri, 20 Nov 2026 12:00:00 GMT")
                    .header("retry-after", "Fri, 31 Dec 2100 23:59:59 GMT"),
                good().whole(),
            ],
            Expected::refused(429, "model_rate_limited", 1).with_retry_after(),
        ),
        Case::streamed(
            "A busy, B busy",
            vec![busy()],
            Expected {
                asked: (1, 1),
                target: super::Target::B,
                ..Expected::refused(429, "model_rate_limited", 1)
            },
        )
        .or(vec![busy()]),
    ]
}

/// The request itself is wrong: nobody else would say otherwise.
fn callers_own() -> Vec<Case> {
    let code = |status: u16, code: &str| Reply::error(status).with_error(&json!({ "code": code }));
    vec![
        Case::whole(
            "400",
            vec![code(400, "invalid_value")],
            Expected::refused(400, "invalid_value", 1),
        ),
        Case::whole(
            "400 is not for B",
            vec![code(400, "invalid_value")],
            Expected::refused(400, "invalid_value", 1),
        )
        .or_b(),
        Case::streamed(
            "400, streamed, is not for B",
            vec![code(400, "invalid_value")],
            Expected::refused(400, "invalid_value", 1),
        )
        .or_b(),
        Case::whole(
            "422",
            vec![code(422, "unprocessable_entity")],
            Expected::refused(400, "unprocessable_entity", 1),
        ),
        Case::streamed(
            "422, streamed, is not for B",
            vec![code(422, "unprocessable_entity")],
            Expected::refused(400, "unprocessable_entity", 1),
        )
        .or_b(),
        Case::whole(
            "400 for a context that is too long",
            vec![code(400, "context_length_exceeded")],
            Expected::refused(400, "context_length_exceeded", 1),
        ),
        Case::whole(
            "400 for content that the vendor does not want",
            vec![code(400, "content_policy_violation")],
            Expected::refused(400, "content_policy_violation", 1),
        ),
        // Another model may have room for it, or other rules; the same one never.
        Case::whole(
            "a context that is too long is for B",
            vec![code(400, "context_length_exceeded")],
            Expected::b(1),
        )
        .or_b(),
        Case::streamed(
            "a context that is too long is for B, streamed",
            vec![code(400, "context_length_exceeded")],
            Expected::b(1),
        )
        .or_b(),
        Case::whole(
            "content that A refuses is for B",
            vec![code(400, "content_policy_violation")],
            Expected::b(1),
        )
        .or_b(),
        Case::whole(
            "413",
            vec![code(413, "request_too_large")],
            Expected::refused(400, "request_too_large", 1),
        ),
    ]
}

/// Our key, our account or our configuration is wrong: not the caller's affair, and asking again does not help.
fn our_own() -> Vec<Case> {
    let quota = || {
        Reply::error(429)
            .with_error(&json!({ "code": "insufficient_quota", "type": "insufficient_quota" }))
    };
    vec![
        Case::whole(
            "401",
            vec![Reply::error(401)],
            Expected::refused(502, "model_unauthorized", 1),
        ),
        Case::whole("401, then B", vec![Reply::error(401)], Expected::b(1)).or_b(),
        Case::streamed("401, then B, streamed", vec![Reply::error(401)], Expected::b(1)).or_b(),
        Case::whole(
            "403",
            vec![Reply::error(403)],
            Expected::refused(502, "model_unauthorized", 1),
        ),
        Case::streamed("403, then B, streamed", vec![Reply::error(403)], Expected::b(1)).or_b(),
        Case::whole("404", vec![Reply::error(404)], Expected::refused(502, "model_not_found", 1)),
        Case::streamed(
            "404, streamed",
            vec![Reply::error(404)],
            Expected::refused(502, "model_not_found", 1),
        ),
        Case::whole("404, then B", vec![Reply::error(404)], Expected::b(1)).or_b(),
        Case::whole(
            "402",
            vec![Reply::error(402)],
            Expected::refused(503, "model_quota_exhausted", 1),
        ),
        Case::streamed("402, then B, streamed", vec![Reply::error(402)], Expected::b(1)).or_b(),
        Case::whole(
            "429 because the account is empty",
            vec![quota()],
            Expected::refused(503, "model_quota_exhausted", 1),
        ),
        Case::whole("429 because the account is empty, then B", vec![quota()], Expected::b(1))
            .or_b(),
        Case::whole(
            "a redirect is not followed",
            vec![Reply::redirects(302, "http://127.0.0.1:9/v1/chat/completions")],
            Expected::refused(502, "model_malformed", 2),
        ),
        Case::streamed(
            "a redirect, then B, streamed",
            vec![Reply::redirects(307, "/elsewhere")],
            Expected::b(1),
        )
        .or_b(),
    ]
}
