//! What an upstream can do wrong, and what must come of it: what the client sees, whom the gateway asked how often, what was
//! billed, and what a cache may keep. Every case is data; one process of the real binary answers them all.

use std::sync::atomic::{AtomicUsize, Ordering};

use agentry_testkit::vendor::{Answer, ClosedPort, Reply, Vendor};

use crate::support::{Running, get, post, wait_for};

mod afterwards;
mod bodies;
mod client;
mod connections;
mod metrics;
mod not_yet;
mod statuses;
mod streams;

use client::Seen;
use metrics::Metrics;

/// One call, the replies that it meets, and what must come of it.
pub(crate) struct Case {
    name: &'static str,
    mode: Mode,
    /// The first target.
    a: Upstream,
    /// Whom the model falls back to, where there is somebody.
    b: Option<Vec<Reply>>,
    /// Silence is given up after half a second instead of ten.
    brisk: bool,
    expected: Expected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Whole,
    Streamed,
}

pub(crate) enum Upstream {
    /// One after the other, the last again and again.
    Replies(Vec<Reply>),
    /// Nobody listens.
    Closed,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expected {
    status: u16,
    /// Of the error, in the body or in the stream; none when the answer is complete.
    code: Option<&'static str>,
    /// All the text that arrives.
    says: String,
    /// How often each target is asked.
    asked: (usize, usize),
    /// Who answered, or was asked last.
    target: Target,
    /// Tokens in and out, as the client is told.
    usage: Option<(u64, u64)>,
    /// The same, as they are billed.
    billed: (u64, u64),
    /// Whether a cache may answer with this the next time.
    kept: bool,
    /// The client is told when to come again.
    retry_after: bool,
    /// No second request comes before this.
    pause_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    A,
    B,
}

pub(crate) const A_PIECES: [&str; 3] = ["A says ", "é 🦀 ", "so"];
const A_SAYS: &str = "A says é 🦀 so";
const B_SAYS: &str = "B says so";
const A_USAGE: (u64, u64) = (10, 5);
const B_USAGE: (u64, u64) = (7, 3);

/// What A says when all is well: events 0 the role, 1 to 3 the text, 4 why it ended, 5 the usage, 6 `[DONE]`.
pub(crate) fn good() -> Answer {
    Answer::chat(&A_PIECES).by("model-a")
}

pub(crate) fn good_b() -> Answer {
    Answer::chat(&["B says ", "so"]).by("model-b").with_usage(B_USAGE.0, B_USAGE.1)
}

impl Expected {
    /// A's good answer.
    pub(crate) fn a(asked: usize) -> Self {
        Self {
            status: 200,
            code: None,
            says: A_SAYS.to_owned(),
            asked: (asked, 0),
            target: Target::A,
            usage: Some(A_USAGE),
            billed: A_USAGE,
            kept: true,
            retry_after: false,
            pause_ms: 0,
        }
    }

    /// B's good answer, after A was asked so often.
    pub(crate) fn b(asked_a: usize) -> Self {
        Self {
            says: B_SAYS.to_owned(),
            asked: (asked_a, 1),
            target: Target::B,
            usage: Some(B_USAGE),
            billed: B_USAGE,
            ..Self::a(0)
        }
    }

    /// No answer, and why.
    pub(crate) fn refused(status: u16, code: &'static str, asked: usize) -> Self {
        Self {
            status,
            code: Some(code),
            says: String::new(),
            usage: None,
            billed: (0, 0),
            kept: false,
            ..Self::a(asked)
        }
    }

    /// A began to answer and did not end: an error instead of `[DONE]`, and nobody else is asked.
    pub(crate) fn broken(code: &'static str, says: &str) -> Self {
        Self { status: 200, says: says.to_owned(), ..Self::refused(200, code, 1) }
    }

    pub(crate) fn saying(self, says: &str) -> Self {
        Self { says: says.to_owned(), ..self }
    }

    /// What the vendor reports, and what is billed for it.
    pub(crate) fn using(self, usage: Option<(u64, u64)>) -> Self {
        Self { usage, billed: usage.unwrap_or_default(), ..self }
    }

    pub(crate) fn not_kept(self) -> Self {
        Self { kept: false, ..self }
    }

    pub(crate) fn with_retry_after(self) -> Self {
        Self { retry_after: true, ..self }
    }

    pub(crate) fn after_pause(self, pause_ms: u64) -> Self {
        Self { pause_ms, ..self }
    }
}

impl Case {
    pub(crate) fn whole(name: &'static str, a: Vec<Reply>, expected: Expected) -> Self {
        let a = Upstream::Replies(a);
        Self { name, mode: Mode::Whole, a, b: None, brisk: false, expected }
    }

