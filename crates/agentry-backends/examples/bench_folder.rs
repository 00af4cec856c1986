//! How long it takes to read a folder of telemetry: `cargo xtask bench folder [--json]`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use agentry_backends::folder::Folder;
use agentry_core::Timestamp;
use agentry_core::telemetry::{Query, Telemetry as _, Window};

const LINES: u64 = 100_000;
const SERIES: u64 = 1_000;
const SCRAPES: u64 = 60;
const ROUNDS: usize = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("agentry-bench-folder-{}", std::process::id()));
    let measured = measure(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    let figures = measured?;
    let json = std::env::args().any(|arg| arg == "--json");
    let mut out = std::io::stdout().lock();
    for (name, best) in figures {
        let ms = best.as_secs_f64() * 1e3;
        if json {
            writeln!(out, r#"{{"name":"{name}","value":{ms:.1},"unit":"ms"}}"#)?;
        } else {
            writeln!(out, "{name:<40} {ms:>8.1} ms")?;
        }
    }
    Ok(())
}

async fn measure(
    folder: &Path,
) -> Result<[(&'static str, Duration); 2], Box<dyn std::error::Error>> {
    write(folder)?;
    let start: Timestamp = "2026-01-31T08:00:00Z".parse()?;
    let window = Window { start, end: start.plus(Duration::from_secs(3_600)) };
    let query = Query { window, services: Vec::new(), items_max: 200_000 };
    let source = Folder::new(folder);
    let (mut logs, mut metrics) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let lines = source.logs(&query).await?.items.len();
        logs = logs.min(began.elapsed());
        let began = Instant::now();
        let series = source.metrics(&query).await?.items.len();
        metrics = metrics.min(began.elapsed());
        if (lines as u64, series as u64) != (LINES, SERIES) {
            return Err(format!("read {lines} lines and {series} series").into());
        }
    }
    Ok([("folder_logs_100000_lines", logs), ("folder_metrics_1000_series_60_points", metrics)])
}

fn write(folder: &Path) -> std::io::Result<()> {
    for kind in ["logs", "metrics"] {
        std::fs::create_dir_all(folder.join(kind))?;
    }
    for service in 0..5 {
        let mut logs = String::new();
        for line in 0..LINES / 5 {
            let (minute, second, micro) = (line / 400 % 60, line / 7 % 60, line * 37 % 1_000_000);
            let _ = writeln!(
                logs,
                r#"{{"timestamp":"2026-01-31T08:{minute:02}:{second:02}.{micro:06}Z","level":"info","service":"service-{service}","message":"GET /orders/{line} took {second} ms","trace_id":"{line:032x}","status":200}}"#
            );
        }
        std::fs::write(folder.join(format!("logs/service-{service}.jsonl")), logs)?;
        let mut metrics = String::new();
        for minute in 0..SCRAPES {
            let samples: Vec<String> = (0..SERIES / 5)
                .map(|series| {
                    format!(
                        r#"{{"name":"http_requests_total","labels":{{"path":"/{series}","code":"200"}},"value":{}}}"#,
                        series * minute
                    )
                })
                .collect();
            let samples = samples.join(",");
            let _ = writeln!(
                metrics,
                r#"{{"timestamp":"2026-01-31T08:{minute:02}:00Z","service":"service-{service}","samples":[{samples}]}}"#
            );
        }
        std::fs::write(folder.join(format!("metrics/service-{service}.jsonl")), metrics)?;
    }
    Ok(())
}
