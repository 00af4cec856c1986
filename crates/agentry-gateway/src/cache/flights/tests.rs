use std::collections::BTreeMap;
use std::sync::atomic::AtomicU32;
use std::task::Wake;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word(u64);

/// Each word weighs ten bytes.
impl Piece for Word {
    type Past = Vec<Self>;

    fn bytes(&self) -> usize {
        10
    }
}

impl Past<Word> for Vec<Word> {
    fn add(&mut self, piece: Word) {
        self.push(piece);
    }

    fn pieces(&self) -> Self {
        self.clone()
    }

    fn bytes(&self) -> usize {
        10 * self.len()
    }
}

type Error = &'static str;
type Sharing = Flights<Word, Error>;

/// An upstream that says what the test tells it to, and notices its end.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    ready: VecDeque<Option<Result<Word, Error>>>,
    waker: Option<Waker>,
    dropped: bool,
    polls: u32,
}

impl Script {
    fn says(&self, line: Option<Result<Word, Error>>) {
        let waker = {
            let mut lines = lock(&self.0);
            lines.ready.push_back(line);
            lines.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn upstream(&self) -> Upstream<Word, Error> {
        struct Cut(Script);
        impl Drop for Cut {
            fn drop(&mut self) {
                lock(&self.0.0).dropped = true;
            }
        }
        let cut = Cut(self.clone());
        stream::poll_fn(move |cx| {
            let mut lines = lock(&cut.0.0);
            lines.polls += 1;
            match lines.ready.pop_front() {
                Some(line) => Poll::Ready(line),
                None => {
                    lines.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .boxed()
    }
}

#[derive(Default)]
struct Alarm(AtomicU32);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// One caller, polled by hand.
struct Caller {
    reader: Reader<Word, Error>,
    alarm: Arc<Alarm>,
    heard: Vec<u64>,
    end: Option<Result<(), Stopped<Error>>>,
    waits: bool,
}

impl Caller {
    fn new(reader: Reader<Word, Error>) -> Self {
        Self { reader, alarm: Arc::default(), heard: Vec::new(), end: None, waits: false }
    }

    /// Whether it was told to look again since it waits.
    fn is_woken(&self) -> bool {
        !self.waits || self.alarm.0.load(Ordering::SeqCst) > 0
    }

    fn poll(&mut self) {
        self.alarm.0.store(0, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.alarm));
        self.waits = false;
        match self.reader.poll_next_unpin(&mut Context::from_waker(&waker)) {
            Poll::Pending => self.waits = true,
            Poll::Ready(Some(Ok(Word(word)))) => self.heard.push(word),
            Poll::Ready(Some(Err(stopped))) => self.end = Some(Err(stopped)),
            Poll::Ready(None) => self.end = self.end.take().or(Some(Ok(()))),
        }
    }

    /// Polls as long as it is told to.
    fn run(&mut self) {
        while self.end.is_none() && self.is_woken() {
            self.poll();
        }
    }
}

const KEY: Key = Key([7; 32]);

fn board() -> Sharing {
    Flights::new(Bounds::default())
}

fn lead(board: &Sharing, script: &Script) -> Caller {
    match board.enter(&KEY) {
        Entered::Lead(leader) => Caller::new(leader.fly(script.upstream())),
        Entered::Follow(_) => panic!("there is a flight already"),
    }
}

fn follow(board: &Sharing) -> Caller {
    match board.enter(&KEY) {
        Entered::Lead(_) => panic!("there is no flight"),
        Entered::Follow(follower) => match follower.turn().now_or_never() {
            Some(Turn::Read(reader)) => Caller::new(reader),
            Some(Turn::Lead(_)) | None => panic!("it flies"),
        },
    }
}

#[test]
fn a_late_follower_hears_everything_from_the_beginning() {
    let (board, script) = (board(), Script::default());
    let mut leader = lead(&board, &script);
    script.says(Some(Ok(Word(1))));
    script.says(Some(Ok(Word(2))));
    leader.run();
    let mut follower = follow(&board);
    follower.run();
    script.says(Some(Ok(Word(3))));
    script.says(None);
    follower.run();
    leader.run();
    for caller in [&leader, &follower] {
        assert_eq!((caller.heard.as_slice(), &caller.end), ([1, 2, 3].as_slice(), &Some(Ok(()))));
    }
    drop((leader, follower));
    assert_eq!(board.stats(), FlightStats { led: 1, joined: 1, ..FlightStats::default() });
}

#[test]
fn a_call_goes_on_when_its_leader_leaves_and_ends_with_its_last_reader() {
    let (board, script) = (board(), Script::default());
    let mut leader = lead(&board, &script);
    leader.run();
    let mut follower = follow(&board);
    follower.run();
    drop(leader);
    script.says(Some(Ok(Word(1))));
    assert!(follower.is_woken());
    follower.run();
    assert_eq!(follower.heard, [1]);
    assert!(!lock(&script.0).dropped);
    drop(follower);
    assert!(lock(&script.0).dropped, "nobody reads, so nobody asks");
    assert!(matches!(board.enter(&KEY), Entered::Lead(_)));
}

#[test]
fn a_failure_reaches_all_and_the_next_one_leads_anew() {
    let (board, script) = (board(), Script::default());
    let mut leader = lead(&board, &script);
    let mut follower = follow(&board);
    leader.run();
    follower.run();
    script.says(Some(Err("refused")));
    follower.run();
    let mut second = lead(&board, &Script::default());
    leader.run();
    for caller in [&leader, &follower] {
        assert_eq!(caller.end, Some(Err(Stopped::Upstream("refused"))));
    }
    second.run();
    assert_eq!(second.end, None);
    drop((leader, follower));
    assert!(
        matches!(board.enter(&KEY), Entered::Follow(_)),
        "the old one leaves the new one alone"
    );
}

#[test]
fn a_leader_that_never_flew_leaves_its_place_to_the_first_follower() {
    let board = board();
    let Entered::Lead(leader) = board.enter(&KEY) else { panic!() };
    let mut turns: Vec<_> = (0..3)
        .map(|_| match board.enter(&KEY) {
            Entered::Follow(follower) => Box::pin(follower.turn()),
            Entered::Lead(_) => panic!(),
        })
        .collect();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(turns.iter_mut().all(|turn| turn.poll_unpin(&mut cx).is_pending()));
    drop(leader);
    let mut next = turns.remove(1);
    let Poll::Ready(Turn::Lead(leader)) = next.poll_unpin(&mut cx) else { panic!() };
    assert!(turns.iter_mut().all(|turn| turn.poll_unpin(&mut cx).is_pending()));
    let script = Script::default();
    script.says(Some(Ok(Word(5))));
    script.says(None);
    let mut leader = Caller::new(leader.fly(script.upstream()));
    for mut turn in turns {
        let Poll::Ready(Turn::Read(reader)) = turn.poll_unpin(&mut cx) else { panic!() };
        let mut follower = Caller::new(reader);
        follower.run();
        assert_eq!(follower.heard, [5]);
    }
    leader.run();
    assert_eq!(leader.heard, [5]);
}

#[test]
fn a_long_answer_takes_nobody_on_board_and_forgets_what_was_read() {
    let board = Sharing::new(Bounds { flight_bytes_max: 50, bytes_max: 1_000 });
    let script = Script::default();
    let mut leader = lead(&board, &script);
    let mut slow = follow(&board);
    let mut keen = follow(&board);
    for word in 0..20 {
        script.says(Some(Ok(Word(word))));
        leader.run();
        keen.run();
    }
    assert!(matches!(board.enter(&KEY), Entered::Lead(_)), "too late to join");
    assert_eq!(board.stats().bytes, 50);
    slow.run();
    assert_eq!((slow.heard.len(), slow.end.as_ref()), (0, Some(&Err(Stopped::Behind))));
    script.says(None);
    leader.run();
    keen.run();
    let all: Vec<u64> = (0..20).collect();
    assert_eq!((&leader.heard, &keen.heard), (&all, &all));
    drop((leader, slow, keen));
    let stats = board.stats();
    assert_eq!((stats.bytes, stats.flights, stats.put_off), (0, 0, 1));
}

#[test]
fn a_lone_reader_is_never_behind_and_polls_no_more_than_needed() {
    let board = Sharing::new(Bounds { flight_bytes_max: 15, bytes_max: 15 });
    let script = Script::default();
    let mut leader = lead(&board, &script);
    for word in 0..100 {
        script.says(Some(Ok(Word(word))));
    }
    script.says(None);
    leader.run();
    assert_eq!((leader.heard.len(), &leader.end), (100, &Some(Ok(()))));
    assert_eq!(lock(&script.0).polls, 101);
}

#[test]
fn an_upstream_that_panics_leaves_its_readers_without_an_end() {
    let board = board();
    let Entered::Lead(leader) = board.enter(&KEY) else { panic!() };
    let mut leader = Caller::new(leader.fly(stream::poll_fn(|_| panic!("a defect")).boxed()));
    let mut follower = follow(&board);
    let poll = std::panic::AssertUnwindSafe(|| leader.poll());
    assert!(std::panic::catch_unwind(poll).is_err());
    drop(leader);
    follower.run();
    assert_eq!((follower.heard.len(), &follower.end), (0, &Some(Ok(()))));
}

#[derive(Debug, Clone)]
enum Act {
    Say,
    Join,
    /// Of the callers there are, one looks.
    Poll(prop::sample::Index),
    Leave(prop::sample::Index),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Say),
        1 => Just(Act::Join),
        6 => any::<prop::sample::Index>().prop_map(Act::Poll),
        1 => any::<prop::sample::Index>().prop_map(Act::Leave),
    ]
}

proptest! {
    /// Whatever happens in whichever order: every reader hears a prefix of what was said, who waits is woken when there is
    /// something, and who stays hears it all.
    #[test]
    fn readers_hear_exactly_what_was_said(acts in prop::collection::vec(act(), 0..200), fails: bool) {
        let (board, script) = (board(), Script::default());
        let mut callers = BTreeMap::from([(0, lead(&board, &script))]);
        let (mut said, mut names) = (Vec::new(), 1);
        for act in acts {
            match act {
                Act::Say => {
                    said.push(said.len() as u64);
                    script.says(Some(Ok(Word(said.len() as u64 - 1))));
                }
                Act::Join => {
                    callers.insert(names, follow(&board));
                    names += 1;
                }
                Act::Poll(index) => {
                    let name = *index.get(&callers.keys().copied().collect::<Vec<_>>());
                    let caller = callers.get_mut(&name).unwrap();
                    let before = caller.heard.len();
                    let idle = !caller.is_woken();
                    caller.poll();
                    prop_assert!(!idle || caller.heard.len() == before, "it was not woken");
                }
                Act::Leave(index) if callers.len() > 1 => {
                    let name = *index.get(&callers.keys().copied().collect::<Vec<_>>());
                    callers.remove(&name);
                }
                Act::Leave(_) => {}
            }
            for caller in callers.values() {
                prop_assert_eq!(&caller.heard, &said[..caller.heard.len()]);
            }
        }
        let end = if fails { Err(Stopped::Upstream("broke")) } else { Ok(()) };
        script.says(if fails { Some(Err("broke")) } else { None });
        let mut names: Vec<_> = callers.keys().copied().collect();
        names.reverse();
        for name in names {
            let mut caller = callers.remove(&name).unwrap();
            caller.run();
            prop_assert_eq!(&caller.heard, &said);
            prop_assert_eq!(&caller.end, &Some(end.clone()));
        }
        prop_assert_eq!(board.stats().bytes, 0);
        prop_assert_eq!(board.stats().flights, 0);
    }
}

/// Real threads instead of a schedule. Each polls only when it was woken; a wake that is lost is a failure after a while.
#[test]
fn threads_that_come_and_go_hear_prefixes_too() {
    const PATIENCE: Duration = Duration::from_secs(30);
    let hear = |mut caller: Caller, words: usize| {
        let start = Instant::now();
        while caller.end.is_none() && caller.heard.len() < words {
            assert!(start.elapsed() < PATIENCE, "not woken after {} words", caller.heard.len());
            if caller.is_woken() { caller.poll() } else { std::thread::yield_now() }
        }
        caller.heard
    };
    let (board, script) = (Arc::new(board()), Script::default());
    let mut leader = lead(&board, &script);
    let followers: Vec<_> = (0..4)
        .map(|number| {
            let follower = follow(&board);
            std::thread::spawn(move || hear(follower, number * 400))
        })
        .collect();
    for word in 0..1_000 {
        script.says(Some(Ok(Word(word))));
        if word % 3 == 0 {
            leader.run();
        }
    }
    script.says(None);
    let all: Vec<u64> = (0..1_000).collect();
    assert_eq!(hear(leader, usize::MAX), all);
    for (number, follower) in followers.into_iter().enumerate() {
        assert_eq!(follower.join().unwrap(), all[..(number * 400).min(1_000)]);
    }
}
