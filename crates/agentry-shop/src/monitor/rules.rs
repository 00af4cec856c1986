//! When something is wrong: the same rules for the monitor and for a real Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Service;

use super::alerts::Rule;
use super::history::{History, WINDOW};

const FAILING_SHARE: f64 = 0.05;
const FAILING_MIN: f64 = 3.0;
const REQUESTS_MIN: f64 = 10.0;
const MEDIAN_SECONDS: f64 = 0.25;
/// Several times what any process needs when all is well.
const CPU_CORES: f64 = 0.3;
const GROWTH_WINDOW: Duration = Duration::from_secs(15);
const GROWTH_BYTES: f64 = 60e6;
const RISING_WINDOW: Duration = Duration::from_secs(3);
const RISING_BYTES: f64 = 3e6;
const STUCK_WINDOW: Duration = Duration::from_secs(3);
const STUCK_IN_FLIGHT: f64 = 3.0;

// This shop pages for all of them: each is felt by shoppers at once, or within minutes.
pub(super) const ERROR_RATE: Rule = Rule {
    name: "HighErrorRate",
    severity: "critical",
    hold: Duration::from_secs(2),
    summary: "requests are failing",
};
pub(super) const LATENCY: Rule = Rule {
    name: "HighLatency",
    severity: "critical",
    hold: Duration::from_secs(2),
    summary: "calls to another service take too long (median, seconds)",
};
pub(super) const CPU: Rule = Rule {
    name: "CpuSaturation",
    severity: "critical",
    hold: Duration::from_secs(2),
    summary: "the process keeps a CPU busy (cores)",
};
pub(super) const MEMORY: Rule = Rule {
    name: "MemoryGrowth",
    severity: "critical",
    hold: Duration::from_secs(1),
    summary: "memory grows without pause (bytes in 15 s)",
};
pub(super) const STUCK: Rule = Rule {
    name: "RequestsStuck",
    severity: "critical",
    hold: Duration::from_secs(2),
    summary: "requests are taken in and none is answered (in flight)",
};
pub(super) const DOWN: Rule = Rule {
    name: "InstanceDown",
    severity: "critical",
    hold: Duration::from_secs(3),
    summary: "the process does not answer the monitor",
};

/// A rule's condition that is true now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Holding {
    pub(super) rule: Rule,
    pub(super) service: Service,
    pub(super) instance: String,
    pub(super) value: f64,
}

pub(super) fn holding(
    histories: &BTreeMap<Service, History>,
    addresses: &BTreeMap<Service, SocketAddr>,
) -> Vec<Holding> {
    let mut holding = Vec::new();
    for (service, history) in histories {
        let instance = addresses.get(service).map(ToString::to_string).unwrap_or_default();
        for (rule, value) in judge(history) {
            holding.push(Holding { rule, service: *service, instance: instance.clone(), value });
        }
    }
    holding
}

fn judge(history: &History) -> Vec<(Rule, f64)> {
    let mut broken = Vec::new();
    let requests = history.rise(WINDOW, |reading| reading.requests);
    let failures = history.rise(WINDOW, |reading| reading.failures);
    if requests >= REQUESTS_MIN && failures >= FAILING_MIN && failures / requests > FAILING_SHARE {
        broken.push((ERROR_RATE, failures / requests));
    }
    // The median, not the tail: on a busy machine every tail is long.
    if let Some(median) = history.slowest_peer_seconds(WINDOW, REQUESTS_MIN)
        && median > MEDIAN_SECONDS
    {
        broken.push((LATENCY, median));
    }
    let cores = history.rate(WINDOW, |reading| reading.cpu_seconds);
    if cores > CPU_CORES {
        broken.push((CPU, cores));
    }
    let growth = history.rise(GROWTH_WINDOW, |reading| reading.memory_bytes);
    if growth > GROWTH_BYTES
        && history.rise(RISING_WINDOW, |reading| reading.memory_bytes) > RISING_BYTES
    {
        broken.push((MEMORY, growth));
    }
    let in_flight = history.last().map_or(0.0, |reading| reading.in_flight);
    let covered = history
        .span(STUCK_WINDOW)
        .is_some_and(|(first, last)| last.at_micros - first.at_micros >= 2_400_000);
    if covered
        && in_flight >= STUCK_IN_FLIGHT
        && history.rise(STUCK_WINDOW, |reading| reading.requests) <= 0.0
    {
        broken.push((STUCK, in_flight));
    }
    if history.last().is_some_and(|reading| !reading.up) {
        broken.push((DOWN, 0.0));
    }
    broken
}

