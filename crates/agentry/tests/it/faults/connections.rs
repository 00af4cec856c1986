//! Connections that fail before there is a response, or instead of one.

use agentry_testkit::vendor::{Ending, Reply};

use super::{Case, Expected, good};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = refusing();
    cases.extend(ending());
    cases.extend(talking_nonsense());
    cases.extend(silent());
    cases
}

fn refusing() -> Vec<Case> {
    let unavailable = || Expected::refused(503, "model_unavailable", 2);
    vec![
        Case::whole("nobody listens", Vec::new(), unavailable()).closed(),
        Case::streamed("nobody listens, streamed", Vec::new(), unavailable()).closed(),
        Case::whole("nobody listens, then B", Vec::new(), Expected::b(1)).closed().or_b(),
        Case::streamed("nobody listens, then B, streamed", Vec::new(), Expected::b(1))
            .closed()
            .or_b(),
    ]
}

fn ending() -> Vec<Case> {
    let unavailable = || Expected::refused(503, "model_unavailable", 2);
    let half_a_head = || Reply::raw("HTTP/1.1 200 OK\r\ncontent-ty");
    vec![
        Case::whole("closes", vec![Reply::closes()], unavailable()),
        Case::whole("closes once", vec![Reply::closes(), good().whole()], Expected::a(2)),
        Case::streamed(
            "closes once, streamed",
            vec![Reply::closes(), good().stream()],
            Expected::a(2),
        ),
        Case::streamed("closes, then B, streamed", vec![Reply::closes()], Expected::b(1)).or_b(),
        Case::whole("resets", vec![Reply::resets()], unavailable()),
        Case::whole("resets once", vec![Reply::resets(), good().whole()], Expected::a(2)),
        Case::streamed(
            "resets once, streamed",
            vec![Reply::resets(), good().stream()],
            Expected::a(2),
        ),
        Case::whole("resets, then B", vec![Reply::resets()], Expected::b(1)).or_b(),
        Case::whole("closes in its head", vec![half_a_head()], unavailable()),
        Case::streamed("closes in its head, then B, streamed", vec![half_a_head()], Expected::b(1))
            .or_b(),
    ]
}

fn talking_nonsense() -> Vec<Case> {
    let garbage = || Reply::raw(vec![0, 159, 146, 150, b'\r', b'\n', b'\r', b'\n']);
    let two_lengths =
        || Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}");
    vec![
        Case::whole("garbage once", vec![garbage(), good().whole()], Expected::a(2)),
        Case::whole("garbage, then B", vec![garbage()], Expected::b(1)).or_b(),
        Case::streamed("garbage, then B, streamed", vec![garbage()], Expected::b(1)).or_b(),
        Case::whole("two lengths, then B", vec![two_lengths()], Expected::b(1)).or_b(),
        Case::whole("an informational head first", vec![informed(&good().whole())], Expected::a(1)),
    ]
}

/// `103` before the response itself.
fn informed(reply: &Reply) -> Reply {
    let response =
        [b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".to_vec(), reply.bytes()].concat();
    Reply::raw(response)
}

fn silent() -> Vec<Case> {
    let head_only = || good().stream().stops_after(0, Ending::Hang);
    vec![
        Case::whole("hangs", vec![Reply::hangs()], Expected::refused(504, "model_timed_out", 1))
            .brisk(),
        // Who says nothing may be at work, and would be paid twice.
        Case::streamed(
            "hangs, streamed, and is not asked again",
            vec![Reply::hangs()],
            Expected::refused(504, "model_timed_out", 1),
        )
        .brisk(),
        Case::streamed("hangs, then B, streamed", vec![Reply::hangs()], Expected::b(1))
            .or_b()
            .brisk(),
        Case::streamed("hangs after its head, then B", vec![head_only()], Expected::b(1))
            .or_b()
            .brisk(),
        Case::whole(
            "hangs in the body",
            vec![good().whole().in_pieces_of(20).stops_after(2, Ending::Hang)],
            Expected::refused(504, "model_timed_out", 1),
        )
        .brisk(),
        Case::streamed(
            "A hangs, B hangs",
            vec![Reply::hangs()],
            Expected {
                asked: (1, 1),
                target: super::Target::B,
                ..Expected::refused(504, "model_timed_out", 1)
            },
        )
        .or(vec![Reply::hangs()])
        .brisk(),
    ]
}
