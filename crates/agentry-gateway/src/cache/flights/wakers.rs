//! Who waits for a flight to go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use super::lock;

/// Wakes all readers that wait.
#[derive(Default)]
pub(super) struct Wakers {
    /// The upstream has moved since it was polled last.
    moved: AtomicBool,
    waiting: Mutex<Vec<Option<Waker>>>,
}

impl Wakers {
    /// Whether it has, since the last time that somebody asked: then it is for the asker to poll it.
    pub(super) fn take_moved(&self) -> bool {
        self.moved.swap(false, Ordering::AcqRel)
    }

    pub(super) fn wait(&self, seat: usize, waker: &Waker) {
        let mut waiting = lock(&self.waiting);
        if waiting.len() <= seat {
            waiting.resize(seat + 1, None);
        }
        if let Some(place) = waiting.get_mut(seat) {
            match place {
                Some(known) => known.clone_from(waker),
                None => *place = Some(waker.clone()),
            }
        }
    }

    pub(super) fn leave(&self, seat: usize) {
        if let Some(place) = lock(&self.waiting).get_mut(seat) {
            *place = None;
        }
    }

    /// The upstream is worth a poll.
    pub(super) fn moved(&self) {
        self.moved.store(true, Ordering::Release);
        self.wake_all();
    }

    fn wake_all(&self) {
        let mut seat = 0;
        loop {
            let mut waiting = lock(&self.waiting);
            let Some(rest) = waiting.get_mut(seat..) else {
                return;
            };
            let Some(found) = rest.iter().position(Option::is_some) else {
                return;
            };
            let waker = rest.get_mut(found).and_then(Option::take);
            drop(waiting);
            seat += found + 1;
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.moved();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.moved();
    }
}
