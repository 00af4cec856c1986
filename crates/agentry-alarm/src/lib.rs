//! Time limits that cost nothing until somebody waits, and little then.
//!
//! The runtime's own timer is large, wants to lie at an address of its own, and is entered into a wheel each time it is set.
//! On the path of every call and every piece of a stream that is too much: nearly all of these limits are never reached.
//! An [`Alarm`] makes its timer with the first wait, outside of the future that it guards, and when its limit moves away it
//! lets the timer go off and sets it anew.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

/// Goes off once its limit is reached.
#[derive(Debug)]
pub struct Alarm {
    until: Instant,
    /// Set for `until` or for an earlier moment.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    #[must_use]
    pub fn new(until: Instant) -> Self {
        Self { until, sleep: None }
    }

    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Moves the limit.
    pub fn set(&mut self, until: Instant) {
        if until < self.until {
            // A timer for a later moment would be late.
            self.sleep = None;
        }
        self.until = until;
    }

    /// Ready once the limit is reached. Until then the task is woken when it may be.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let until = self.until;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}

/// The time was up before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

/// What `future` comes to, if it does so before `until`.
pub fn within<F: Future>(until: Instant, future: F) -> Within<F> {
    Within { future, alarm: Alarm::new(until) }
}

pin_project! {
    /// See [`within`]. Not an `async fn`, which would have room for `future` twice: where it is given and where it is polled.
    #[derive(Debug)]
    #[must_use = "futures do nothing until they are polled"]
    pub struct Within<F> {
        #[pin]
        future: F,
        alarm: Alarm,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = Result<F::Output, TimedOut>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => this.alarm.poll(cx).map(|()| Err(TimedOut)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_is_given_up_and_what_is_ready_is_not() {
        let start = Instant::now();
        assert_eq!(within(start, ready(7)).await, Ok(7));
        assert_eq!(within(start + SECOND, pending::<()>()).await, Err(TimedOut));
        assert_eq!(start.elapsed(), SECOND);
        let slow = tokio::time::sleep(SECOND);
        assert_eq!(within(start + 3 * SECOND, slow).await, Ok(()));
        assert_eq!(start.elapsed(), 2 * SECOND);
    }

    #[test]
    fn what_is_waited_for_has_room_once() {
        let large = async {
            let room = [0_u8; 1000];
            pending::<()>().await;
            room
        };
        let alone = size_of_val(&large);
        assert!(size_of_val(&within(Instant::now(), large)) < alone + 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_moves_counts_from_where_it_moved_to() {
        for (first, then) in [(1, 3), (3, 1), (2, 2)] {
            let start = Instant::now();
            let mut alarm = Alarm::new(start + first * SECOND);
            let early = within(start + SECOND / 2, poll_fn(|cx| alarm.poll(cx))).await;
            assert_eq!(early, Err(TimedOut));
            alarm.set(start + then * SECOND);
            poll_fn(|cx| alarm.poll(cx)).await;
            assert_eq!(start.elapsed(), then * SECOND, "{first} s, then {then} s");
        }
    }
}
