//! Measures a diagnosis: `cargo run --release -p agentry-incident --example diagnose_bench`. One JSON line per figure.

use std::time::{Duration, Instant};

use agentry_core::Timestamp;
use agentry_core::telemetry::{Change, Level, LogLine, Page, Series, Span, SpanKind, Window};
use agentry_incident::diagnose::{Settings, Verdict, diagnose};
use agentry_incident::evidence::templates::Miner;
use agentry_incident::evidence::{AlertFact, Observed};

const SERVICES: usize = 50;
const SERIES: usize = 1_000;
const POINTS: usize = 60;
const LINES: usize = 100_000;
const SPANS: usize = 20_000;
const STEP: Duration = Duration::from_secs(15);
const RUNS: usize = 9;
/// The point at which the culprit begins to fail.
const ONSET: usize = 45;
const CULPRIT: usize = 37;

/// A fixed sequence: every run measures the same work.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn main() -> std::io::Result<()> {
    let observed = observed();
    let onset = at(ONSET + 2, 0);
    let now = at(POINTS, 0);
    let mut times: Vec<Duration> = Vec::new();
    let mut named = String::new();
    for _ in 0..RUNS {
        let started = Instant::now();
        let diagnosis = diagnose(&observed, onset, now, &Settings::default());
        times.push(started.elapsed());
        named = match diagnosis.verdict {
            Verdict::Named { service, .. } => service,
            Verdict::Unknown { reason } => reason,
        };
    }
    times.sort();
    if named != service(CULPRIT) {
        return Err(std::io::Error::other(format!(
            "the culprit is {}, named was: {named}",
            service(CULPRIT)
        )));
    }
    let median = times.get(RUNS / 2).copied().unwrap_or_default();
    let worst = times.last().copied().unwrap_or_default();
    let mut out = std::io::stdout();
    figure(&mut out, "diagnosis_median", median.as_secs_f64() * 1e3, "ms")?;
    figure(&mut out, "diagnosis_worst", worst.as_secs_f64() * 1e3, "ms")?;

    let mut miner = Miner::default();
    let started = Instant::now();
    for line in &observed.logs.items {
        miner.learn(&line.message);
    }
    let per_second = LINES as f64 / started.elapsed().as_secs_f64();
    figure(&mut out, "log_lines_mined", per_second, "lines/s")?;
    figure(&mut out, "log_templates", miner.templates().count() as f64, "templates")
}

fn figure(
    out: &mut impl std::io::Write,
    name: &str,
    value: f64,
    unit: &str,
) -> std::io::Result<()> {
    let value = (value * 10.0).round() / 10.0;
    writeln!(out, "{}", serde_json::json!({"name": name, "value": value, "unit": unit}))
}

fn at(point: usize, micros: usize) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000)
        .plus(STEP * point as u32 + Duration::from_micros(micros as u64))
}

fn service(number: usize) -> String {
    format!("service-{number}")
}

fn observed() -> Observed {
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    Observed {
        window: Some(Window { start: at(0, 0), end: at(POINTS, 0) }),
        metrics: page((0..SERIES).map(|number| series(number, &mut noise)).collect()),
        logs: page((0..LINES).map(|number| line(number, &mut noise)).collect()),
        spans: page((0..SPANS).map(|number| span(number, &mut noise)).collect()),
        changes: page((0..10).map(change).collect()),
        alerts: vec![AlertFact {
            service: service(0),
            name: "HighErrorRate".to_owned(),
            severity: "critical".to_owned(),
            started: at(ONSET + 2, 0),
        }],
        missing: Vec::new(),
    }
}

fn page<T>(items: Vec<T>) -> Page<T> {
    Page { items, truncated: false }
}

