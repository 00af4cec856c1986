//! How many megabytes of text a second one core screens: `cargo run --release -p agentry-guards --example throughput`.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write;
use std::time::Instant;

use agentry_guards::{Action, Guards, Settings};

const ROUNDS: usize = 40;
const BYTES: usize = 4 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let text = mixed();
    let settings = [
        ("personal data", Settings { pii: Action::Redact, ..Settings::default() }),
        ("secrets", Settings { secrets: Action::Redact, ..Settings::default() }),
        ("injection", Settings { injection: Action::Report, ..Settings::default() }),
        (
            "personal data and secrets",
            Settings { pii: Action::Redact, secrets: Action::Redact, ..Settings::default() },
        ),
    ];
    let mut out = std::io::stdout().lock();
    for (name, settings) in settings {
        let start = Instant::now();
        let guards = Guards::new(&settings).map_err(|problems| format!("{problems:?}"))?;
        let compiled = start.elapsed().as_millis();
        let mut findings = 0;
        let (wall, cpu) = (Instant::now(), cpu_ms());
        for _ in 0..ROUNDS {
            // The size of a prompt, not of a book.
            for piece in &text {
                findings += guards.clean(piece).findings.len();
            }
        }
        let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_ms() - cpu);
        let megabytes = (ROUNDS * text.iter().map(String::len).sum::<usize>()) as f64 / 1e6;
        let found = findings / ROUNDS;
        writeln!(
            out,
            "{name}: {:.0} MB/s, {cpu} ms of CPU for {megabytes:.0} MB, {found} findings a round; compiled in {compiled} ms",
            megabytes / wall
        )?;
    }
    streamed(&text, &mut out)
}

/// The same as an answer that is written a few letters at a time.
fn streamed(text: &[String], out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let settings = Settings { pii: Action::Redact, secrets: Action::Redact, ..Settings::default() };
    let guards = Guards::new(&settings).map_err(|problems| format!("{problems:?}"))?;
    let (start, mut pushes) = (Instant::now(), 0_u32);
    for piece in text {
        let letters: Vec<char> = piece.chars().collect();
        let mut guard = guards.stream("text");
        let mut passed = String::with_capacity(piece.len());
        for token in letters.chunks(4) {
            pushes += 1;
            guard.push(&token.iter().collect::<String>(), &mut passed)?;
        }
        guard.finish(&mut passed)?;
    }
    let each = start.elapsed().as_nanos() / u128::from(pushes.max(1));
    writeln!(out, "personal data and secrets, four letters at a time: {each} ns for each")?;
    Ok(())
}

/// Prose, code, logs, tables and JSON in other languages too, with something to find every kilobyte or so; in pieces of 4 KB.
fn mixed() -> Vec<String> {
    let kinds = [
        "The quick report says that the service answered slowly after the deployment, and nobody knew why it had. ",
        "fn add(left: u64, right: u64) -> u64 { let sum = left + right; assert!(sum >= left); sum }\n",
        "2024-11-20T17:05:00.123Z INFO gateway call finished status=200 took_ms=35 tokens=1204 model=fast\n",
        "{\"name\": \"lamp\", \"price\": 12.5, \"tags\": [\"red\", \"blue\"], \"stock\": 140, \"sold\": 3021}\n",
        "Der Käse aus der Schweiz ist größer als der „kleine“ Käse – und die Antwort lautet: vielleicht. ",
        "| region | 2021 | 2022 | 2023 |\n|---|---|---|---|\n| north | 1204 | 1310 | 1405 |\n",
        "这个系统每天处理很多请求，并且记录所有的结果。",
    ];
    let finds =
        ["mira@brassfinch.com ", "+44 20 7946 0958 ", "4111 1111 1111 1111 ", "10.20.30.40 "];
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut written = 0;
    for round in 0_usize.. {
        for (at, kind) in kinds.iter().enumerate() {
            let repeats = 1 + (round + at) % 3;
            (0..repeats).for_each(|_| piece.push_str(kind));
        }
        if let Some(find) = finds.get(round % finds.len()) {
            let _ = write!(piece, "no. {round}: {find}");
        }
        if piece.len() > 4096 {
            written += piece.len();
            pieces.push(std::mem::take(&mut piece));
        }
        if written > BYTES {
            break;
        }
    }
    pieces
}

/// User and system time of this process, in milliseconds; 0 where the system does not say.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum::<u64>()
        * 10
}
