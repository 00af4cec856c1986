//! What should come of these faults, and does not yet. Each says what is missing.

use agentry_testkit::vendor::Ending;

use super::{Case, Expected, good};

pub(super) fn cases() -> Vec<Case> {
    let bad_chunk = || good().stream().with_piece(3, b"data: {\"choices\":[{\n\n".as_slice());
    let role_only = |ending| good().stream().stops_after(1, ending);
    let done = good().stream().pieces();
    vec![
        // The answer has ended, only its last line has not come.
        Case::streamed(
            "stalls before [DONE]",
            vec![good().stream().stops_after(done - 1, Ending::Hang)],
            Expected::a(1),
        )
        .brisk(),
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
        // One damaged chunk is no reason to lose all that follows.
        Case::streamed("a damaged chunk is skipped", vec![bad_chunk()], Expected::a(1).not_kept()),
    ]
}
