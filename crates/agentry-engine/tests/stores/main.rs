//! Random graphs on every store, through the worker that the program has: what comes of them does not depend on the store,
//! nor on how often the worker dies.
//!
//! `AGENTRY_GRAPHS` says how many graphs there are and `AGENTRY_GRAPHS_FROM` where they begin. With `AGENTRY_CRASHES=each` all
//! of them meet crashes on every store, and each commit is also a play of its own, in which the worker dies right after it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../../examples/scenario/build.rs"]
mod build;
#[path = "../machine/graphs.rs"]
mod graphs;
mod outcome;
mod play;

use std::ops::Range;

use agentry_backends::memory::MemoryStore;
use agentry_backends::postgres::PostgresStore;
use agentry_backends::sqlite::SqliteStore;
use agentry_testkit::kind::{Kind as _, Schemas};
use futures_util::{StreamExt as _, stream};

use play::{Crashes, Played, Stage, play};

/// When `AGENTRY_GRAPHS` does not say otherwise.
const GRAPHS: u64 = 1_000;
/// Of those, how many meet crashes.
const CRASHED_IN_MEMORY: u64 = 300;
const CRASHED_ON_SQLITE: u64 = 100;
const CRASHED_ON_POSTGRESQL: u64 = 40;
/// Plays at the same time, so that they share what a write costs.
const AT_ONCE: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_every_store_the_same_graph_does_the_same() {
    let folder = folder();
    let sqlite = Stage::of(SqliteStore::open(folder.path().join("a.db")).unwrap());
    let postgres = match server("graphs_whole") {
        Some(schemas) => Some(Stage::of(schemas.fresh().await)),
        None => None,
    };
    each(seeds(), async |seed| {
        let expected = whole(seed).await;
        check(seed, "on SQLite", play(&sqlite, seed, Crashes::Never).await, &expected);
        if let Some(postgres) = &postgres {
            check(seed, "on PostgreSQL", play(postgres, seed, Crashes::Never).await, &expected);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_around_any_commit_changes_nothing_in_memory() {
    each(some(CRASHED_IN_MEMORY), async |seed| crash(&in_memory(), seed).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_around_any_commit_changes_nothing_on_sqlite() {
    let folder = folder();
    for part in parts(some(CRASHED_ON_SQLITE)) {
        let file = folder.path().join(format!("{}.db", part.start));
        let store = Stage::of(SqliteStore::open(file).unwrap());
        each(part, async |seed| crash(&store, seed).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_around_any_commit_changes_nothing_on_postgresql() {
    let Some(schemas) = server("graphs_crash") else { return };
    for part in parts(some(CRASHED_ON_POSTGRESQL)) {
        let store = Stage::of(schemas.fresh().await);
        each(part, async |seed| crash(&store, seed).await).await;
    }
}

/// Before and after each commit in one play; and after one of them alone, or after each alone.
async fn crash(store: &Stage, seed: u64) {
    let expected = whole(seed).await;
    let alone = if every_commit() {
        1..=expected.entries
    } else {
        let one = seed % expected.entries + 1;
        one..=one
    };
    for crashes in std::iter::once(Crashes::AroundEach).chain(alone.map(Crashes::After)) {
        let played = play(store, seed, crashes).await;
        check(seed, &format!("{crashes:?}"), played, &expected);
    }
}

/// What the graph does in memory, with nobody in its way.
async fn whole(seed: u64) -> Played {
    let played = play(&in_memory(), seed, Crashes::Never).await;
    assert_eq!(played.outcome.repeated, 0, "seed {seed}: a task was started twice");
    played
}

fn check(seed: u64, how: &str, played: Played, expected: &Played) {
    let (Played { outcome, .. }, expected) = (played, &expected.outcome);
    let context = format!("seed {seed}, {how}");
    pretty(&context, "runs", &outcome.runs, &expected.runs);
    pretty(&context, "state", &outcome.state, &expected.state);
    pretty(&context, "history", &outcome.history, &expected.history);
    pretty(&context, "events", &outcome.events, &expected.events);
}

/// Shows the first difference, not two long texts.
fn pretty(context: &str, what: &str, found: &[String], expected: &[String]) {
    let lines = found.iter().map(Some).chain(std::iter::repeat(None));
    let wanted = expected.iter().map(Some).chain(std::iter::repeat(None));
    let count = found.len().max(expected.len());
    for (number, (found, expected)) in lines.zip(wanted).take(count).enumerate() {
        assert_eq!(found, expected, "{context}: {what}, line {number}");
    }
}

async fn each(seeds: Range<u64>, check: impl AsyncFn(u64)) {
    stream::iter(seeds).for_each_concurrent(AT_ONCE, |seed| check(seed)).await;
}

fn seeds() -> Range<u64> {
    let start = number("AGENTRY_GRAPHS_FROM").unwrap_or(0);
    start..start + number("AGENTRY_GRAPHS").unwrap_or(GRAPHS)
}

/// The first of them, as long as nobody wants all.
fn some(most: u64) -> Range<u64> {
    let Range { start, end } = seeds();
    start..if every_commit() { end } else { end.min(start + most) }
}

/// So many graphs share a store: each life of a worker looks through what is there.
fn parts(seeds: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let Range { start, end } = seeds;
    (start..end).step_by(AT_ONCE).map(move |first| first..end.min(first + AT_ONCE as u64))
}

fn every_commit() -> bool {
    std::env::var_os("AGENTRY_CRASHES").is_some_and(|wanted| wanted == "each")
}

fn number(variable: &str) -> Option<u64> {
    Some(std::env::var_os(variable)?.to_str()?.parse().unwrap())
}

fn in_memory() -> Stage {
    Stage::of(MemoryStore::new())
}

/// In memory where the system has such a place: what the disk keeps is not in question here.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn server(test: &str) -> Option<Schemas<PostgresStore>> {
    Schemas::new(test, |url| {
        // Plays bring their own time.
        let url = url.replace("connections=4", "connections=8");
        Box::pin(async move { PostgresStore::open(&format!("{url}&clock=caller")).await.unwrap() })
    })
}
