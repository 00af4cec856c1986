//! Chat completions, spoken by OpenAI and by everyone who is compatible with it.

mod chunks;
mod decode;
mod encode;
mod quirks;
mod tap;

pub use chunks::Chunks;
pub use decode::{Decoder, response};
pub use encode::body;
pub use quirks::{Developer, MaxTokens, Quirks, Thoughts, UnknownQuirk};
pub use tap::{Reader, whole};

use agentry_core::chat::Head;

/// `head` with the blanks filled in.
#[must_use]
pub fn complete(head: Head, fallback: &Head) -> Head {
    Head {
        id: if head.id.is_empty() { fallback.id.clone() } else { head.id },
        model: if head.model.is_empty() { fallback.model.clone() } else { head.model },
        created: if head.created == 0 { fallback.created } else { head.created },
        extra: head.extra,
    }
}
