//! What a process counts, in the Prometheus text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Service;

use super::kernel;

const BOUNDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.175, 0.25, 0.35, 0.5, 1.0, 2.5, 5.0];

#[derive(Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
    in_flight: AtomicI64,
}

#[derive(Default)]
struct Counts {
    requests: BTreeMap<(&'static str, u16), u64>,
    duration: Histogram,
    client_requests: BTreeMap<(Service, String), u64>,
    client_duration: BTreeMap<Service, Histogram>,
}

#[derive(Default)]
struct Histogram {
    counts: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, seconds: f64) {
        for (bound, count) in BOUNDS.iter().zip(self.counts.iter_mut()) {
            if seconds <= *bound {
                *count += 1;
            }
        }
        self.count += 1;
        self.sum += seconds;
    }

    fn write(&self, text: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (bound, count) in BOUNDS.iter().zip(self.counts) {
            line(text, format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}"));
        }
        line(text, format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", self.count));
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        line(text, format_args!("{name}_sum{braces} {}", self.sum));
        line(text, format_args!("{name}_count{braces} {}", self.count));
    }
}

/// Counts a request as in flight until it is dropped.
pub(crate) struct InFlight<'a>(&'a AtomicI64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    pub(crate) fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn served(&self, route: &'static str, status: u16, took: Duration) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.requests.entry((route, status)).or_default() += 1;
        counts.duration.observe(took.as_secs_f64());
    }

    /// `code` is a status, or why there is none.
    pub(crate) fn called(&self, peer: Service, code: String, took: Duration) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.client_requests.entry((peer, code)).or_default() += 1;
        counts.client_duration.entry(peer).or_default().observe(took.as_secs_f64());
    }

    pub(crate) fn text(&self, version: &str, revision: &str) -> String {
        let mut text = String::with_capacity(8_192);
        head(&mut text, "shop_build_info", "gauge", "What is running here; always 1.");
        line(
            &mut text,
            format_args!("shop_build_info{{version=\"{version}\",revision=\"{revision}\"}} 1"),
        );
        head(&mut text, "http_requests_in_flight", "gauge", "Requests being handled.");
        line(&mut text, format_args!("http_requests_in_flight {}", self.in_flight()));
        self.write_counts(&mut text);
        kernel::write_metrics(&mut text);
        text
    }

    fn write_counts(&self, text: &mut String) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { requests, duration, client_requests, client_duration } = &*counts;
        head(text, "http_requests_total", "counter", "Requests answered.");
        for ((route, status), count) in requests {
            line(
                text,
                format_args!("http_requests_total{{route=\"{route}\",code=\"{status}\"}} {count}"),
            );
        }
        head(text, "http_request_duration_seconds", "histogram", "Time to answer a request.");
        duration.write(text, "http_request_duration_seconds", "");
        if client_requests.is_empty() {
            return;
        }
        head(text, "http_client_requests_total", "counter", "Requests made to other services.");
        for ((peer, code), count) in client_requests {
            line(
                text,
                format_args!(
                    "http_client_requests_total{{peer=\"{peer}\",code=\"{code}\"}} {count}"
                ),
            );
        }
        head(
            text,
            "http_client_request_duration_seconds",
            "histogram",
            "Time until another service answered.",
        );
        for (peer, histogram) in client_duration {
            histogram.write(
                text,
                "http_client_request_duration_seconds",
                &format!("peer=\"{peer}\""),
            );
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}
