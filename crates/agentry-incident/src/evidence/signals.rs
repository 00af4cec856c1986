//! Raw samples become typed signals: counters become rates, histograms become mean latencies, codes become error ratios.

use std::collections::{BTreeMap, BTreeSet};

use agentry_core::Timestamp;
use agentry_core::telemetry::Series;

use super::words::Unit;

/// What a signal tells about a service. The first four are causes, the next three effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Cpu,
    Memory,
    Handles,
    InFlight,
    Latency,
    Errors,
    Traffic,
    Other,
}

/// The value of a signal over the time from `from` to `at`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) from: Timestamp,
    pub(crate) at: Timestamp,
    pub(crate) value: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Signal<'a> {
    pub(crate) service: &'a str,
    /// Set when the service measured its own calls to this one.
    pub(crate) peer: Option<&'a str>,
    pub(crate) class: Class,
    pub(crate) unit: Unit,
    /// For people and for finding it again.
    pub(crate) selector: String,
    pub(crate) samples: Vec<Sample>,
}

const PEER_LABELS: [&str; 7] = [
    "peer",
    "peer_service",
    "upstream",
    "callee",
    "destination_service",
    "destination_workload",
    "target_service",
];
const CODE_LABELS: [&str; 6] =
    ["code", "status", "status_code", "http_status_code", "response_code", "grpc_code"];

/// All signals of all services.
pub(crate) fn signals<'a>(series: &'a [Series], services: &BTreeSet<&'a str>) -> Vec<Signal<'a>> {
    let mut groups = Groups::default();
    let sums: BTreeSet<(&str, &str)> = series
        .iter()
        .filter_map(|one| Some((one.service.as_str(), one.name.strip_suffix("_sum")?)))
        .collect();
    let mut signals = Vec::new();
    for one in series {
        if one.name.ends_with("_bucket") || is_probe(one) {
            continue;
        }
        let peer = peer_of(one, services);
        if let Some(base) = one.name.strip_suffix("_sum") {
            groups.histogram(one.service.as_str(), base, peer).add_sum(one);
        } else if let Some(base) = one.name.strip_suffix("_count")
            && sums.contains(&(one.service.as_str(), base))
        {
            groups.histogram(one.service.as_str(), base, peer).add_count(one);
        } else if is_counter(&one.name) {
            match code_of(one) {
                Some(code) => groups.requests(one, peer).add(one, is_failing(code)),
                None => signals.extend(rate(one, peer)),
            }
        } else {
            signals.extend(gauge(one, peer));
        }
    }
    groups.finish(&mut signals);
    signals
}

/// The service that this series measures calls to.
pub(crate) fn peer_of<'a>(series: &'a Series, services: &BTreeSet<&'a str>) -> Option<&'a str> {
    PEER_LABELS
        .iter()
        .filter_map(|name| series.labels.get(*name))
        .map(String::as_str)
        .find(|peer| *peer != series.service && services.contains(peer))
}

/// Scrapes and health checks are answered even by a service that answers nobody else.
fn is_probe(series: &Series) -> bool {
    const PROBES: [&str; 7] =
        ["/metrics", "/health", "/healthz", "/ready", "/readyz", "/livez", "/ping"];
    series.labels.values().any(|value| PROBES.contains(&value.as_str()))
}

fn is_counter(name: &str) -> bool {
    name.ends_with("_total") || name.ends_with("_count")
}

fn code_of(series: &Series) -> Option<&str> {
    CODE_LABELS.iter().find_map(|name| series.labels.get(*name)).map(String::as_str)
}

/// Server-side trouble: what a client did wrong (4xx) is not the service's failure, except that it ran into a timeout.
fn is_failing(code: &str) -> bool {
    match code.parse::<u16>() {
        Ok(status) if status >= 100 => status >= 500 || status == 408 || status == 499,
        Ok(grpc) => matches!(grpc, 2 | 4 | 8 | 13 | 14 | 15),
        Err(_) => {
            let code = code.to_ascii_lowercase();
            [
                "5xx", "err", "time", "fail", "unavail", "refuse", "reset", "abort", "internal",
                "deadline",
            ]
            .iter()
            .any(|word| code.contains(word))
        }
    }
}

