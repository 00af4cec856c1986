//! Identical calls that are under way at the same time: one goes upstream, the others read along.
//!
//! Nobody owns the upstream call: it lives in the flight, and whichever reader is polled drives it. So the one that began
//! it may go away, or be slow, without anybody noticing; when the last reader goes, the call goes with it. There is no task,
//! and nothing to hand over. What a call has reserved belongs into the upstream stream, which ends when the call does.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

use super::Key;
use wakers::Wakers;

mod wakers;

/// A piece of an answer, cheap to clone.
pub trait Piece: Clone + Send + Unpin + 'static {
    /// Pieces that were read by all who are on board, kept for those who come later.
    type Past: Past<Self>;

    /// How much memory it holds.
    fn bytes(&self) -> usize;
}

pub trait Past<T>: Default + Send {
    fn add(&mut self, piece: T);
    /// What says the same as all that was added; perhaps in fewer pieces.
    fn pieces(&self) -> Vec<T>;
    fn bytes(&self) -> usize;
}

/// The whole call, from asking the upstream to its last piece. It does nothing until it is polled.
pub type Upstream<T, E> = Pin<Box<dyn Stream<Item = Result<T, E>> + Send>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// A flight that has said more takes nobody on board any more, and forgets what all have read. A reader that is this
    /// far behind afterwards is put off.
    pub flight_bytes_max: usize,
    /// The same, when all flights together hold more.
    pub bytes_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { flight_bytes_max: 512 << 10, bytes_max: 16 << 20 }
    }
}

/// All calls under way. A key holds the tenant: tenants never meet here.
pub struct Flights<T: Piece, E> {
    sky: Arc<Sky<T, E>>,
}

/// What [`Flights::enter`] makes of a call.
pub enum Entered<T: Piece, E> {
    /// Nobody asks this now: ask, and give the stream to [`Leader::fly`].
    Lead(Leader<T, E>),
    Follow(Follower<T, E>),
}

/// Must fly. Dropped before, it leaves its place to the first follower.
pub struct Leader<T: Piece, E> {
    seat: Seat<T, E>,
}

/// Waits for the leader to fly.
pub struct Follower<T: Piece, E> {
    seat: Seat<T, E>,
}

/// What a follower's waiting comes to.
pub enum Turn<T: Piece, E> {
    Read(Reader<T, E>),
    /// The leader left before it flew.
    Lead(Leader<T, E>),
}

/// The answer from its beginning. Ends after the last piece, or after the first error.
pub struct Reader<T: Piece, E> {
    seat: Seat<T, E>,
    /// What was said before this one came.
    earlier: VecDeque<T>,
    /// How many pieces were read, or taken over as earlier ones.
    at: u64,
    over: bool,
}

/// Why a reader got no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped<E> {
    /// All readers get this. The flight is off the board: who enters again leads a new one.
    #[error("{0}")]
    Upstream(E),
    /// Too far behind.
    #[error("this reader is too slow for the answer that it shares")]
    Behind,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlightStats {
    pub led: u64,
    pub joined: u64,
    /// Readers that were too slow.
    pub put_off: u64,
    /// Under way now.
    pub flights: u64,
    pub bytes: u64,
}

const SHARDS: usize = 16;

/// What may be joined.
type Board<T, E> = HashMap<Key, Arc<Flight<T, E>>>;

struct Sky<T: Piece, E> {
    shards: [Mutex<Board<T, E>>; SHARDS],
    bounds: Bounds,
    bytes: AtomicUsize,
    led: AtomicU64,
    joined: AtomicU64,
    put_off: AtomicU64,
}

struct Flight<T: Piece, E> {
    key: Key,
    state: Mutex<State<T, E>>,
    wakers: Arc<Wakers>,
    /// Of `wakers`, made once.
    waker: Waker,
}

struct State<T: Piece, E> {
    phase: Phase<T, E>,
    /// What all have read, for those who come. Gone once nobody will.
    past: Option<T::Past>,
    /// What comes after it.
    log: VecDeque<T>,
    /// Of both.
    bytes: usize,
    /// How many pieces have left the front of the log.
    passed: u64,
    /// Nobody comes on board any more.
    shut: bool,
    /// By seat: the next piece that its reader wants. Seats are given to others when they are free.
    seats: Vec<Option<u64>>,
}

