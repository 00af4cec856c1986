//! A text that arrives in pieces: what may still become a finding is held back, all else goes on at once.

use std::sync::Arc;

use crate::Action;
use crate::fold::floor;
use crate::policy::Policy;
use crate::recognise::{LEFT, live};
use crate::report::{Blocked, Report};
use crate::scan::{self, End, Pass, UNPROVEN};

/// What has passed and is kept, for a recogniser looks at what stands before.
const CONTEXT: usize = LEFT + 32;

/// The most that is held back while something that must be replaced goes on.
const HELD_MAX: usize = 64 << 10;

/// The guard of one text. However the text is cut into pieces, the same comes out.
#[derive(Debug, Clone)]
pub struct StreamGuard {
    policy: Arc<Policy>,
    place: String,
    /// Context, then what is held back.
    buffer: String,
    /// Where what is held back begins.
    held_from: usize,
    /// How long the buffer was when it was last read.
    read: usize,
    /// Whether the beginning of the text has left the buffer.
    is_cut: bool,
    report: Report,
}

impl StreamGuard {
    pub(crate) fn new(policy: Arc<Policy>, place: String) -> Self {
        Self {
            policy,
            place,
            buffer: String::new(),
            held_from: 0,
            read: 0,
            is_cut: false,
            report: Report::default(),
        }
    }

    /// Begins a new text after words that explain it, such as the name of the field.
    pub(crate) fn restart(&mut self, context: &str) {
        self.buffer.clear();
        self.buffer.push_str(context);
        self.held_from = self.buffer.len();
        self.read = self.held_from;
        self.is_cut = false;
    }

    /// Takes a piece, and adds to `out` what may go on.
    pub fn push(&mut self, piece: &str, out: &mut String) -> Result<(), Blocked> {
        if !self.policy.reads_text() {
            out.push_str(piece);
            return Ok(());
        }
        self.buffer.push_str(piece);
        let held = self.buffer.as_bytes().get(self.held_from..).unwrap_or_default();
        if live::is_token(held) {
            return Ok(());
        }
        // What is long in the making is read again only when a part of its length has come, so that it costs a multiple
        // of its length and not its square.
        if self.buffer.len() - self.read < (self.read - self.held_from) / 16 {
            return Ok(());
        }
        self.step(End::Open, out)
    }

    /// The text is complete: nothing stays behind.
    pub fn finish(&mut self, out: &mut String) -> Result<(), Blocked> {
        let end = self.flush(out);
        self.restart("");
        end
    }

    /// Lets go of what is held back though the text may go on. What then turns out to have begun is replaced from here on.
    pub(crate) fn flush(&mut self, out: &mut String) -> Result<(), Blocked> {
        if self.buffer.len() == self.held_from {
            return Ok(());
        }
        self.step(End::Here, out)
    }

    /// What was found so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    pub(crate) fn take_report(&mut self) -> Report {
        std::mem::take(&mut self.report)
    }

    fn step(&mut self, ends: End, out: &mut String) -> Result<(), Blocked> {
        let Pass { mut candidates, live } =
            scan::pass(&self.policy, &self.buffer, self.held_from, ends);
        let (from, is_cut) = (self.held_from, self.is_cut);
        // What only seems to begin where the buffer does, and what has been dealt with.
        candidates.retain(|one| one.end > from && !(is_cut && one.start == 0));
        for candidate in &mut candidates {
            candidate.start = candidate.start.max(from);
        }
        let len = self.buffer.len();
        let mut to = if ends == End::Here { len } else { live.clamp(from, len) };
        if len - to > UNPROVEN {
            to = floor(&self.buffer, len - UNPROVEN).max(from);
        }
        // Never cut through a candidate, nor through those that hang together with it.
        candidates.sort_by_key(|one| std::cmp::Reverse(one.end));
        for one in &candidates {
            if one.start < to && to < one.end {
                to = one.start;
            }
        }
        if len - to > HELD_MAX {
            return Err(Blocked::Endless { place: self.place.clone() });
        }
        candidates.retain(|one| one.end <= to);
        let findings = scan::resolve(&self.policy, candidates);
        let blocks = findings.iter().any(|finding| finding.action == Action::Block);
        if !blocks {
            scan::write(&self.policy, &self.buffer, from..to, &findings, out);
        }
        self.held_from = to;
        self.read = len;
        self.trim();
        self.report.add(findings, || self.place.clone())
    }

    /// Forgets context that no recogniser reaches.
    fn trim(&mut self) {
        if self.held_from > 4 * CONTEXT {
            let cut = floor(&self.buffer, self.held_from - CONTEXT);
            self.buffer.drain(..cut);
            self.held_from -= cut;
            self.read -= cut;
            self.is_cut = true;
        }
    }
}

#[cfg(test)]
mod tests;