/// What is added to a counter from sample to sample; a value that falls means a restart from zero.
fn increments(series: &Series, born_with: Option<Timestamp>) -> impl Iterator<Item = Sample> + '_ {
    let first = series.points.first().zip(born_with).map(|((at, value), from)| Sample {
        from,
        at: *at,
        value: *value,
    });
    let rest = series.points.windows(2).filter_map(|pair| match pair {
        [(from, before), (at, after)] => {
            let value = if after >= before { after - before } else { *after };
            Some(Sample { from: *from, at: *at, value })
        }
        _ => None,
    });
    first.into_iter().chain(rest)
}

fn seconds(sample: &Sample) -> f64 {
    sample.at.since(sample.from).as_secs_f64().max(1e-3)
}

fn rate<'a>(series: &'a Series, peer: Option<&'a str>) -> Option<Signal<'a>> {
    let name = series.name.to_ascii_lowercase();
    let class = match () {
        () if name.contains("cpu") && name.contains("second") => Class::Cpu,
        () if has_any(&name, &["error", "fail", "exception", "timeout", "reject"]) => Class::Errors,
        () if name.contains("request") => Class::Traffic,
        () => Class::Other,
    };
    let unit = if class == Class::Cpu { Unit::Cores } else { Unit::PerSecond };
    let samples: Vec<Sample> = increments(series, None)
        .map(|sample| Sample { value: sample.value / seconds(&sample), ..sample })
        .collect();
    Some(Signal {
        service: &series.service,
        peer,
        class,
        unit,
        selector: selector(series),
        samples,
    })
    .filter(|signal| !signal.samples.is_empty())
}

fn gauge<'a>(series: &'a Series, peer: Option<&'a str>) -> Option<Signal<'a>> {
    let name = series.name.to_ascii_lowercase();
    let (class, unit) = gauge_kind(&name)?;
    let mut from = series.points.first().map(|(at, _)| *at)?;
    let samples = series
        .points
        .iter()
        .map(|(at, value)| {
            let sample = Sample { from, at: *at, value: *value };
            from = *at;
            sample
        })
        .collect();
    Some(Signal {
        service: &series.service,
        peer,
        class,
        unit,
        selector: selector(series),
        samples,
    })
}

fn gauge_kind(name: &str) -> Option<(Class, Unit)> {
    let unit = match () {
        () if has_any(name, &["percent", "%", "rate(%)"]) => Unit::Percent,
        () if has_any(name, &["ratio", "utilization", "utilisation"]) => Unit::Ratio,
        () if name.contains("bytes") => Unit::Bytes,
        () if name.ends_with("seconds") || name.ends_with("(s)") => Unit::Seconds,
        () => Unit::Count,
    };
    // Clocks, limits and what grows when things go well say nothing about trouble.
    if has_any(
        name,
        &[
            "timestamp",
            "start_time",
            "limit",
            "max_fds",
            "virtual_memory",
            "info",
            "avail",
            "free",
            "idle",
        ],
    ) {
        return None;
    }
    let class = match () {
        () if name.contains("cpu") => Class::Cpu,
        () if has_any(name, &["memory", "rss", "heap"]) => Class::Memory,
        () if has_any(name, &["open_fds", "open_files", "thread", "goroutine"]) => Class::Handles,
        () if has_any(
            name,
            &["in_flight", "inflight", "queue", "pending", "active_requests", "waiting"],
        ) =>
        {
            Class::InFlight
        }
        () if has_any(name, &["latency", "duration", "response_time"]) => Class::Latency,
        () if has_any(name, &["error", "fail"]) => Class::Errors,
        () => Class::Other,
    };
    match (class, unit) {
        (Class::Cpu, Unit::Count) => Some((class, Unit::Cores)),
        _ => Some((class, unit)),
    }
}

pub(crate) fn has_any(name: &str, words: &[&str]) -> bool {
    words.iter().any(|word| name.contains(word))
}

/// As one would type it into a query.
pub(crate) fn selector(series: &Series) -> String {
    let labels: String =
        series.labels.iter().map(|(name, value)| format!(",{name}={value:?}")).collect();
    format!("{}{{service={:?}{labels}}}", series.name, series.service)
}

type Key<'a> = (&'a str, &'a str, Option<&'a str>);

#[derive(Default)]
struct Groups<'a> {
    histograms: BTreeMap<Key<'a>, Histogram>,
    requests: BTreeMap<Key<'a>, Requests<'a>>,
}

/// Sum and count of one histogram, over all its other labels.
#[derive(Default)]
struct Histogram {
    by_time: BTreeMap<Timestamp, (Timestamp, f64, f64)>,
}

