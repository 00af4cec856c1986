//! SIGKILL at random moments, while incidents are handled: nothing acknowledged is lost, nothing is done twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Running, get, post, read_json, wait_for};
use crate::telemetry;

const KILLS: u64 = 24;
const ENVIRONMENTS: u64 = 12;
const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
[incident]
settle = "150ms"
approval_timeout = "200ms"
outbox = "out"
[incident.sources]
metrics = "dir:."
"#;

/// Knuth's 64-bit generator: enough to scatter moments.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Distinct critical firings, spread over environments: each environment is an incident of its own.
fn webhook(number: u64) -> Vec<u8> {
    let environment = number % ENVIRONMENTS;
    let body = json!({
        "version": "4",
        "status": "firing",
        "alerts": [{
            "status": "firing",
            "labels": {
                "alertname": format!("Slow{number}"), "service": "cart", "severity": "critical",
                "environment": format!("e{environment}"),
            },
            "annotations": { "summary": "too slow" },
            "startsAt": telemetry::now(),
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": format!("{number:016x}"),
        }],
    });
    post("/v1/alerts/alertmanager", body.to_string())
}

/// Sends until told to stop; what was answered with 200 is acknowledged.
fn send(address: &str, next: &AtomicU64, acknowledged: &Mutex<BTreeSet<u64>>, stop: &AtomicBool) {
    use std::io::{Read as _, Write as _};
    while !stop.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Ok(mut stream) = std::net::TcpStream::connect(address) else { return };
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = Vec::new();
        if stream.write_all(&webhook(number)).is_err() || stream.read_to_end(&mut answer).is_err() {
            continue;
        }
        if read_json(&String::from_utf8_lossy(&answer)).is_some_and(|(status, _)| status == 200) {
            acknowledged.lock().unwrap().insert(number);
        }
    }
}

#[test]
fn twenty_four_kills_lose_no_acknowledged_alert_and_repeat_no_ticket() {
    let seed = telemetry::now().as_micros().unsigned_abs();
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("agentry.toml"), CONFIG).unwrap();
    telemetry::write(folder.path(), "cart", telemetry::now().minus(Duration::from_secs(10)));
    let (next, acknowledged) = (AtomicU64::new(0), Mutex::new(BTreeSet::new()));
    let mut folder = Some(folder);
    for _ in 0..KILLS {
        let server = Running::again(folder.take().unwrap());
        let stop = AtomicBool::new(false);
        let pause = Duration::from_millis(30 + random.below(600));
        folder = Some(std::thread::scope(|scope| {
            for _ in 0..3 {
                let address = server.address.clone();
                let (next, acknowledged, stop) = (&next, &acknowledged, &stop);
                scope.spawn(move || send(&address, next, acknowledged, stop));
            }
            // The moment of the kill is the point of this test: nothing is waited for.
            let (_never, moment) = mpsc::channel::<()>();
            let _ = moment.recv_timeout(pause);
            let folder = server.kill_hard();
            stop.store(true, Ordering::Relaxed);
            folder
        }));
    }
    let server = Running::again(folder.take().unwrap());
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() > 20, "seed {seed}: only {} alerts got through", acknowledged.len());
    check(&server, &acknowledged, seed);
}

fn check(server: &Running, acknowledged: &BTreeSet<u64>, seed: u64) {
    let incidents = wait_for("every incident to be finished", || {
        let (_, list) = server.json(&get("/v1/incidents?limit=500"));
        let all = list["data"].as_array().unwrap().clone();
        all.iter().all(|incident| incident["run_status"] == "succeeded").then_some(all)
    });
    let mut homes: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut tickets = BTreeSet::new();
    for incident in &incidents {
        let id = incident["id"].as_str().unwrap();
        let (_, whole) = server.json(&get(&format!("/v1/incidents/{id}")));
        for alert in whole["firing"].as_array().unwrap() {
            let number = u64::from_str_radix(alert["fingerprint"].as_str().unwrap(), 16).unwrap();
            homes.entry(number).or_default().push(id.to_owned());
        }
        let ticket = whole["ticket"]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{id} has no ticket, seed {seed}"));
        assert!(
            tickets.insert(ticket.to_owned()),
            "seed {seed}: {ticket} belongs to two incidents"
        );
        assert_ne!(whole["approval"], Value::Null, "seed {seed}: {id} was never decided");
    }
    for number in acknowledged {
        let homes = homes.get(number).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(homes.len(), 1, "seed {seed}: alert {number} is in {homes:?}");
    }
    let files = std::fs::read_dir(server.folder.path().join("out/tickets")).unwrap();
    let files = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    // A draft that a kill cut short is not a ticket; it is hidden, and never mistaken for one.
    let files: BTreeSet<_> = files.filter(|name| !name.starts_with(".draft-")).collect();
    assert_eq!(files, tickets, "seed {seed}: tickets on disk and in incidents differ");
}
