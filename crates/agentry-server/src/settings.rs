//! What the front door puts up with, and for how long.

use std::time::Duration;

/// Limits of the HTTP server. [`Default`] is what production uses; tests shorten the deadlines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Connections served at the same time. One more is answered 503 and closed.
    pub connections_max: usize,
    /// Names with a dot that a request's host may have, beside IP addresses and `localhost`. Any other is refused: a page
    /// in a browser must not reach us by a name that its author points here.
    pub hosts: Vec<String>,
    /// Web pages of these origins may call from a browser: `https://app.example.com`. None by default.
    pub origins: Vec<String>,
    /// Whether `/metrics` needs no key.
    pub metrics_open: bool,
    /// From the accepted connection to its first byte.
    pub first_byte: Duration,
    /// From the first byte of a request (or of an HTTP/2 preface) to the end of its head.
    pub head: Duration,
    /// How long a connection may stay open with no request in flight.
    pub idle: Duration,
    /// How long the other side may take nothing of what we write.
    pub write_stall: Duration,
    pub head_bytes_max: usize,
    /// HTTP/2: requests at the same time on one connection.
    pub streams_max: u32,
    /// HTTP/2: silence before a ping, and the time to answer it.
    pub ping: Duration,
    pub body: BodyLimits,
    /// From the wish to stop to the end of the last request; what is left then is cut.
    pub drain: Duration,
}

/// Limits of one request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    pub bytes_max: usize,
    /// Between two pieces of the body.
    pub idle: Duration,
    /// Once `idle` has passed, the whole body must have come at least this fast.
    pub bytes_per_second_min: u64,
    pub total: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            hosts: Vec::new(),
            origins: Vec::new(),
            metrics_open: true,
            first_byte: Duration::from_secs(5),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(90),
            write_stall: Duration::from_secs(30),
            head_bytes_max: 64 * 1024,
            streams_max: 100,
            ping: Duration::from_secs(15),
            body: BodyLimits::default(),
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            bytes_max: 10 * 1024 * 1024,
            idle: Duration::from_secs(15),
            bytes_per_second_min: 1024,
            total: Duration::from_secs(300),
        }
    }
}
