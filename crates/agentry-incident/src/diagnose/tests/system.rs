//! A small made-up system: requests walk a call graph second by second, and leave the telemetry that real ones would.

use std::collections::BTreeMap;
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::telemetry::{Change, Level, LogLine, Page, Series, Span, SpanKind, Window};

use crate::evidence::{AlertFact, Observed};

pub(super) const SERVICES: [&str; 6] = ["web", "catalog", "basket", "order", "pay", "stock"];
const TIMEOUT: f64 = 0.8;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    None,
    Cpu,
    Latency,
    BadDeploy,
    Leak,
    Hang,
    /// As `Hang`, but a caller that is itself given up drops its work without a trace.
    HangAndDrop,
}

/// How it is watched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) scrape: u64,
    pub(super) normal: u64,
    pub(super) abnormal: u64,
    pub(super) requests_per_second: u64,
}

pub(super) const DEMO: Pace = Pace { scrape: 1, normal: 14, abnormal: 10, requests_per_second: 35 };
pub(super) const PRODUCTION: Pace =
    Pace { scrape: 15, normal: 900, abnormal: 180, requests_per_second: 2 };

/// Of a series: its metric, its service, its labels.
type Name = (String, &'static str, Vec<(String, String)>);
type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, f64);

#[derive(Default)]
struct Meter {
    requests: BTreeMap<&'static str, f64>,
    seconds: f64,
    count: f64,
    calls: BTreeMap<(String, &'static str), f64>,
    call_seconds: BTreeMap<String, (f64, f64)>,
    cpu: f64,
    in_flight: f64,
}

pub(super) struct System {
    fault: Fault,
    culprit: &'static str,
    onset: f64,
    seed: u64,
    meters: BTreeMap<&'static str, Meter>,
    pub(super) observed: Observed,
    series: BTreeMap<Name, Vec<(Timestamp, f64)>>,
    spans: u64,
}

struct Answer {
    seconds: f64,
    failed: bool,
    dropped: bool,
}

pub(super) fn start() -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000)
}

fn at(second: f64) -> Timestamp {
    start().plus(Duration::from_secs_f64(second))
}

fn callees(service: &str, draw: f64) -> Vec<&'static str> {
    match service {
        "web" if draw < 0.5 => vec!["catalog"],
        "web" if draw < 0.8 => vec!["basket"],
        "web" => vec!["order"],
        "catalog" => vec!["stock"],
        "basket" if draw < 0.5 => vec!["catalog"],
        "order" => vec!["basket", "pay", "stock"],
        _ => vec![],
    }
}

impl System {
    /// Runs it and returns what was observed, with the time of the first alert.
    pub(super) fn observe(
        fault: Fault,
        culprit: &'static str,
        seed: u64,
        pace: Pace,
    ) -> (Observed, Timestamp) {
        let onset = pace.normal as f64;
        let mut system = Self {
            fault,
            culprit,
            onset,
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            meters: SERVICES.iter().map(|service| (*service, Meter::default())).collect(),
            observed: Observed::default(),
            series: BTreeMap::new(),
            spans: 0,
        };
        for second in 0..pace.normal + pace.abnormal {
            for _ in 0..pace.requests_per_second {
                let when = second as f64 + system.draw();
                let trace = format!("trace-{:x}", system.bits());
                system.client("shopper", "web", (&trace, None), when);
            }
            system.live(second);
            if second % pace.scrape == 0 {
                system.scrape(second);
            }
        }
        system.changes();
        let alerted = at(onset + if pace.scrape > 1 { 60.0 } else { 4.0 });
        system.alerts(alerted);
        let window = Window { start: start(), end: at((pace.normal + pace.abnormal) as f64) };
        system.observed.window = Some(window);
        system.observed.metrics = Page {
            items: system
                .series
                .into_iter()
                .map(|((name, service, labels), points)| Series {
                    name,
                    service: service.to_owned(),
                    labels: labels.into_iter().collect(),
                    points,
                })
                .collect(),
            truncated: false,
        };
        (system.observed, alerted)
    }

    fn bits(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }

