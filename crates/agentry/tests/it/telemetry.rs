//! A folder of telemetry in which one service runs out of CPU at a given moment.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentry_core::Timestamp;

#[expect(clippy::disallowed_methods, reason = "the binary under test reads the same clock")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

/// Two minutes of quiet before `onset`, then `culprit` burns for ten minutes: some of it is still in the future.
pub(crate) fn write(folder: &Path, culprit: &str, onset: Timestamp) {
    let metrics = folder.join("metrics");
    std::fs::create_dir_all(&metrics).unwrap();
    for service in ["cart", "payment", "inventory"] {
        let mut lines = String::new();
        let mut busy = 10.0;
        for second in 0..720_u32 {
            let at = onset.minus(Duration::from_secs(120)).plus(Duration::from_secs(second.into()));
            let burning = service == culprit && second >= 120;
            busy += if burning { 0.97 } else { 0.02 + f64::from(second % 3) * 0.001 };
            writeln!(
                lines,
                r#"{{"timestamp":"{at}","service":"{service}","samples":[{{"name":"process_cpu_seconds_total","labels":{{}},"value":{busy:.3}}},{{"name":"process_resident_memory_bytes","labels":{{}},"value":20000000}}]}}"#
            )
            .unwrap();
        }
        std::fs::write(metrics.join(format!("{service}.jsonl")), lines).unwrap();
    }
}