    pub(crate) fn streamed(name: &'static str, a: Vec<Reply>, expected: Expected) -> Self {
        Self { mode: Mode::Streamed, ..Self::whole(name, a, expected) }
    }

    /// B would answer well, if it were asked.
    pub(crate) fn or_b(self) -> Self {
        let reply = match self.mode {
            Mode::Whole => good_b().whole(),
            Mode::Streamed => good_b().stream(),
        };
        self.or(vec![reply])
    }

    pub(crate) fn or(self, b: Vec<Reply>) -> Self {
        Self { b: Some(b), ..self }
    }

    pub(crate) fn closed(self) -> Self {
        Self { a: Upstream::Closed, ..self }
    }

    pub(crate) fn brisk(self) -> Self {
        Self { brisk: true, ..self }
    }
}

#[test]
fn every_fault_is_told_as_what_it_is() {
    let mut cases = statuses::cases();
    cases.extend(connections::cases());
    cases.extend(bodies::cases());
    cases.extend(streams::cases());
    assert!(cases.len() >= 96, "{} cases", cases.len());
    let wrong = run(&cases);
    let list: Vec<String> = wrong.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    assert!(list.is_empty(), "{} of {} cases:\n{}", list.len(), cases.len(), list.join("\n"));
}

/// What the gateway does not do yet. Nothing is asserted; whoever mends one moves its case into the table.
#[test]
#[expect(clippy::print_stderr, reason = "whoever runs the tests should see what is missing")]
fn what_is_not_right_yet_is_known() {
    let cases = not_yet::cases();
    let wrong = run(&cases);
    for case in &cases {
        match wrong.iter().find(|(name, _)| *name == case.name) {
            Some((name, why)) => eprintln!("not yet: {name}: {why}"),
            None => eprintln!("right by now, belongs into the table: {}", case.name),
        }
    }
}

/// As many callers at once: some cases wait for a timeout.
const CALLERS: usize = 8;

/// The names of the cases that came out wrong, and what was wrong.
fn run(cases: &[Case]) -> Vec<(&'static str, String)> {
    let stage = Stage::remembering(cases);
    let next = AtomicUsize::new(0);
    let caller = || {
        let mut seen = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(number) else { break };
            seen.push((number, stage.call(number, case.mode)));
        }
        seen
    };
    let mut seen: Vec<(usize, Seen)> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("a caller")).collect()
    });
    seen.sort_by_key(|(number, _)| *number);
    stage.server.assert_healthy("all faults");
    let metrics = wait_for("all calls to be settled", || {
        let metrics = stage.metrics();
        (metrics.active() == 0).then_some(metrics)
    });
    let judged = seen.into_iter().zip(cases);
    judged
        .filter_map(|((number, seen), case)| {
            let judged = stage.judge(number, case, &seen, &metrics);
            judged.err().map(|why| (case.name, why))
        })
        .collect()
}

/// Each case has a model of its own at A.
fn alias(number: usize) -> String {
    format!("case-{number}")
}

/// And another one at B.
fn alias_b(number: usize) -> String {
    format!("case-{number}-b")
}

fn config(cases: &[Case], a: &Vendor, b: &Vendor, closed: &ClosedPort) -> String {
    let mut text = "[server]\nlisten = \"127.0.0.1:0\"\n[storage]\nurl = \"memory:\"\n".to_owned();
    for (name, url) in [("a", a.base_url()), ("b", b.base_url()), ("closed", closed.base_url())] {
        text += &format!("[providers.{name}]\nkind = \"openai\"\nbase_url = \"{url}\"\n");
    }
    for (number, Case { name, a, b, brisk, .. }) in cases.iter().enumerate() {
        let (alias, alias_b) = (alias(number), alias_b(number));
        let first = if matches!(a, Upstream::Closed) { "closed" } else { "a" };
        let (timeout, silence) = if *brisk { ("2s", "500ms") } else { ("25s", "10s") };
        let bounds = format!(
            "timeout = \"{timeout}\"\nfirst_token_timeout = \"{silence}\"\nidle_timeout = \"{silence}\"\n\
             price = {{ input = 1.0, output = 2.0 }}\n"
        );
        let retries = if b.is_some() { 0 } else { 1 };
        text += &format!("# {name}\n[models.{alias}]\nretries = {retries}\n{bounds}");
        text += &format!("targets = [\"{first}/{alias}\"]\n");
        if b.is_some() {
            text += &format!(
                "fallbacks = [\"{alias_b}\"]\n[models.{alias_b}]\ntargets = [\"b/{alias_b}\"]\nretries = 0\n{bounds}"
            );
        }
    }
    text
}

/// Two vendors, one who is not there, and the gateway before them.
pub(crate) struct Stage {
    a: Vendor,
    b: Vendor,
    _closed: ClosedPort,
    server: Running,
}

