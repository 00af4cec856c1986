//! The wall clock of this shell.

use std::time::{SystemTime, UNIX_EPOCH};

use agentry_core::Timestamp;

#[expect(
    clippy::disallowed_methods,
    reason = "the shop is a shell: its telemetry is stamped with the real time"
)]
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// Nanoseconds since the Unix epoch, as OpenTelemetry counts.
pub(crate) fn nanos(at: Timestamp) -> u128 {
    u128::try_from(at.as_micros()).unwrap_or(0) * 1_000
}

/// Always with six digits after the second, as log collectors like it.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    let text = at.to_string();
    let text = text.trim_end_matches('Z');
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{seconds}.{fraction:0<6}Z")
}