/// The rules as a Prometheus rules file. It expects the labels `service` and `instance` on every series, as
/// [`prometheus_config`] sets them, and a scrape every second.
#[must_use]
pub fn prometheus_rules() -> String {
    let by = "sum by (service, instance)";
    let served = "http_requests_total";
    let called = "http_client_requests_total{service=\"shopper\"}";
    let served_failing = "http_requests_total{code=~\"5..\"}";
    let called_failing =
        "http_client_requests_total{service=\"shopper\",code=~\"5..|timeout|unreachable\"}";
    let share = |failing: &str, all: &str| {
        format!(
            "(({by} (rate({failing}[5s])) / {by} (rate({all}[5s]))) > {FAILING_SHARE} and {by} (increase({all}[5s])) >= {REQUESTS_MIN} and {by} (increase({failing}[5s])) >= {FAILING_MIN})"
        )
    };
    let expressions = [
        (
            ERROR_RATE,
            format!("{} or {}", share(served_failing, served), share(called_failing, called)),
        ),
        (
            LATENCY,
            format!(
                "max by (service, instance) (histogram_quantile(0.5, sum by (service, instance, peer, le) (rate(http_client_request_duration_seconds_bucket[5s]))) > {MEDIAN_SECONDS} and sum by (service, instance, peer) (increase(http_client_request_duration_seconds_count[5s])) >= {REQUESTS_MIN})"
            ),
        ),
        (CPU, format!("{by} (rate(process_cpu_seconds_total[5s])) > {CPU_CORES}")),
        (
            MEMORY,
            format!(
                "(process_resident_memory_bytes - min_over_time(process_resident_memory_bytes[15s])) > {GROWTH_BYTES} and delta(process_resident_memory_bytes[3s]) > {RISING_BYTES}"
            ),
        ),
        (
            STUCK,
            format!(
                "http_requests_in_flight >= {STUCK_IN_FLIGHT} unless on (service, instance) {by} (increase(http_requests_total[4s])) > 0"
            ),
        ),
        (DOWN, "up == 0".to_owned()),
    ];
    let mut text = "groups:\n- name: shop\n  interval: 1s\n  rules:\n".to_owned();
    for (rule, expression) in expressions {
        let Rule { name, severity, hold, summary } = rule;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "  - alert: {name}\n    expr: '{expression}'\n    for: {}s\n    labels: {{severity: {severity}}}\n    annotations:\n      summary: '{{{{ $labels.service }}}}: {summary}'\n      description: 'value {{{{ $value }}}}'\n",
            hold.as_secs()
        );
    }
    text
}

/// A Prometheus configuration that scrapes `targets` every second, and sends to an Alertmanager if one is named.
#[must_use]
pub fn prometheus_config(
    targets: &[(Service, SocketAddr)],
    rules_path: &str,
    alertmanager: Option<SocketAddr>,
) -> String {
    let mut text =
        "global: {scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s}\n"
            .to_owned();
    let _ = writeln!(text, "rule_files: ['{rules_path}']");
    if let Some(address) = alertmanager {
        let _ = writeln!(
            text,
            "alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{address}']}}]}}]}}"
        );
    }
    text.push_str("scrape_configs:\n- job_name: shop\n  static_configs:\n");
    for (service, address) in targets {
        let _ = writeln!(text, "  - {{targets: ['{address}'], labels: {{service: {service}}}}}");
    }
    text
}

#[cfg(test)]
mod tests;