impl Histogram {
    fn add_sum(&mut self, series: &Series) {
        for sample in increments(series, None) {
            self.by_time.entry(sample.at).or_insert((sample.from, 0.0, 0.0)).1 += sample.value;
        }
    }

    fn add_count(&mut self, series: &Series) {
        for sample in increments(series, None) {
            self.by_time.entry(sample.at).or_insert((sample.from, 0.0, 0.0)).2 += sample.value;
        }
    }
}

/// Requests by code, over all other labels.
#[derive(Default)]
struct Requests<'a> {
    members: Vec<(&'a Series, bool)>,
}

impl<'a> Requests<'a> {
    fn add(&mut self, series: &'a Series, failing: bool) {
        self.members.push((series, failing));
    }

    /// Per interval: all requests and the failing ones. A code that appears later was at zero before.
    fn by_time(&self) -> BTreeMap<Timestamp, (Timestamp, f64, f64)> {
        let times: BTreeSet<Timestamp> = self
            .members
            .iter()
            .flat_map(|(series, _)| series.points.iter().map(|(at, _)| *at))
            .collect();
        let mut by_time: BTreeMap<Timestamp, (Timestamp, f64, f64)> = BTreeMap::new();
        for (series, failing) in &self.members {
            let born =
                series.points.first().and_then(|(at, _)| times.range(..*at).next_back().copied());
            for sample in increments(series, born) {
                let slot = by_time.entry(sample.at).or_insert((sample.from, 0.0, 0.0));
                slot.1 += sample.value;
                slot.2 += if *failing { sample.value } else { 0.0 };
            }
        }
        by_time
    }
}

impl<'a> Groups<'a> {
    fn histogram(
        &mut self,
        service: &'a str,
        base: &'a str,
        peer: Option<&'a str>,
    ) -> &mut Histogram {
        self.histograms.entry((service, base, peer)).or_default()
    }

    fn requests(&mut self, series: &'a Series, peer: Option<&'a str>) -> &mut Requests<'a> {
        self.requests.entry((series.service.as_str(), series.name.as_str(), peer)).or_default()
    }

    fn finish(self, signals: &mut Vec<Signal<'a>>) {
        for ((service, base, peer), histogram) in self.histograms {
            let lower = base.to_ascii_lowercase();
            let is_time = has_any(&lower, &["duration", "latency", "seconds", "time"]);
            let samples = histogram
                .by_time
                .iter()
                .filter(|(_, (_, _, count))| *count > 0.0)
                .map(|(at, (from, sum, count))| Sample { from: *from, at: *at, value: sum / count })
                .collect();
            let (class, unit) =
                if is_time { (Class::Latency, Unit::Seconds) } else { (Class::Other, Unit::Count) };
            signals.push(Signal {
                service,
                peer,
                class,
                unit,
                selector: select(base, service, peer),
                samples,
            });
            if is_time {
                let counts = histogram
                    .by_time
                    .iter()
                    .map(|(at, (from, _, count))| (*at, (*from, *count, 0.0)))
                    .collect();
                signals.push(traffic(service, &format!("{base}_count"), peer, &counts));
            }
        }
        for ((service, name, peer), requests) in self.requests {
            let by_time = requests.by_time();
            signals.push(traffic(service, name, peer, &by_time));
            let samples = by_time
                .iter()
                .filter(|(_, (_, all, _))| *all > 0.0)
                .map(|(at, (from, all, failing))| Sample {
                    from: *from,
                    at: *at,
                    value: failing / all,
                })
                .collect();
            let selector = select(name, service, peer);
            signals.push(Signal {
                service,
                peer,
                class: Class::Errors,
                unit: Unit::Ratio,
                selector,
                samples,
            });
        }
    }
}

fn traffic<'a>(
    service: &'a str,
    name: &str,
    peer: Option<&'a str>,
    by_time: &BTreeMap<Timestamp, (Timestamp, f64, f64)>,
) -> Signal<'a> {
    let samples = by_time
        .iter()
        .map(|(at, (from, all, _))| Sample {
            from: *from,
            at: *at,
            value: all / at.since(*from).as_secs_f64().max(1e-3),
        })
        .collect();
    let selector = select(name, service, peer);
    Signal { service, peer, class: Class::Traffic, unit: Unit::PerSecond, selector, samples }
}

fn select(name: &str, service: &str, peer: Option<&str>) -> String {
    match peer {
        Some(peer) => format!("{name}{{service={service:?},peer={peer:?}}}"),
        None => format!("{name}{{service={service:?}}}"),
    }
}
