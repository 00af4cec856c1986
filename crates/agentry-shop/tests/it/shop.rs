//! Starts the shop, breaks it, and looks at what it leaves behind.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use agentry_shop::monitor::Alert;
use agentry_shop::{Fault, Service, Shop, ShopConfig};
use serde_json::Value;
use tempfile::TempDir;

use crate::receiver::Receiver;

const PATIENCE: Duration = Duration::from_secs(60);

/// Cargo builds the examples of a package before it runs the package's tests.
fn program() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let program = here.parent().and_then(Path::parent).unwrap().join("examples").join("shop");
    assert!(program.exists(), "build it with: cargo build -p agentry-shop --example shop");
    program
}

async fn start(folder: &Path, alerts_to: Option<String>) -> Shop {
    let config = ShopConfig {
        program: program(),
        args_prefix: vec!["process".to_owned()],
        folder: folder.to_owned(),
        seed: 7,
        load_rps: 30.0,
        alerts_to,
    };
    Shop::start(config).await.unwrap()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "waited in vain: {what}");
}

fn lines(folder: &Path, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn spans(folder: &Path, service: Service) -> Vec<Value> {
    lines(folder, &format!("traces/{service}.jsonl"))
        .iter()
        .flat_map(|request| {
            request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
        })
        .collect()
}

fn messages(folder: &Path, service: Service) -> Vec<String> {
    lines(folder, &format!("logs/{service}.jsonl"))
        .iter()
        .map(|line| line["message"].as_str().unwrap().to_owned())
        .collect()
}

fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a Value> {
    span["attributes"]
        .as_array()?
        .iter()
        .find(|attribute| attribute["key"] == key)
        .map(|found| &found["value"])
}

fn millis(span: &Value) -> u64 {
    let nanos = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    (nanos("endTimeUnixNano") - nanos("startTimeUnixNano")) / 1_000_000
}

fn is_gone(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

fn fires(shop: &Shop, wanted: impl Fn(&Alert) -> bool) -> bool {
    shop.monitor().status().firing.iter().any(wanted)
}

/// Injects `fault`, waits for the alert, hands over the folder of a shop that was then stopped.
async fn check(fault: Fault, service: Service, alert: &str, alerting: Service) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let shop = start(folder.path(), None).await;
    until("traffic", || !spans(folder.path(), service).is_empty()).await;
    shop.inject(fault, service).await.unwrap();
    until(alert, || fires(&shop, |firing| firing.name == alert && firing.service == alerting))
        .await;
    shop.stop().await;
    folder
}

#[tokio::test]
async fn a_healthy_shop_tells_of_itself_in_four_ways() {
    let folder = tempfile::tempdir().unwrap();
    let shop = start(folder.path(), None).await;
    shop.baseline(Duration::from_secs(3), Service::Payment).await.unwrap();
    until("an order", || {
        messages(folder.path(), Service::Checkout).iter().any(|line| line.contains(" placed: "))
    })
    .await;
    // A machine under load may be slow; nothing else is excused.
    assert!(!fires(&shop, |firing| firing.name != "HighLatency"), "{:?}", shop.monitor().status());
    let before = shop.services();
    assert!(before.iter().all(|status| status.alive), "{before:?}");
    shop.stop().await;
    until("the end of every process", || before.iter().all(|status| is_gone(status.pid))).await;

    for service in Service::ALL {
        for line in lines(folder.path(), &format!("logs/{service}.jsonl")) {
            assert_eq!(line["service"], service.name());
            line["timestamp"].as_str().unwrap().parse::<agentry_core::Timestamp>().unwrap();
            assert!(matches!(line["level"].as_str(), Some("info" | "warn" | "error")), "{line}");
            assert!(line["logger"].is_string() && line["message"].is_string(), "{line}");
        }
        let names: BTreeSet<String> = lines(folder.path(), &format!("metrics/{service}.jsonl"))
            .iter()
            .flat_map(|line| line["samples"].as_array().unwrap().clone())
            .map(|sample| sample["name"].as_str().unwrap().to_owned())
            .collect();
        for name in
            ["up", "http_requests_in_flight", "process_cpu_seconds_total", "shop_build_info"]
        {
            assert!(names.contains(name), "{name} of {service} in {names:?}");
        }
    }
    let changes = lines(folder.path(), "changes/changes.jsonl");
    assert!((1..=2).contains(&changes.len()), "{changes:?}");
    for change in changes {
        assert!(
            change["service"] != "payment" && change["revision"] != change["previous"],
            "{change}"
        );
    }
    // Every server span hangs on the client span of the one that called, up to the browser's.
    let client_ids = |service| -> BTreeSet<String> {
        spans(folder.path(), service)
            .iter()
            .filter(|span| span["kind"] == 3)
            .map(|span| span["spanId"].to_string())
            .collect()
    };
    let callers = [client_ids(Service::Frontend), client_ids(Service::Checkout)].concat_sets();
    let carts: Vec<Value> =
        spans(folder.path(), Service::Cart).into_iter().filter(|span| span["kind"] == 2).collect();
    assert!(!carts.is_empty());
    for span in carts {
        assert!(attribute(&span, "http.route").is_some(), "{span}");
        assert!(callers.contains(&span["parentSpanId"].to_string()), "{span}");
    }
}

trait ConcatSets {
    fn concat_sets(self) -> BTreeSet<String>;
}

impl ConcatSets for [BTreeSet<String>; 2] {
    fn concat_sets(self) -> BTreeSet<String> {
        self.into_iter().flatten().collect()
    }
}

#[tokio::test]
async fn a_slow_hop_is_seen_by_the_caller_alone() {
    let folder = check(Fault::Latency, Service::Inventory, "HighLatency", Service::Catalogue).await;
    let served =
        spans(folder.path(), Service::Inventory).iter().filter(|span| millis(span) >= 200).count();
    let waited =
        spans(folder.path(), Service::Catalogue).iter().filter(|span| millis(span) >= 200).count();
    assert!(served * 10 < waited, "{served} slow spans inside, {waited} outside");
}

#[tokio::test]
async fn a_burning_process_is_seen_in_its_cpu() {
    check(Fault::Cpu, Service::Cart, "CpuSaturation", Service::Cart).await;
}

#[tokio::test]
async fn a_leak_is_told_to_the_receiver_of_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let shop = start(folder.path(), Some(receiver.url())).await;
    shop.inject(Fault::Leak, Service::Payment).await.unwrap();
    let is_ours = |webhook: &Value| {
        webhook["commonLabels"]["alertname"] == "MemoryGrowth"
            && webhook["alerts"][0]["labels"]["service"] == "payment"
    };
    until("the alert", || receiver.received().iter().any(is_ours)).await;
    until("its acknowledgement", || shop.monitor().status().first_acknowledged_at.is_some()).await;
    assert!(receiver.refused() > 0, "the receiver refuses the first attempt");

    let pids: Vec<u32> = shop.services().iter().map(|status| status.pid).collect();
    drop(shop);
    assert!(pids.iter().all(|pid| is_gone(*pid)), "dropping the shop ends every process");
}

