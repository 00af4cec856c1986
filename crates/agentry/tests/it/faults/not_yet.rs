//! What should come of these faults, and does not yet. Each says what is missing.

use agentry_testkit::vendor::Ending;

use super::{Case, Expected, good};

pub(super) fn cases() -> Vec<Case> {
    let bad_chunk = || good().stream().with_piece(3, b"data: {\"choices\":[{\n\n".as_slice());
    let done = good().stream().pieces();
    vec![
        // The answer has ended, only its last line has not come.
        Case::streamed(
            "stalls before [DONE]",
            vec![good().stream().stops_after(done - 1, Ending::Hang)],
            Expected::a(1),
        )
        .brisk(),
        // One damaged chunk is no reason to lose all that follows.
        Case::streamed("a damaged chunk is skipped", vec![bad_chunk()], Expected::a(1).not_kept()),
    ]
}
