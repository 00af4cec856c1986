//! Everything of Agentry that reads bytes which somebody else wrote, as functions of those bytes.
//!
//! A target panics when something is wrong: when the code under it does, and when one of its promises is broken, such as
//! that any split of a stream gives the same answer. It returns a number that stands for what happened, so that a runner
//! without knowledge of the code can tell inputs apart that lead to different places.

mod shape;
mod targets;

pub use shape::Shape;

/// One target. The number is the same for the same bytes.
pub type Target = fn(&[u8]) -> u64;

/// All there are, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("http1", targets::http1::http1),
    ("sse", targets::streams::sse),
    ("tap_chat", targets::taps::chat),
    ("tap_messages", targets::taps::messages),
    ("tap_responses", targets::taps::responses),
    ("head", targets::head::head),
    ("request_chat", targets::requests::chat),
    ("request_responses", targets::requests::responses),
    ("request_messages", targets::requests::messages),
    ("request_embeddings", targets::requests::embeddings),
    ("stream_chat", targets::streams::chat),
    ("stream_responses", targets::streams::responses),
    ("stream_messages", targets::streams::messages),
    ("stream_gemini", targets::streams::gemini),
    ("stream_ollama", targets::streams::ollama),
    ("eventstream", targets::streams::eventstream),
    ("errors", targets::errors::errors),
    ("guards", targets::guards::guards),
    ("credential", targets::credential::credential),
    ("toml_config", targets::config::config),
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// Runs one input.
///
/// # Panics
/// On a finding, and when there is no such target.
pub fn run(name: &str, data: &[u8]) {
    target(name).expect("a target of that name")(data);
}