#[tokio::test]
async fn a_hang_stops_the_answers_and_callers_time_out() {
    let folder = check(Fault::Hang, Service::Payment, "RequestsStuck", Service::Payment).await;
    let said = messages(folder.path(), Service::Checkout);
    assert!(
        said.iter().any(|line| line == "call to payment failed: timeout after 800 ms"),
        "{said:?}"
    );

    // The launch file is still there: a process that loses its parent ends by itself.
    let launch = folder.path().join("launch").join("payment.json");
    let mut orphan = Command::new(program())
        .arg("process")
        .arg(launch)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(orphan.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.contains("listening"), "{ready}");
    drop(orphan.stdin.take());
    until("the orphan's end", || orphan.try_wait().unwrap().is_some()).await;
    assert!(orphan.wait().unwrap().success());
}

#[tokio::test]
async fn a_bad_deployment_is_undone_by_rolling_back() {
    let folder = tempfile::tempdir().unwrap();
    let shop = start(folder.path(), None).await;
    let failing =
        |alert: &Alert| alert.name == "HighErrorRate" && alert.service == Service::Payment;
    shop.inject(Fault::BadDeploy, Service::Payment).await.unwrap();
    until("errors", || fires(&shop, failing)).await;
    shop.rollback(Service::Payment).await.unwrap();
    until("recovery", || !fires(&shop, failing)).await;
    assert!(
        shop.rollback(Service::Payment)
            .await
            .unwrap_err()
            .to_string()
            .contains("no earlier revision")
    );
    shop.stop().await;

    let kinds: Vec<Value> = lines(folder.path(), "changes/changes.jsonl")
        .into_iter()
        .map(|change| change["kind"].clone())
        .collect();
    assert_eq!(kinds, ["deploy", "rollback"]);
    let said = messages(folder.path(), Service::Payment);
    assert!(said.iter().any(|line| line.ends_with("no rate for EUR in table fx-42")), "{said:?}");
    let said = messages(folder.path(), Service::Checkout);
    assert!(said.iter().any(|line| line == "call to payment failed: status 500"), "{said:?}");
}

#[tokio::test]
async fn what_cannot_be_done_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let config = |program: PathBuf, alerts_to: Option<&str>| ShopConfig {
        program,
        args_prefix: vec!["process".to_owned()],
        folder: folder.path().to_owned(),
        seed: 1,
        load_rps: 1.0,
        alerts_to: alerts_to.map(str::to_owned),
    };
    let cases = [
        (config("/no/such/program".into(), None), "cannot start /no/such/program"),
        (config("/bin/false".into(), None), "inventory did not get ready: it ended early"),
        (config(program(), Some("nowhere")), "`nowhere` is no address for webhooks"),
    ];
    for (config, expected) in cases {
        let said = Shop::start(config).await.err().unwrap().to_string();
        assert!(said.contains(expected), "{said}");
    }
}