impl Stage {
    /// One that gives no answer twice.
    fn set(cases: &[Case]) -> Self {
        Self::with(cases, "")
    }

    fn remembering(cases: &[Case]) -> Self {
        Self::with(cases, "[cache]\nexact = true\n")
    }

    fn with(cases: &[Case], tables: &str) -> Self {
        let (a, b) = (Vendor::start(Vec::new()), Vendor::start(Vec::new()));
        let closed = ClosedPort::open();
        for (number, case) in cases.iter().enumerate() {
            if let Upstream::Replies(replies) = &case.a {
                a.script(&alias(number), replies.clone());
            }
            b.script(&alias_b(number), case.b.clone().unwrap_or_default());
        }
        let server = Running::with(&(config(cases, &a, &b, &closed) + tables));
        Self { a, b, _closed: closed, server }
    }

    fn request(number: usize, mode: Mode) -> Vec<u8> {
        let stream = match mode {
            Mode::Whole => "",
            Mode::Streamed => r#","stream":true,"stream_options":{"include_usage":true}"#,
        };
        let body = format!(
            r#"{{"model":"{}","messages":[{{"role":"user","content":"what do you say?"}}]{stream}}}"#,
            alias(number)
        );
        post("/v1/chat/completions", body)
    }

    fn metrics(&self) -> Metrics {
        Metrics::of(&self.server.exchange(&get("/metrics")))
    }

    fn call(&self, number: usize, mode: Mode) -> Seen {
        let mut connection = self.server.connect();
        connection.send(&Self::request(number, mode));
        Seen::of(&connection.bytes())
    }

    fn judge(
        &self,
        number: usize,
        case: &Case,
        seen: &Seen,
        metrics: &Metrics,
    ) -> Result<(), String> {
        let Case { mode, a, expected, .. } = case;
        let alias = alias(number);
        let (asked_a, asked_b) =
            (self.a.received_for(&alias), self.b.received_for(&alias_b(number)));
        let (provider, target) = match (expected.target, a) {
            (Target::B, _) => ("b", alias_b(number)),
            (Target::A, Upstream::Replies(_)) => ("a", alias.clone()),
            (Target::A, Upstream::Closed) => ("closed", alias.clone()),
        };
        let target = format!("{provider}/{target}");
        // Only the header tells how often somebody was asked who does not listen.
        let asked = match a {
            Upstream::Replies(_) => (asked_a.len(), asked_b.len()),
            Upstream::Closed => (seen.attempts().saturating_sub(asked_b.len()), asked_b.len()),
        };
        let pauses = agentry_testkit::vendor::gaps(&asked_a);
        let paused = pauses.iter().all(|pause| pause.as_millis() >= expected.pause_ms.into());
        let found = Expected {
            status: seen.status,
            code: expected.code.filter(|code| seen.code.as_deref() == Some(code)),
            says: seen.says.clone(),
            asked,
            target: expected.target,
            usage: seen.usage,
            billed: metrics.billed(&alias),
            kept: expected.kept,
            retry_after: seen.header("retry-after").is_some(),
            pause_ms: if paused { expected.pause_ms } else { 0 },
        };
        let whole = expected.code.is_none();
        let right = [
            (found == *expected, "expectation"),
            (seen.code.is_none() == whole, "error"),
            (seen.is_done == (whole && *mode == Mode::Streamed), "[DONE]"),
            (seen.is_framed, "framing of the answer"),
            (seen.header("x-agentry-target") == Some(&target), "target"),
            (seen.attempts() == expected.asked.0 + expected.asked.1, "attempts"),
            (!whole || seen.model == format!("model-{provider}"), "model"),
            (metrics.succeeded(&alias) == u64::from(whole), "calls that succeeded"),
        ];
        let wrong: Vec<&str> =
            right.iter().filter(|(right, _)| !right).map(|(_, what)| *what).collect();
        if wrong.is_empty() {
            return self.judge_memory(number, case, seen);
        }
        Err(format!("{} of\n    {expected:?}\n    {found:?}\n    {seen:?}", wrong.join(", ")))
    }

    /// With a cache that is on, the same call again shows what it kept.
    fn judge_memory(&self, number: usize, case: &Case, seen: &Seen) -> Result<(), String> {
        if seen.header("x-agentry-cache") != Some("miss") {
            return Ok(());
        }
        let again = self.call(number, case.mode);
        let hit = again.header("x-agentry-cache") == Some("hit");
        match hit == case.expected.kept && (!hit || again.says == seen.says) {
            true => Ok(()),
            false => Err(format!("asked again, with kept = {}: {again:?}", case.expected.kept)),
        }
    }
}
