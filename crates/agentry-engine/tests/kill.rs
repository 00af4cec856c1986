//! A real process is killed again and again while it works. What it was told is stored stays stored, and what it has
//! finished is not done again.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "kill/facts.rs"]
mod facts;
#[path = "kill/living.rs"]
mod living;
#[path = "kill/noting.rs"]
mod noting;
#[path = "kill/story.rs"]
mod story;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agentry_backends::sqlite::SqliteStore;
use agentry_engine::durable::Settings;
use agentry_testkit::nemesis::Random;

use living::{Pace, runtime, wall};

/// When `AGENTRY_KILLS` does not say otherwise.
const KILLS: u32 = 60;
/// What one process submits before it only works: so the last one can be done in time.
const PACE: Pace = Pace { runs_max: 12, pause: Duration::ZERO };

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let mut out = std::io::stdout();
    match arguments.get(1).map(String::as_str) {
        Some("victim") => victim(Path::new(&arguments[2])),
        // Test runners ask what there is.
        Some("--list") => {
            let ignored = arguments.iter().any(|argument| argument == "--ignored");
            let list = if ignored { "" } else { "kill: test\n" };
            out.write_all(list.as_bytes()).unwrap();
        }
        Some(seed) if seed.starts_with("seed=") => kill_repeatedly(seed[5..].parse().unwrap()),
        Some(_) | None => kill_repeatedly(u64::from(wall().subsec_nanos())),
    }
}

fn open(folder: &Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(folder.join("a.db")).unwrap())
}

fn victim(folder: &Path) {
    runtime().block_on(async {
        let store = open(folder);
        std::io::stdout().write_all(b"ready\n").unwrap();
        living::live(store, folder, Settings::default(), PACE).await;
    });
}

fn kill_repeatedly(seed: u64) {
    let mut out = std::io::stdout();
    writeln!(out, "test kill (repeat with seed={seed}) ...").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(seed);
    let kills = kills();
    for _ in 0..kills {
        let mut victim = start(folder.path());
        std::thread::sleep(Duration::from_millis(random.below(200)));
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    let again = |effect: &str| panic!("{effect} was done again");
    let (runs, ambiguous) = runtime().block_on(async {
        let store = open(folder.path());
        living::finish(&store, folder.path(), Settings::default()).await;
        facts::check(store.as_ref(), folder.path(), again).await
    });
    writeln!(out, "ok: {kills} kills, {runs} runs, {ambiguous} effects in doubt").unwrap();
}

fn kills() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "this is the outermost shell of a test")]
    let kills = std::env::var("AGENTRY_KILLS");
    kills.map_or(KILLS, |kills| kills.parse().expect("AGENTRY_KILLS is a number"))
}

fn start(folder: &Path) -> Child {
    let myself: PathBuf = std::env::current_exe().unwrap();
    let mut command = Command::new(myself);
    let mut victim =
        command.arg("victim").arg(folder).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(victim.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "the victim could not open what its predecessor left");
    victim
}
