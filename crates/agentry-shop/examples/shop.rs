//! Runs the shop alone, breaks it on demand and prints what is seen.
//!
//! `cargo run -p agentry-shop --example shop -- [FAULT] [SEED] [SECONDS] [FOLDER] [WEBHOOK]`, or `… -- rules` for the alert
//! rules as a Prometheus rules file.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use agentry_shop::monitor::prometheus_rules;
use agentry_shop::{Fault, Shop, ShopConfig, process, victim};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = args.as_slice()
        && first == "process"
    {
        return Ok(process::run(rest).await?);
    }
    if args == ["rules"] {
        return Ok(std::io::stdout().write_all(prometheus_rules().as_bytes())?);
    }
    let mut args = args.into_iter();
    let fault: Fault = args.next().unwrap_or_else(|| "none".to_owned()).parse()?;
    let seed: u64 = args.next().unwrap_or_else(|| "1".to_owned()).parse()?;
    let seconds: u64 = args.next().unwrap_or_else(|| "20".to_owned()).parse()?;
    let folder =
        args.next().map_or_else(|| std::env::temp_dir().join("agentry-shop"), PathBuf::from);
    let config = ShopConfig {
        program: std::env::current_exe()?,
        args_prefix: vec!["process".to_owned()],
        folder,
        seed,
        load_rps: 35.0,
        alerts_to: args.next(),
    };
    show(config, fault, Duration::from_secs(seconds)).await
}

async fn show(config: ShopConfig, fault: Fault, span: Duration) -> Outcome {
    let mut out = std::io::stdout();
    let service = victim(fault, config.seed);
    let shop = Shop::start(config).await?;
    let quiet = Duration::from_secs(14);
    shop.baseline(quiet, service).await?;
    table(&shop, &mut out)?;
    writeln!(out, "-- {fault} in {service}; firing before: {}", shop.monitor().status().firings)?;
    shop.inject(fault, service).await?;
    let begun = std::time::Instant::now();
    let mut known = 0;
    while begun.elapsed() < span {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let status = shop.monitor().status();
        if status.firings != known {
            known = status.firings;
            let names: Vec<String> = status
                .firing
                .iter()
                .map(|alert| format!("{}({})", alert.name, alert.service))
                .collect();
            writeln!(out, "{:5.1} s: {}", begun.elapsed().as_secs_f64(), names.join(" "))?;
        }
    }
    table(&shop, &mut out)?;
    match fault {
        Fault::None => {}
        Fault::BadDeploy => shop.rollback(service).await?,
        Fault::Cpu | Fault::Latency | Fault::Leak | Fault::Hang => shop.restart(service).await?,
    }
    let mended = std::time::Instant::now();
    while mended.elapsed() < Duration::from_secs(25) && !shop.monitor().status().firing.is_empty() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let status = shop.monitor().status();
    writeln!(
        out,
        "-- {:.1} s after mending: {} firing, {} fired in all",
        mended.elapsed().as_secs_f64(),
        status.firing.len(),
        status.firings
    )?;
    table(&shop, &mut out)?;
    shop.stop().await;
    Ok(())
}

fn table(shop: &Shop, out: &mut impl std::io::Write) -> std::io::Result<()> {
    for status in shop.services() {
        writeln!(
            out,
            "{:10} {:7} alive={} {:6.1}/s {:5.1} % err p95 {:6.1} ms cpu {:5.1} % {:6.1} MB",
            status.name,
            status.version,
            status.alive,
            status.requests_per_second,
            status.error_percent,
            status.p95_ms,
            status.cpu_percent,
            status.memory_bytes / 1e6
        )?;
    }
    Ok(())
}