enum Phase<T, E> {
    /// There is a leader that has not flown.
    Boarding,
    /// The leader has left, and followers are waiting.
    Vacant,
    Flying(Upstream<T, E>),
    Landed,
    Failed(E),
    /// The upstream panicked while it was polled, or everybody left.
    Lost,
}

/// A place on board. Leaving the last one ends the call.
struct Seat<T: Piece, E> {
    number: usize,
    role: Role,
    flight: Arc<Flight<T, E>>,
    sky: Arc<Sky<T, E>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Has not flown yet.
    Leads,
    Reads,
}

impl<T: Piece, E: Clone + Send + 'static> Flights<T, E> {
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let sky = Sky {
            shards: Default::default(),
            bounds,
            bytes: AtomicUsize::new(0),
            led: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            put_off: AtomicU64::new(0),
        };
        Self { sky: Arc::new(sky) }
    }

    #[must_use]
    pub fn enter(&self, key: &Key) -> Entered<T, E> {
        let sky = &self.sky;
        let mut shard = sky.shard(key);
        if let Some(flight) = shard.get(key)
            && let Some(number) = flight.board()
        {
            sky.joined.fetch_add(1, Ordering::Relaxed);
            let (flight, sky) = (Arc::clone(flight), Arc::clone(sky));
            return Entered::Follow(Follower {
                seat: Seat { number, role: Role::Reads, flight, sky },
            });
        }
        let flight = Arc::new(Flight::new(*key));
        shard.insert(*key, Arc::clone(&flight));
        sky.led.fetch_add(1, Ordering::Relaxed);
        let seat = Seat { number: 0, role: Role::Leads, flight, sky: Arc::clone(sky) };
        Entered::Lead(Leader { seat })
    }

    /// Nobody joins what is under way now: it goes on for those who have. For when answers were invalidated.
    pub fn part(&self) {
        for shard in &self.sky.shards {
            lock(shard).clear();
        }
    }

    #[must_use]
    pub fn stats(&self) -> FlightStats {
        let Sky { shards, bounds: _, bytes, led, joined, put_off } = self.sky.as_ref();
        let flights = shards.iter().map(|shard| lock(shard).len() as u64).sum();
        FlightStats {
            led: led.load(Ordering::Relaxed),
            joined: joined.load(Ordering::Relaxed),
            put_off: put_off.load(Ordering::Relaxed),
            flights,
            bytes: bytes.load(Ordering::Relaxed) as u64,
        }
    }
}

impl<T: Piece, E: Clone + Send + 'static> Leader<T, E> {
    /// From here on the leader is a reader like all others.
    #[must_use]
    pub fn fly(self, upstream: Upstream<T, E>) -> Reader<T, E> {
        let mut seat = self.seat;
        seat.role = Role::Reads;
        seat.flight.state().phase = Phase::Flying(upstream);
        seat.flight.wakers.moved();
        Reader { seat, earlier: VecDeque::new(), at: 0, over: false }
    }
}

impl<T: Piece, E: Clone + Send + 'static> Follower<T, E> {
    pub async fn turn(self) -> Turn<T, E> {
        let mut seat = self.seat;
        seat.role = poll_fn(|cx| seat.poll_turn(cx)).await;
        match seat.role {
            Role::Leads => Turn::Lead(Leader { seat }),
            Role::Reads => {
                Turn::Read(Reader { seat, earlier: VecDeque::new(), at: 0, over: false })
            }
        }
    }
}

impl<T: Piece, E> Seat<T, E> {
    fn poll_turn(&self, cx: &Context<'_>) -> Poll<Role> {
        let mut state = self.flight.state();
        match state.phase {
            Phase::Boarding => {
                self.flight.wakers.wait(self.number, cx.waker());
                Poll::Pending
            }
            Phase::Vacant => {
                state.phase = Phase::Boarding;
                Poll::Ready(Role::Leads)
            }
            Phase::Flying(_) | Phase::Landed | Phase::Failed(_) | Phase::Lost => {
                Poll::Ready(Role::Reads)
            }
        }
    }
}

