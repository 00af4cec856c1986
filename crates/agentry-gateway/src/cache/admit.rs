//! Which answers may be kept. Pure.

use agentry_core::chat::FinishReason;

/// How an answer ended, as far as it matters for keeping it. The temperature does not: who asks twice with the same words
/// and wants two answers says `x-agentry-cache: off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered<'a> {
    /// The upstream said that it was the end: `[DONE]`, the last event of its protocol, or a whole body of the promised
    /// length.
    pub end: End,
    pub guarded: Guarded,
    /// The request's `n`.
    pub choices_asked: u32,
    /// One for each choice that came, nothing for one that never finished.
    pub finishes: &'a [Option<FinishReason>],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Reached,
    /// Cut, cancelled, or ended by an error.
    Missing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    Passed,
    /// What the caller got is what is kept; the guards' version is part of the key.
    Redacted,
    Blocked,
}

/// Why an answer is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    #[error("it did not come to its end")]
    Truncated,
    #[error("a guard blocked it")]
    Blocked,
    #[error("a choice is missing or did not finish")]
    Unfinished,
    #[error("it was cut off at its length limit")]
    Length,
    #[error("the upstream filtered it")]
    Filtered,
    #[error("it ended for a reason that is not known")]
    OddEnd,
}

/// Only a whole answer that nobody filtered is kept: each choice that was asked for ended with `stop` or `tool_calls`.
pub fn admit(answered: &Answered<'_>) -> Result<(), NotKept> {
    let Answered { end, guarded, choices_asked, finishes } = answered;
    match end {
        End::Reached => {}
        End::Missing => return Err(NotKept::Truncated),
    }
    match guarded {
        Guarded::Passed | Guarded::Redacted => {}
        Guarded::Blocked => return Err(NotKept::Blocked),
    }
    if finishes.len() != usize::try_from(*choices_asked).unwrap_or(usize::MAX).max(1) {
        return Err(NotKept::Unfinished);
    }
    finishes.iter().try_for_each(|finish| match finish {
        Some(FinishReason::Stop | FinishReason::ToolCalls) => Ok(()),
        Some(FinishReason::Length) => Err(NotKept::Length),
        Some(FinishReason::ContentFilter) => Err(NotKept::Filtered),
        Some(FinishReason::Other(_)) => Err(NotKept::OddEnd),
        None => Err(NotKept::Unfinished),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_and_unfiltered_answers_are_kept() {
        use FinishReason::{ContentFilter, Length, Other, Stop, ToolCalls};
        use Guarded::{Blocked, Passed, Redacted};
        let check = |end, guarded, choices_asked, finishes: &[Option<FinishReason>], expected| {
            let answered = Answered { end, guarded, choices_asked, finishes };
            assert_eq!(admit(&answered), expected, "{answered:?}");
        };
        let (whole, cut) = (End::Reached, End::Missing);
        check(whole, Passed, 1, &[Some(Stop)], Ok(()));
        check(whole, Redacted, 1, &[Some(ToolCalls)], Ok(()));
        check(whole, Passed, 0, &[Some(Stop)], Ok(()));
        check(whole, Passed, 2, &[Some(Stop), Some(ToolCalls)], Ok(()));
        check(cut, Passed, 1, &[Some(Stop)], Err(NotKept::Truncated));
        check(whole, Blocked, 1, &[Some(Stop)], Err(NotKept::Blocked));
        check(whole, Passed, 1, &[], Err(NotKept::Unfinished));
        check(whole, Passed, 1, &[None], Err(NotKept::Unfinished));
        check(whole, Passed, 2, &[Some(Stop)], Err(NotKept::Unfinished));
        check(whole, Passed, 2, &[Some(Stop), None], Err(NotKept::Unfinished));
        check(whole, Passed, 2, &[Some(Stop), Some(Length)], Err(NotKept::Length));
        check(whole, Passed, 1, &[Some(ContentFilter)], Err(NotKept::Filtered));
        let odd = Other("repetition".to_owned());
        check(whole, Passed, 1, &[Some(odd)], Err(NotKept::OddEnd));
    }
}
