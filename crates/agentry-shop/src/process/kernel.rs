//! What the kernel says about this process.

use std::fmt::Write as _;
use std::sync::OnceLock;

/// `USER_HZ`, which Linux fixes for what it shows to user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends the `process_*` metrics; those that the kernel does not tell are left out.
pub(crate) fn write_metrics(text: &mut String) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses and may contain spaces.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect());
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());

    if let (Some(user), Some(system)) = (ticks(11), ticks(12)) {
        let cpu = (user + system) / TICKS_PER_SECOND;
        metric(
            text,
            "process_cpu_seconds_total",
            "counter",
            "User and system CPU time spent.",
            cpu,
        );
    }
    if let (Some(after_boot), Some(boot)) = (ticks(19), booted_at()) {
        let start = boot + after_boot / TICKS_PER_SECOND;
        metric(
            text,
            "process_start_time_seconds",
            "gauge",
            "Start time since the Unix epoch.",
            start,
        );
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (field, name, help) in [
        ("VmRSS:", "process_resident_memory_bytes", "Resident memory."),
        ("VmSize:", "process_virtual_memory_bytes", "Virtual memory."),
    ] {
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse::<f64>().ok());
        if let Some(kilobytes) = kilobytes {
            metric(text, name, "gauge", help, kilobytes * 1_024.0);
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        metric(text, "process_open_fds", "gauge", "Open file descriptors.", open.count() as f64);
    }
    let threads = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))
        .and_then(|rest| rest.trim().parse::<f64>().ok());
    if let Some(threads) = threads {
        metric(text, "process_threads", "gauge", "Threads.", threads);
    }
}

fn metric(text: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    // Writing to a String cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
}

fn booted_at() -> Option<f64> {
    static BOOT: OnceLock<Option<f64>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
    })
}