impl<T: Piece, E: Clone + Send + 'static> Reader<T, E> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Stopped<E>>>> {
        let flight = &self.seat.flight;
        let mut waits = false;
        loop {
            if let Some(piece) = self.earlier.pop_front() {
                return Poll::Ready(Some(Ok(piece)));
            }
            let mut state = flight.state();
            if self.at < state.passed {
                let Some(past) = state.past.as_ref().filter(|_| self.at == 0) else {
                    self.seat.sky.put_off.fetch_add(1, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(Stopped::Behind)));
                };
                self.earlier = past.pieces().into();
                self.at = state.passed;
                let freed = state.has_read(self.seat.number, self.at);
                drop(state);
                self.seat.sky.bytes.fetch_sub(freed, Ordering::Relaxed);
                continue;
            }
            if let Some(piece) = state.piece(self.at) {
                self.at += 1;
                let freed = state.has_read(self.seat.number, self.at);
                drop(state);
                self.seat.sky.bytes.fetch_sub(freed, Ordering::Relaxed);
                return Poll::Ready(Some(Ok(piece)));
            }
            match &state.phase {
                Phase::Failed(error) => {
                    let error = error.clone();
                    return Poll::Ready(Some(Err(Stopped::Upstream(error))));
                }
                Phase::Landed | Phase::Lost => return Poll::Ready(None),
                Phase::Flying(_) | Phase::Boarding | Phase::Vacant => {}
            }
            if !waits {
                // Whatever moves from now on wakes us.
                flight.wakers.wait(self.seat.number, cx.waker());
                waits = true;
            }
            if !flight.wakers.take_moved() {
                return Poll::Pending;
            }
            let arrived = flight.advance(&mut state, &self.seat.sky);
            drop(state);
            match arrived {
                Arrived::Nothing => continue,
                Arrived::Piece | Arrived::End => {}
                Arrived::Failure => self.seat.sky.remove(flight),
            }
            // This reader is awake already. After a piece there may be another one.
            flight.wakers.leave(self.seat.number);
            flight.wakers.moved();
            waits = false;
        }
    }
}

impl<T: Piece, E: Clone + Send + 'static> Stream for Reader<T, E> {
    type Item = Result<T, Stopped<E>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let polled = self.poll_piece(cx);
        self.over = matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }
}

/// What polling the upstream brought.
enum Arrived {
    Nothing,
    Piece,
    End,
    Failure,
}

impl<T: Piece, E: Clone + Send + 'static> Flight<T, E> {
    fn new(key: Key) -> Self {
        let wakers = Arc::new(Wakers::default());
        let state = State {
            phase: Phase::Boarding,
            past: Some(T::Past::default()),
            log: VecDeque::new(),
            bytes: 0,
            passed: 0,
            shut: false,
            seats: vec![Some(0)],
        };
        Self { key, state: Mutex::new(state), waker: Arc::clone(&wakers).into(), wakers }
    }

    /// A seat, unless it is too late.
    fn board(&self) -> Option<usize> {
        let mut state = self.state();
        let late = match state.phase {
            Phase::Boarding | Phase::Vacant | Phase::Flying(_) | Phase::Landed => state.shut,
            Phase::Failed(_) | Phase::Lost => true,
        };
        if late {
            return None;
        }
        if let Some(number) = state.seats.iter().position(Option::is_none)
            && let Some(seat) = state.seats.get_mut(number)
        {
            *seat = Some(0);
            return Some(number);
        }
        state.seats.push(Some(0));
        Some(state.seats.len() - 1)
    }

    /// Polls the upstream once, for all.
    fn advance(&self, state: &mut State<T, E>, sky: &Sky<T, E>) -> Arrived {
        // While it is polled it is not in the state: should it panic, the flight is lost and says so.
        let phase = std::mem::replace(&mut state.phase, Phase::Lost);
        let Phase::Flying(mut upstream) = phase else {
            state.phase = phase;
            return Arrived::Nothing;
        };
        match upstream.as_mut().poll_next(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => {
                state.phase = Phase::Flying(upstream);
                Arrived::Nothing
            }
            Poll::Ready(Some(Ok(piece))) => {
                state.phase = Phase::Flying(upstream);
                let bytes = piece.bytes();
                state.log.push_back(piece);
                state.bytes += bytes;
                let all = sky.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
                let Bounds { flight_bytes_max, bytes_max } = sky.bounds;
                if state.shut || state.bytes > flight_bytes_max || all > bytes_max {
                    state.shut = true;
                    let freed = state.forget(flight_bytes_max);
                    sky.bytes.fetch_sub(freed, Ordering::Relaxed);
                }
                Arrived::Piece
            }
            Poll::Ready(Some(Err(error))) => {
                state.phase = Phase::Failed(error);
                Arrived::Failure
            }
            Poll::Ready(None) => {
                state.phase = Phase::Landed;
                Arrived::End
            }
        }
    }
}

