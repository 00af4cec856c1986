//! A pattern as an automaton that is run from one place: it tells what matches there, and whether more text could change that.

use regex_automata::Anchored;
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::util::{start, syntax};

const SIZE: usize = 4 << 20;

pub(crate) struct Automaton(dense::DFA<Vec<u32>>);

/// What a run from one place came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Where the match ends, if there is one.
    pub(crate) end: Option<usize>,
    /// Whether the text ended before the automaton did.
    pub(crate) is_live: bool,
}

impl Automaton {
    /// For bytes; `None` when it would be too big.
    pub(crate) fn bytes(pattern: &str) -> Option<Self> {
        Self::build(&[pattern], syntax::Config::new().unicode(false).utf8(false))
    }

    /// For text; `None` when it would be too big.
    pub(crate) fn text(patterns: &[&str]) -> Option<Self> {
        Self::build(patterns, syntax::Config::new())
    }

    fn build(patterns: &[&str], syntax: syntax::Config) -> Option<Self> {
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .accelerate(false)
            .unicode_word_boundary(true)
            .dfa_size_limit(Some(SIZE))
            .determinize_size_limit(Some(SIZE * 4));
        dense::Builder::new().configure(config).syntax(syntax).build_many(patterns).ok().map(Self)
    }

    pub(crate) fn run(&self, bytes: &[u8], from: usize) -> Run {
        let before = from.checked_sub(1).and_then(|at| bytes.get(at)).copied();
        let config = start::Config::new().look_behind(before).anchored(Anchored::Yes);
        let Ok(mut state) = self.0.start_state(&config) else {
            return Run { end: None, is_live: true };
        };
        let mut run = Run { end: None, is_live: true };
        for (at, byte) in bytes.iter().enumerate().skip(from) {
            state = self.0.next_state(state, *byte);
            if self.0.is_match_state(state) {
                run.end = Some(at);
            } else if self.0.is_dead_state(state) {
                run.is_live = false;
                return run;
            } else if self.0.is_quit_state(state) {
                return run;
            }
        }
        if self.0.is_match_state(self.0.next_eoi_state(state)) {
            run.end = Some(bytes.len());
        }
        run
    }
}

impl std::fmt::Debug for Automaton {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Automaton")
    }
}