/// Twenty series for each service: CPU, memory, requests by code, latencies of calls, and odds and ends.
fn series(number: usize, noise: &mut Noise) -> Series {
    let (owner, which) = (number % SERVICES, number / SERVICES);
    let mut total = 0.0;
    let bad = |point: usize| owner == CULPRIT && point >= ONSET;
    let (name, label) = match which {
        0 => ("process_cpu_seconds_total", None),
        1 => ("process_resident_memory_bytes", None),
        2 => ("http_requests_total", Some(("code", "200".to_owned()))),
        3 => ("http_requests_total", Some(("code", "500".to_owned()))),
        4 => ("http_request_duration_seconds_sum", None),
        5 => ("http_request_duration_seconds_count", None),
        6 => (
            "http_client_request_duration_seconds_sum",
            Some(("peer", service((owner + 1) % SERVICES))),
        ),
        7 => (
            "http_client_request_duration_seconds_count",
            Some(("peer", service((owner + 1) % SERVICES))),
        ),
        _ => ("work_items", Some(("shard", which.to_string()))),
    };
    let points = (0..POINTS)
        .map(|point| {
            let jitter = noise.below(1_000) as f64 / 1_000.0;
            let value = match which {
                0 => 1.0 + jitter + if bad(point) { 14.0 } else { 0.0 },
                1 => return (at(point, 0), 2e8 + jitter * 1e6),
                3 => {
                    if bad(point) {
                        60.0
                    } else {
                        0.0
                    }
                }
                2 | 5 | 7 => 300.0 + jitter * 30.0,
                4 | 6 => 3.0 + jitter + if bad(point) { 30.0 } else { 0.0 },
                _ => return (at(point, 0), 10.0 + jitter * 3.0),
            };
            total += value;
            (at(point, 0), total)
        })
        .collect();
    let labels = label.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Series { name: name.to_owned(), service: service(owner), labels, points }
}

fn line(number: usize, noise: &mut Noise) -> LogLine {
    let owner = noise.below(SERVICES);
    let point = number * POINTS / LINES;
    let (level, message) = match noise.below(12) {
        0 if owner == CULPRIT && point >= ONSET => (
            Level::Error,
            format!("cannot decode item {}: field tax is missing", noise.below(10_000)),
        ),
        kind => (Level::Info, ordinary(kind, noise)),
    };
    LogLine {
        at: at(point, noise.below(15_000_000)),
        service: service(owner),
        level,
        message,
        trace_id: Some(format!("{:032x}", number / 8)),
        handle: format!("{}.log:{number}", service(owner)),
    }
}

fn ordinary(kind: usize, noise: &mut Noise) -> String {
    let (a, b) = (noise.below(100_000), noise.below(900));
    match kind {
        0 | 1 => format!("GET /items/{a} 200 in {b} ms"),
        2 | 3 => format!("order o-{a:08x} placed: {b} items, {b}.50 EUR"),
        4 => format!("cache miss for key user:{a}:cart (age {b} s)"),
        5 => format!(
            "connection from 10.0.{}.{}:{a} accepted by worker {}",
            b % 250,
            a % 250,
            b % 16
        ),
        6 => format!("select took {b}ms rows={a} plan=index_scan table=orders_{}", b % 12),
        7 => format!("published event {a} to topic orders partition {} offset {a}", b % 32),
        8 => format!("session 123e4567-e89b-12d3-a456-4266{a:08} refreshed"),
        9 => format!("user u{a} added product {b} to cart"),
        10 => format!("price of sku-{a} recalculated: {b}.10 EUR (rule {})", b % 9),
        _ => format!("heartbeat {a} ok"),
    }
}

/// Chains of a client and a server span between neighbours.
fn span(number: usize, noise: &mut Noise) -> Span {
    let (pair, is_server) = (number / 2, number % 2 == 1);
    let caller = pair % (SERVICES - 1);
    let point = number * POINTS / SPANS;
    let callee = caller + 1;
    let bad = callee == CULPRIT && point >= ONSET;
    let duration = 4_000 + noise.below(2_000) as u64 + if bad { 90_000 } else { 0 };
    Span {
        trace_id: format!("{pair:032x}"),
        span_id: format!("{number:016x}"),
        parent_id: is_server.then(|| format!("{:016x}", number - 1)),
        service: service(if is_server { callee } else { caller }),
        name: "GET /items".to_owned(),
        kind: if is_server { SpanKind::Server } else { SpanKind::Client },
        start: at(point, noise.below(10_000_000)),
        duration_us: if is_server { duration } else { duration + 2_000 },
        failed: bad && pair % 3 == 0,
        peer: (!is_server).then(|| service(callee)),
    }
}

fn change(number: usize) -> Change {
    Change {
        at: at(number * 4, 0),
        service: service(number * 4),
        kind: "deploy".to_owned(),
        summary: "routine release".to_owned(),
        revision: Some(format!("r{}", number + 1)),
        previous: Some(format!("r{number}")),
        handle: format!("changes:{number}"),
    }
}
