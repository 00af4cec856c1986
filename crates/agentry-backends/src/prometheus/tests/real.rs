//! Against the real program.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::*;

/// Serves `/metrics`: a counter that grows with each scrape, and a gauge that is no number.
struct Exporter {
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let scrapes = AtomicU64::new(0);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> =
                    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                if head.is_empty() {
                    continue;
                }
                let count = scrapes.fetch_add(1, Ordering::SeqCst) + 1;
                let body = format!(
                    "# TYPE orders_total counter\norders_total{{service=\"cart\",path=\"/a b\"}} {count}\n\
                     # TYPE ratio gauge\nratio{{service=\"cart\"}} NaN\n# TYPE heap_bytes gauge\nheap_bytes 12.5\n"
                );
                let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/plain; version=0.0.4";
                // The scraper may have gone away.
                drop(write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(std::net::TcpStream::connect(&self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(program: &Path, folder: &Path, exporter: &str) -> (Server, Url) {
    let config = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nrule_files: [rules.yml]\nscrape_configs:\n- job_name: shop\n  static_configs:\n  - targets: ['{exporter}']\n"
    );
    let rules = "groups:\n- name: all\n  interval: 1s\n  rules:\n  - alert: Always\n    expr: heap_bytes > 0\n    labels: {service: cart}\n";
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    std::fs::write(folder.join("rules.yml"), rules).unwrap();
    // A free port may be taken before the server binds it: then another one is tried.
    for _ in 0..5 {
        let url = nobody();
        let address = format!("--web.listen-address=127.0.0.1:{}", url.port().unwrap());
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display())).arg(address);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Server(command.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        while server.0.try_wait().unwrap().is_none() && Instant::now() < deadline {
            if std::net::TcpStream::connect(("127.0.0.1", url.port().unwrap())).is_ok() {
                return (server, url);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    panic!("Prometheus does not start");
}

fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

fn last_minute(services: &[&str]) -> Query {
    let end = now();
    let window = Window { start: end.minus(Duration::from_secs(60)), end };
    Query { window, ..query(services, 1000) }
}

#[tokio::test]
async fn the_real_prometheus_is_read() {
    let Some(program) =
        std::env::var_os("AGENTRY_TEST_PROMETHEUS").filter(|program| !program.is_empty())
    else {
        drop(writeln!(
            std::io::stderr(),
            "skipped: AGENTRY_TEST_PROMETHEUS is not set; `cargo xtask test` sets it"
        ));
        return;
    };
    let exporter = Exporter::start();
    let folder = tempfile::tempdir().unwrap();
    let (_server, url) = start(Path::new(&program), folder.path(), &exporter.address);
    let source = source(&url);

    let deadline = Instant::now() + Duration::from_secs(60);
    let series = loop {
        let page = source.metrics(&last_minute(&[])).await;
        let series = page.map(|page| page.items).unwrap_or_default();
        if series.iter().any(|one| one.name == "orders_total" && one.points.len() >= 3) {
            break series;
        }
        assert!(Instant::now() < deadline, "three scrapes did not come: {series:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let find = |name: &str| series.iter().find(|one| one.name == name).unwrap();
    let orders = find("orders_total");
    assert_eq!((orders.service.as_str(), orders.labels["path"].as_str()), ("cart", "/a b"));
    assert!(
        orders.points.is_sorted_by(|left, right| left.0 < right.0 && left.1 < right.1),
        "{orders:?}"
    );
    let heap = find("heap_bytes");
    assert_eq!((heap.service.as_str(), heap.points[0].1), ("shop", 12.5));
    assert!(!heap.labels.contains_key("job"));
    for unwanted in ["ratio", "ALERTS", "ALERTS_FOR_STATE", "scrape_duration_seconds"] {
        assert!(series.iter().all(|one| one.name != unwanted), "{unwanted}");
    }

    let names = async |services: &[&str]| {
        let page = source.metrics(&last_minute(services)).await.unwrap();
        let mut names: Vec<String> = page.items.into_iter().map(|one| one.name).collect();
        names.sort();
        names
    };
    assert_eq!(names(&["cart"]).await, ["orders_total"]);
    assert_eq!(names(&["shop"]).await, ["heap_bytes", "up"]);
    assert_eq!(names(&["c.rt", "nobody"]).await, [""; 0]);

    let mut settings = Settings::new(url);
    settings.service_label = "no label".to_owned();
    let error =
        Prometheus::new(client(), settings).metrics(&last_minute(&["cart"])).await.unwrap_err();
    assert!(error.to_string().contains("parse error"), "{error}");
}
