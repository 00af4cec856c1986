use agentry_core::Timestamp;

use super::*;
use crate::monitor::exposition;
use crate::monitor::history::Reading;

/// One reading a second; `metrics` writes what is exposed in each.
fn check(metrics: impl Fn(u32) -> String, expected: &[&str]) {
    let mut history = History::default();
    for second in 0..12 {
        let at = Timestamp::from_millis(i64::from(second) * 1_000);
        let text = metrics(second);
        history.push(if text.is_empty() {
            Reading::down(at)
        } else {
            Reading::new(at, Service::Payment, &exposition::parse(&text))
        });
    }
    let names: Vec<&str> = judge(&history).into_iter().map(|(rule, _)| rule.name).collect();
    assert_eq!(names, expected, "{}", metrics(11));
}

fn requests(good: u32, bad: u32) -> String {
    format!(
        "http_requests_total{{code=\"200\"}} {good}\nhttp_requests_total{{code=\"402\"}} {good}\nhttp_requests_total{{code=\"500\"}} {bad}\n"
    )
}

#[test]
fn error_rates_need_traffic() {
    check(|second| requests(second * 10, 0), &[]);
    check(|second| requests(second * 10, second), &[]);
    check(|second| requests(second * 10, second * 3), &["HighErrorRate"]);
    check(|second| requests(0, second / 5), &[]);
}

#[test]
fn slow_calls_to_one_peer_are_noticed() {
    let calls = |peer: &str, fast: u32, all: u32| {
        let name = format!("http_client_request_duration_seconds_bucket{{peer=\"{peer}\",le=");
        format!("{name}\"0.25\"}} {fast}\n{name}\"0.5\"}} {all}\n{name}\"+Inf\"}} {all}\n")
    };
    check(|second| calls("cart", second * 20, second * 20), &[]);
    check(|second| calls("cart", second * 11, second * 20), &[]);
    check(|second| calls("cart", second * 4, second * 20), &["HighLatency"]);
    check(
        |second| calls("cart", second * 90, second * 90) + &calls("payment", second, second * 5),
        &["HighLatency"],
    );
    check(|second| calls("cart", 0, second), &[]);
}

#[test]
fn a_busy_process_is_noticed() {
    check(|second| format!("process_cpu_seconds_total {}", f64::from(second) * 0.3), &[]);
    check(
        |second| format!("process_cpu_seconds_total {}", f64::from(second) * 0.7),
        &["CpuSaturation"],
    );
}

#[test]
fn memory_must_have_grown_and_still_grow() {
    let memory = |bytes: u32| format!("process_resident_memory_bytes {bytes}");
    check(|second| memory(10_000_000 + second * 3_000_000), &[]);
    check(|second| memory(10_000_000 + second * 9_000_000), &["MemoryGrowth"]);
    check(|second| memory(10_000_000 + second.min(8) * 9_000_000), &[]);
}

#[test]
fn stuck_means_taken_in_and_not_answered() {
    let stuck = |in_flight: u32, answered: u32| {
        format!("http_requests_in_flight {in_flight}\n{}", requests(answered, 0))
    };
    check(|_| stuck(9, 40), &["RequestsStuck"]);
    check(|_| stuck(2, 40), &[]);
    check(|second| stuck(9, 40 + second), &[]);
}

#[test]
fn a_process_that_does_not_answer_is_down() {
    check(|second| if second < 11 { "up 1".to_owned() } else { String::new() }, &["InstanceDown"]);
}

#[test]
fn the_rules_file_has_every_rule() {
    let text = prometheus_rules();
    for rule in [ERROR_RATE, LATENCY, CPU, MEMORY, STUCK, DOWN] {
        let expected = format!("- alert: {}\n", rule.name);
        assert!(text.contains(&expected), "{expected} in {text}");
        assert!(text.contains(&format!(
            "for: {}s\n    labels: {{severity: {}}}",
            rule.hold.as_secs(),
            rule.severity
        )));
    }
}

#[test]
fn the_configuration_labels_every_target_with_its_service() {
    let targets = [(Service::Cart, SocketAddr::from(([127, 0, 0, 1], 4_001)))];
    let alertmanager = SocketAddr::from(([127, 0, 0, 1], 9_093));
    let expected = "\
global: {scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s}
rule_files: ['/tmp/rules.yml']
alerting: {alertmanagers: [{static_configs: [{targets: ['127.0.0.1:9093']}]}]}
scrape_configs:
- job_name: shop
  static_configs:
  - {targets: ['127.0.0.1:4001'], labels: {service: cart}}
";
    assert_eq!(prometheus_config(&targets, "/tmp/rules.yml", Some(alertmanager)), expected);
}
