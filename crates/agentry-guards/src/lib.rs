//! Finds personal data, secrets, denied patterns and injection attempts in what models hear and say, and acts on them.
//!
//! Everything here is a function of the text and the policy: no I/O, no runtime, no clock. It knows rules, checksums and
//! context words. It does not know names, addresses or meaning, and it does not judge whether a text is harmful.

mod answer;
mod automaton;
mod carried;
mod checksum;
mod context;
mod deny;
mod fold;
mod hay;
mod injection;
mod json;
mod keyed;
mod kind;
mod policy;
mod recognise;
mod report;
mod scan;
mod screen;
mod secret;
mod settings;
mod stream;

use std::sync::Arc;

use agentry_core::chat::{ChatRequest, ChatResponse};
use agentry_core::embed::EmbeddingRequest;

pub use answer::AnswerGuard;
pub use json::JsonGuard;
pub use keyed::pseudonym;
pub use kind::Kind;
pub use report::{Blocked, Found, Report};
pub use scan::{Cleaned, Finding};
pub use settings::{Action, Problem, Settings};
pub use stream::StreamGuard;

use policy::Policy;

/// A policy, ready to be applied. A clone shares it.
#[derive(Debug, Clone)]
pub struct Guards(Arc<Policy>);

impl Guards {
    /// Compiles the settings, or says all that is wrong with them.
    pub fn new(settings: &Settings) -> Result<Self, Vec<Problem>> {
        Policy::new(settings).map(|policy| Self(Arc::new(policy)))
    }

    /// Whether nothing is looked for: then a call need not be read.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    /// Whether answers are read, and so need an [`AnswerGuard`].
    #[must_use]
    pub fn reads_answers(&self) -> bool {
        self.0.reads_text()
    }

    /// Differs between policies that may treat a text differently.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.0.fingerprint
    }

    /// All findings in a text, in order; none overlaps another, but for attempts at injection.
    #[must_use]
    pub fn scan(&self, text: &str) -> Vec<Finding> {
        scan::scan(&self.0, text)
    }

    /// The text as it may pass. What blocks is among the findings and left as it is.
    #[must_use]
    pub fn clean<'a>(&self, text: &'a str) -> Cleaned<'a> {
        scan::clean(&self.0, text)
    }

    /// Applies the policy to what a caller sends.
    pub fn screen(&self, request: &mut ChatRequest) -> Result<Report, Blocked> {
        screen::request(&self.0, request)
    }

    /// Applies the policy to texts that are to become vectors.
    pub fn screen_embedding(&self, request: &mut EmbeddingRequest) -> Result<Report, Blocked> {
        screen::embedding(&self.0, request)
    }

    /// Applies the policy to a whole answer.
    pub fn screen_response(&self, response: &mut ChatResponse) -> Result<Report, Blocked> {
        screen::response(&self.0, response)
    }

    /// For one text in pieces; `place` names it in reports.
    #[must_use]
    pub fn stream(&self, place: impl Into<String>) -> StreamGuard {
        StreamGuard::new(Arc::clone(&self.0), place.into())
    }

    /// For the arguments of a tool call in pieces.
    #[must_use]
    pub fn json(&self, place: impl Into<String>) -> JsonGuard {
        JsonGuard::new(Arc::clone(&self.0), place.into())
    }

    /// For an answer as events.
    #[must_use]
    pub fn answer(&self) -> AnswerGuard {
        AnswerGuard::new(Arc::clone(&self.0))
    }
}