impl<T: Piece, E> Flight<T, E> {
    fn state(&self) -> MutexGuard<'_, State<T, E>> {
        lock(&self.state)
    }
}

impl<T: Piece, E> State<T, E> {
    fn piece(&self, at: u64) -> Option<T> {
        let at = usize::try_from(at.checked_sub(self.passed)?).ok()?;
        self.log.get(at).cloned()
    }

    /// Notes how far a reader is. Tells how many bytes that freed.
    fn has_read(&mut self, seat: usize, at: u64) -> usize {
        if let Some(place) = self.seats.get_mut(seat) {
            *place = Some(at);
        }
        if self.shut { self.forget(usize::MAX) } else { self.remember() }
    }

    fn read_by_all(&self) -> u64 {
        self.seats.iter().flatten().min().copied().unwrap_or(u64::MAX)
    }

    /// Folds what all have read. Tells how many bytes that freed; what is short may grow, and wraps around then.
    fn remember(&mut self) -> usize {
        let read_by_all = self.read_by_all();
        let Some(past) = &mut self.past else { return 0 };
        let before = self.bytes;
        while self.passed < read_by_all
            && let Some(piece) = self.log.pop_front()
        {
            self.passed += 1;
            self.bytes = self.bytes.saturating_sub(piece.bytes() + past.bytes());
            past.add(piece);
            self.bytes += past.bytes();
        }
        before.wrapping_sub(self.bytes)
    }

    /// Forgets what all have read, and the oldest of the rest until no more than `bytes_max` are left, but for the last
    /// piece. Tells how many bytes that freed.
    fn forget(&mut self, bytes_max: usize) -> usize {
        let read_by_all = self.read_by_all();
        let before = self.bytes;
        if let Some(past) =
            self.past.take_if(|_| self.passed <= read_by_all || self.bytes > bytes_max)
        {
            self.bytes = self.bytes.saturating_sub(past.bytes());
        }
        while self.passed < read_by_all || (self.bytes > bytes_max && self.log.len() > 1) {
            let Some(piece) = self.log.pop_front() else {
                break;
            };
            self.passed += 1;
            self.bytes = self.bytes.saturating_sub(piece.bytes());
        }
        before - self.bytes
    }
}

impl<T: Piece, E> Drop for Seat<T, E> {
    fn drop(&mut self) {
        let Self { number, role, flight, sky } = self;
        // Before the seat is given to another, who waits in his own name.
        flight.wakers.leave(*number);
        let mut state = flight.state();
        if let Some(seat) = state.seats.get_mut(*number) {
            *seat = None;
        }
        if *role == Role::Leads {
            state.phase = Phase::Vacant;
        }
        let last = state.seats.iter().all(Option::is_none);
        let mut gone = None;
        if last {
            state.shut = true;
            sky.bytes.fetch_sub(std::mem::take(&mut state.bytes), Ordering::Relaxed);
            // Whatever the upstream does when it is dropped, it does outside the lock.
            gone = Some(std::mem::replace(&mut state.phase, Phase::Lost));
        }
        drop(state);
        if last {
            sky.remove(flight);
        } else {
            flight.wakers.moved();
        }
        drop(gone);
    }
}

impl<T: Piece, E> Sky<T, E> {
    fn shard(&self, key: &Key) -> MutexGuard<'_, Board<T, E>> {
        let [first, ..] = key.0;
        let [fallback, ..] = &self.shards;
        lock(self.shards.get(usize::from(first) % SHARDS).unwrap_or(fallback))
    }

    /// Off the board, unless another has taken its place.
    fn remove(&self, flight: &Arc<Flight<T, E>>) {
        let mut shard = self.shard(&flight.key);
        if shard.get(&flight.key).is_some_and(|found| Arc::ptr_eq(found, flight)) {
            shard.remove(&flight.key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