    fn draw(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn suffers(&self, fault: Fault, service: &str, when: f64) -> bool {
        self.fault == fault && self.culprit == service && when >= self.onset
    }

    /// One call with its client span; returns what the caller sees.
    fn client(
        &mut self,
        from: &'static str,
        to: &'static str,
        parent: (&str, Option<&str>),
        when: f64,
    ) -> Answer {
        let (trace, parent) = parent;
        self.spans += 1;
        let id = format!("s{}", self.spans);
        let hop = 0.001
            + self.draw() * 0.002
            + if self.suffers(Fault::Latency, to, when) { 0.25 } else { 0.0 };
        let answer = self.server(to, (trace, &id), when + hop / 2.0);
        let mut seconds = answer.seconds + hop;
        let mut failed = answer.failed;
        let timed_out = seconds > TIMEOUT;
        if timed_out {
            (seconds, failed) = (TIMEOUT, true);
        }
        let code = match (timed_out, failed) {
            (true, _) => "timeout",
            (false, true) => "502",
            (false, false) => "200",
        };
        if from != "shopper" {
            let meter = self.meters.get_mut(from).unwrap();
            *meter.calls.entry((to.to_owned(), code)).or_default() += 1.0;
            let slot = meter.call_seconds.entry(to.to_owned()).or_default();
            *slot = (slot.0 + seconds, slot.1 + 1.0);
            if failed {
                let reason =
                    if timed_out { "timed out after 800 ms" } else { "answered with status 502" };
                self.log(
                    from,
                    Level::Warn,
                    format!("call to {to} {reason}"),
                    (trace, when + seconds),
                );
            }
        }
        self.observed.spans.items.push(Span {
            trace_id: trace.to_owned(),
            span_id: id,
            parent_id: parent.map(str::to_owned),
            service: from.to_owned(),
            name: format!("GET {to}"),
            kind: SpanKind::Client,
            start: at(when),
            duration_us: (seconds * 1e6) as u64,
            failed,
            peer: Some(to.to_owned()),
        });
        Answer { seconds, failed, dropped: timed_out }
    }

    fn server(&mut self, service: &'static str, parent: (&str, &str), when: f64) -> Answer {
        let (trace, parent) = parent;
        if self.suffers(Fault::Hang, service, when)
            || self.suffers(Fault::HangAndDrop, service, when)
        {
            self.meters.get_mut(service).unwrap().in_flight += 1.0;
            return Answer { seconds: 1e3, failed: true, dropped: true };
        }
        self.spans += 1;
        let id = format!("s{}", self.spans);
        let mut own = 0.002 + self.draw() * 0.003;
        if self.suffers(Fault::Cpu, service, when) {
            own += 0.05 + self.draw() * 0.1;
        }
        self.log(service, Level::Info, format!("received request {parent}"), (trace, when));
        let mut failed = self.suffers(Fault::BadDeploy, service, when) && self.draw() < 0.6;
        if failed {
            let item = self.bits() % 1_000;
            let text =
                format!("cannot decode item {item}: field `tax` is missing from the new schema");
            self.log(service, Level::Error, text, (trace, when));
        }
        let mut seconds = own;
        let draw = self.draw();
        let mut dropped = false;
        for callee in callees(service, draw) {
            if failed {
                break;
            }
            let answer = self.client(service, callee, (trace, Some(&id)), when + seconds);
            seconds += answer.seconds;
            failed |= answer.failed;
            dropped |= answer.dropped;
        }
        if self.fault == Fault::HangAndDrop && dropped && seconds > TIMEOUT {
            return Answer { seconds, failed: true, dropped: true };
        }
        let meter = self.meters.get_mut(service).unwrap();
        *meter.requests.entry(if failed { "500" } else { "200" }).or_default() += 1.0;
        meter.seconds += seconds;
        meter.count += 1.0;
        meter.cpu += 0.001;
        if !failed {
            self.log(
                service,
                Level::Info,
                format!("answered in {:.1} ms", seconds * 1e3),
                (trace, when + seconds),
            );
        }
        self.observed.spans.items.push(Span {
            trace_id: trace.to_owned(),
            span_id: id,
            parent_id: Some(parent.to_owned()),
            service: service.to_owned(),
            name: format!("/{service}"),
            kind: SpanKind::Server,
            start: at(when),
            duration_us: (seconds * 1e6) as u64,
            failed,
            peer: None,
        });
        Answer { seconds, failed, dropped: false }
    }

    fn log(&mut self, service: &str, level: Level, message: String, of: (&str, f64)) {
        let line = self.observed.logs.items.len();
        self.observed.logs.items.push(LogLine {
            at: at(of.1),
            service: service.to_owned(),
            level,
            message,
            trace_id: Some(of.0.to_owned()),
            handle: format!("{service}.log:{line}"),
        });
    }

    /// What a process does beside its requests.
    fn live(&mut self, second: u64) {
        let when = second as f64;
        let burns = self.suffers(Fault::Cpu, self.culprit, when);
        let noise: Vec<f64> = SERVICES.iter().map(|_| self.draw() * 0.01).collect();
        for (service, noise) in SERVICES.iter().zip(noise) {
            let meter = self.meters.get_mut(service).unwrap();
            meter.cpu += 0.01 + noise + if burns && *service == self.culprit { 0.9 } else { 0.0 };
        }
    }

    fn scrape(&mut self, second: u64) {
        let when = second as f64;
        for service in SERVICES {
            let leaked = if self.suffers(Fault::Leak, service, when) {
                (when - self.onset) * 1e7
            } else {
                0.0
            };
            let noise = self.draw() * 200_000.0;
            let waiting = self.draw() * 2.0;
            let meter = self.meters.get(service).unwrap();
            let mut rows: Vec<Row<'_>> = vec![
                ("http_request_duration_seconds_sum", vec![], meter.seconds),
                ("http_request_duration_seconds_count", vec![], meter.count),
                ("http_requests_in_flight", vec![], meter.in_flight + waiting.floor()),
                ("process_cpu_seconds_total", vec![], meter.cpu),
                ("process_resident_memory_bytes", vec![], 2e7 + noise + leaked),
                ("process_open_fds", vec![], 20.0 + waiting.floor()),
            ];
            for (code, value) in &meter.requests {
                rows.push(("http_requests_total", vec![("route", "/"), ("code", code)], *value));
            }
            for ((peer, code), value) in &meter.calls {
                rows.push((
                    "http_client_requests_total",
                    vec![("peer", peer), ("code", code)],
                    *value,
                ));
            }
            for (peer, (seconds, count)) in &meter.call_seconds {
                rows.push((
                    "http_client_request_duration_seconds_sum",
                    vec![("peer", peer)],
                    *seconds,
                ));
                rows.push((
                    "http_client_request_duration_seconds_count",
                    vec![("peer", peer)],
                    *count,
                ));
            }
            for (name, labels, value) in rows {
                let labels =
                    labels.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
                self.series
                    .entry((name.to_owned(), service, labels))
                    .or_default()
                    .push((at(when), value));
            }
        }
    }

    fn changes(&mut self) {
        let change = |service: &str, second: f64, revision: u32| Change {
            at: at(second),
            service: service.to_owned(),
            kind: "deploy".to_owned(),
            summary: "routine release".to_owned(),
            revision: Some(format!("r{revision}")),
            previous: Some(format!("r{}", revision - 1)),
            handle: format!("changes.jsonl:{revision}"),
        };
        let other =
            SERVICES[(SERVICES.iter().position(|name| *name == self.culprit).unwrap() + 1) % 6];
        let mut items = vec![change(other, self.onset - 3.0, 41)];
        if self.fault == Fault::BadDeploy {
            items.push(change(self.culprit, self.onset - 0.5, 42));
        }
        self.observed.changes = Page { items, truncated: false };
    }

    /// The front door alerts; a leak is noticed where it happens.
    fn alerts(&mut self, alerted: Timestamp) {
        let service = if self.fault == Fault::Leak { self.culprit } else { "web" };
        self.observed.alerts.push(AlertFact {
            service: service.to_owned(),
            name: "Trouble".to_owned(),
            severity: "critical".to_owned(),
            started: alerted,
        });
    }
}
