//! One seed from its beginning to its end: who is there, what goes wrong, and what must have come of it.

use std::sync::Arc;
use std::time::Duration;

use agentry_backends::memory::MemoryStore;
use agentry_core::ThreadId;
use agentry_core::thread::{Multitask, Status};
use agentry_core::threads::{RunQuery, ThreadQuery, Threads as _};
use agentry_engine::{Registry, Request};
use serde_json::Map;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::check;
use crate::clients::Client;
use crate::dice::Dice;
use crate::graphs::{Stage, alone, shared};
use crate::history::{Facts, History};
use crate::outside::Outside;
use crate::process::{Common, Post};
use crate::wire::Rates;

/// By then, after everything has healed, every run must have ended.
const END_BY: Duration = Duration::from_secs(900);

/// What came of a seed.
pub(crate) struct Story {
    pub(crate) facts: Facts,
}

/// The threads of a seed.
pub(crate) struct Cast {
    /// Each with the name of its graph, for one run and those that answer its questions.
    pub(crate) alone: Vec<(ThreadId, String)>,
    pub(crate) shared: Vec<(ThreadId, Vec<Multitask>)>,
}

impl Cast {
    fn new(dice: &mut Dice) -> Self {
        let mut thread = |_| ThreadId::from_bytes(std::array::from_fn(|_| dice.below(256) as u8));
        let ids: Vec<_> = (0..8).map(&mut thread).collect();
        let alone = 0..dice.between(1, 3);
        let alone = alone.map(|number| (ids[number as usize], format!("alone{number}"))).collect();
        let all =
            [Multitask::Enqueue, Multitask::Reject, Multitask::Interrupt, Multitask::Rollback];
        let shared = (0..dice.between(0, 2)).map(|number| {
            let one = vec![*dice.pick(&all)];
            let strategies = if dice.chance(400) { all.to_vec() } else { one };
            (ids[4 + number as usize], strategies)
        });
        Self { alone, shared: shared.collect() }
    }
}

pub(crate) fn tell(seed: u64) -> Story {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(simulate(seed))
}

async fn simulate(seed: u64) -> Story {
    let mut dice = Dice::new(seed, "story");
    let cast = Cast::new(&mut dice);
    let history = Arc::new(History::new());
    let (outside, seen) = (Arc::new(Outside::default()), Arc::clone(&history));
    let stage = Stage { outside, history: seen, hurries: true };
    let registry = Registry::new().with(shared(&stage));
    let registry =
        cast.alone.iter().fold(registry, |all, (_, name)| all.with(alone(seed, name, &stage)));
    let rates = watch::Sender::new(Rates::thrown(&mut dice));
    let healed = watch::Sender::new(false);
    let common = Arc::new(Common {
        store: Arc::new(MemoryStore::new()),
        history: Arc::clone(&history),
        registry,
        rates: rates.subscribe(),
        healed: healed.subscribe(),
        shutdown: CancellationToken::new(),
    });
    let posts: Vec<_> =
        (0..dice.between(1, 3)).map(|number| Arc::new(Post::new(number as usize))).collect();
    let mut lives = JoinSet::new();
    for post in &posts {
        let lane = Dice::new(seed, &format!("post {}", post.number));
        lives.spawn(Arc::clone(post).keep(Arc::clone(&common), lane));
    }
    let (mut wanting, mut answering) = (JoinSet::new(), JoinSet::new());
    open_doors(seed, &cast, (&posts, &common), (&mut wanting, &mut answering));

    let trouble = dice.span(5_000, 60_000);
    let nemesis = nemesis(dice, &posts, &history);
    drop(tokio::time::timeout(trouble, nemesis).await);
    history.tell(|| "everything heals".to_owned());
    rates.send_replace(Rates::default());
    healed.send_replace(true);
    for wire in posts.iter().filter_map(|post| post.wire()) {
        wire.paused.send_replace(false);
        wire.away.send_replace(false);
    }
    let ending = tokio::time::timeout(END_BY, end(&mut wanting, &common)).await;
    if ending.is_err() {
        tell_what_hangs(&common).await;
    }
    common.shutdown.cancel();
    drop(tokio::time::timeout(END_BY, async { while lives.join_next().await.is_some() {} }).await);
    answering.shutdown().await;
    wanting.shutdown().await;
    check::everything(seed, &cast, &common, &stage).await;
    Story { facts: std::mem::take(&mut *history.facts()) }
}

