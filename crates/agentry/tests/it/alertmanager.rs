//! Real Prometheus and Alertmanager: their webhook in, their metrics read, the incident shown.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agentry_shop::{Fault, Service, Shop, ShopConfig, monitor};

use crate::support::{Running, get, wait_for};

struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(program: &Path, arguments: &[String]) -> Reaped {
    let mut command = Command::new(program);
    Reaped(command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn a_fault_in_the_shop_reaches_an_incident_through_prometheus_and_alertmanager() {
    let (Some(prometheus), Some(alertmanager)) =
        (program("AGENTRY_TEST_PROMETHEUS"), program("AGENTRY_TEST_ALERTMANAGER"))
    else {
        return skip();
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let shop = runtime.block_on(Shop::start(ShopConfig {
        program: env!("CARGO_BIN_EXE_agentry").into(),
        args_prefix: vec!["shop-process".into()],
        folder: folder.path().join("shop"),
        seed: 1,
        load_rps: 30.0,
        alerts_to: None,
    }));
    let shop = shop.unwrap();
    let (metrics_port, alerts_port) = (free_port(), free_port());
    let server = Running::with(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[incident]\nsettle = \"3s\"\napproval_timeout = \"1s\"\n[incident.sources]\nmetrics = \"prometheus:http://127.0.0.1:{metrics_port}\"\n"
    ));
    let _alertmanager =
        start_alertmanager(&alertmanager, folder.path(), alerts_port, &server.address);
    let _prometheus =
        start_prometheus(&prometheus, folder.path(), (metrics_port, alerts_port), &shop);

    // What is normal takes a while to be seen; the shop is healthy meanwhile.
    runtime.block_on(shop.baseline(Duration::from_secs(15), Service::Inventory)).unwrap();
    runtime.block_on(shop.inject(Fault::Hang, Service::Inventory)).unwrap();
    let incident = wait_for("an incident from Alertmanager", || {
        let (_, incident) = server.json(&get("/v1/incidents/INC-1"));
        (incident["run_status"] == "succeeded").then_some(incident)
    });
    runtime.block_on(shop.stop());
    assert!(incident["alerts"].as_u64() >= Some(1), "{incident}");
    let gaps = incident["gaps"].to_string();
    assert!(
        !gaps.contains("no metrics") && !gaps.contains("metrics:"),
        "metrics were not read: {gaps}"
    );
    let rows = incident["suspects"].as_array().unwrap().iter().flat_map(|suspect| {
        suspect["evidence"].as_array().unwrap().iter().filter(|row| row["from"] == "metric")
    });
    assert!(rows.count() > 0, "no suspect rests on a metric: {incident}");
    assert_eq!(incident["ticket"]["id"].as_str().map(str::is_empty), Some(false));
    let (_, list) = server.json(&get("/v1/incidents"));
    assert_eq!(list["data"].as_array().map(Vec::len), Some(1), "{list}");
}

fn start_alertmanager(program: &Path, folder: &Path, port: u16, agentry: &str) -> Reaped {
    let config = folder.join("alertmanager.yml");
    let text = format!(
        "route: {{receiver: agentry, group_by: [alertname, service], group_wait: 1s, group_interval: 2s, repeat_interval: 10s}}\nreceivers:\n- name: agentry\n  webhook_configs: [{{url: 'http://{agentry}/v1/alerts/alertmanager', send_resolved: true}}]\n"
    );
    std::fs::write(&config, text).unwrap();
    start(
        program,
        &[
            format!("--config.file={}", config.display()),
            format!("--storage.path={}", folder.join("alertmanager").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--cluster.listen-address=".into(),
        ],
    )
}

fn start_prometheus(program: &Path, folder: &Path, ports: (u16, u16), shop: &Shop) -> Reaped {
    let (port, alerts_port) = ports;
    let rules = folder.join("rules.yml");
    std::fs::write(&rules, monitor::prometheus_rules()).unwrap();
    let targets: Vec<_> =
        shop.services().iter().map(|service| (service.service, service.addr)).collect();
    let alertmanager = format!("127.0.0.1:{alerts_port}").parse().unwrap();
    let config = folder.join("prometheus.yml");
    let text =
        monitor::prometheus_config(&targets, &rules.display().to_string(), Some(alertmanager));
    std::fs::write(&config, text).unwrap();
    start(
        program,
        &[
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", folder.join("prometheus").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--rules.alert.resend-delay=2s".into(),
        ],
    )
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests should know what was not run")]
fn skip() {
    eprintln!("skipped: AGENTRY_TEST_PROMETHEUS and AGENTRY_TEST_ALERTMANAGER name no programs");
}