fn open_doors(
    seed: u64,
    cast: &Cast,
    (posts, common): (&[Arc<Post>], &Arc<Common>),
    (wanting, answering): (&mut JoinSet<()>, &mut JoinSet<()>),
) {
    let client = |name: String| Client {
        dice: Dice::new(seed, &name),
        name,
        posts: posts.to_vec(),
        common: Arc::clone(common),
    };
    for (thread, graph) in &cast.alone {
        let (thread, graph) = (*thread, graph.clone());
        for who in ["ada", "bob"] {
            let person = client(format!("{who} at {graph}"));
            answering.spawn(person.answer_all(thread, graph.clone()));
        }
        let mut client = client(format!("caller of {graph}"));
        wanting.spawn(async move {
            client.pause(0, 5_000).await;
            let wish = client.wish(thread, &graph, Request::Input(Map::new())).await;
            let run = wish.run;
            client.submit(wish).await;
            if client.dice.chance(100) {
                client.pause(0, 10_000).await;
                client.cancel((thread, run)).await;
            }
        });
    }
    for (place, (thread, strategies)) in cast.shared.iter().enumerate() {
        for number in 0..4 {
            let client = client(format!("caller {number} of shared {place}"));
            wanting.spawn(client.crowd(*thread, strategies.clone()));
        }
    }
}

/// Whatever happens to processes from outside.
async fn nemesis(mut dice: Dice, posts: &[Arc<Post>], history: &History) {
    let kinds: Vec<u64> = (0..6).filter(|_| dice.chance(500)).collect();
    loop {
        tokio::time::sleep(dice.span(100, 6_000)).await;
        if kinds.is_empty() {
            continue;
        }
        let post = dice.pick(posts).clone();
        let Some(wire) = post.wire() else { continue };
        let number = post.number;
        match dice.pick(&kinds) {
            0 => {
                history.tell(|| format!("nemesis: kills w{number}"));
                history.count("kills");
                post.kill.notify_one();
            }
            1 => {
                history.tell(|| format!("nemesis: stops w{number}"));
                post.stop.notify_one();
            }
            2 => {
                let paused = !*wire.paused.borrow();
                history.tell(|| format!("nemesis: w{number} stands still: {paused}"));
                history.count("pauses");
                wire.paused.send_replace(paused);
            }
            3 => {
                let off_by = dice.between(0, 60_000_000) as i64 - 30_000_000;
                history.tell(|| format!("nemesis: the clock of w{number} is off by {off_by} us"));
                history.count("clock jumps");
                post.clock.jump(off_by);
                if dice.chance(500)
                    && let Some(handle) = post.handle()
                {
                    handle.nudge();
                }
            }
            4 => {
                let away = !*wire.away.borrow();
                history.tell(|| format!("nemesis: the store is away from w{number}: {away}"));
                history.count("outages");
                wire.away.send_replace(away);
            }
            _ => {
                if let Some(handle) = post.handle() {
                    handle.nudge();
                }
            }
        }
    }
}

/// Waits until everybody has said what they want, and all of it has come to an end.
async fn end(wanting: &mut JoinSet<()>, common: &Common) {
    while wanting.join_next().await.is_some() {}
    loop {
        let runs = common.store.runs(everything()).await.unwrap();
        let threads = common.store.threads(every_thread()).await.unwrap();
        let rests = threads.iter().all(|it| matches!(it.status, Status::Idle | Status::Failed));
        if rests && runs.iter().all(|run| run.status.is_over()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

pub(crate) fn everything() -> RunQuery {
    RunQuery { max: 100_000, ..RunQuery::default() }
}

fn every_thread() -> ThreadQuery {
    ThreadQuery { max: 100, ..ThreadQuery::default() }
}

async fn tell_what_hangs(common: &Common) {
    for run in common.store.runs(everything()).await.unwrap() {
        if !run.status.is_over() {
            common.history.wrong(format!("run {} is {:?} and does not end", run.id, run.status));
        }
    }
    for thread in common.store.threads(every_thread()).await.unwrap() {
        let agentry_core::thread::Thread { id, status, wake_at, .. } = thread;
        common.history.wrong(format!("thread {id} is {status:?}, to be woken at {wake_at:?}"));
    }
    common.history.wrong("not everything came to an end".to_owned());
}
