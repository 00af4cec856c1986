use super::*;
use crate::monitor::exposition;

fn reading(second: i64, text: &str) -> Reading {
    Reading::new(Timestamp::from_millis(second * 1_000), Service::Cart, &exposition::parse(text))
}

/// Counts of requests up to 0.1 s, up to 0.25 s and in all, before and after.
fn check_p95(before: [u32; 3], after: [u32; 3], expected: Option<f64>) {
    let mut history = History::default();
    for (second, [fast, slow, all]) in [(0, before), (5, after)] {
        let name = "http_request_duration_seconds_bucket";
        history.push(reading(
            second,
            &format!("{name}{{le=\"0.1\"}} {fast}\n{name}{{le=\"0.25\"}} {slow}\n{name}{{le=\"+Inf\"}} {all}"),
        ));
    }
    assert_eq!(history.quantile_seconds(WINDOW, 0.95), expected);
}

#[test]
fn the_quantile_is_of_the_window_only() {
    check_p95([0, 0, 0], [100, 100, 100], Some(0.095));
    check_p95([900, 900, 900], [1_000, 1_000, 1_000], Some(0.095));
    check_p95([0, 0, 0], [90, 100, 100], Some(0.1 + 0.15 * 0.5));
    check_p95([0, 0, 0], [10, 10, 100], Some(0.25));
    check_p95([5, 5, 5], [5, 5, 5], None);
}

#[test]
fn failures_are_statuses_from_500_and_missing_answers() {
    let text = "http_requests_total{route=\"/\",code=\"200\"} 7\nhttp_requests_total{route=\"/\",code=\"404\"} 2\n\
                http_requests_total{route=\"/\",code=\"503\"} 1\nhttp_client_requests_total{code=\"timeout\"} 4";
    let of_cart = reading(0, text);
    assert_eq!((of_cart.requests, of_cart.failures), (10.0, 1.0));
    let of_shopper =
        Reading::new(Timestamp::from_millis(0), Service::Shopper, &exposition::parse(text));
    assert_eq!((of_shopper.requests, of_shopper.failures), (4.0, 4.0));
}

#[test]
fn a_restart_begins_a_new_history() {
    let mut history = History::default();
    history
        .push(reading(0, "process_start_time_seconds 10\nprocess_resident_memory_bytes 400000000"));
    history
        .push(reading(1, "process_start_time_seconds 50\nprocess_resident_memory_bytes 9000000"));
    assert_eq!(history.rise(WINDOW, |reading| reading.memory_bytes), 0.0);
    history
        .push(reading(2, "process_start_time_seconds 50\nprocess_resident_memory_bytes 9500000"));
    assert_eq!(history.rise(WINDOW, |reading| reading.memory_bytes), 500_000.0);
}

#[test]
fn a_failed_scrape_gives_no_rates() {
    let mut history = History::default();
    history.push(reading(0, "process_cpu_seconds_total 1"));
    history.push(reading(1, "process_cpu_seconds_total 2"));
    assert_eq!(history.rate(WINDOW, |reading| reading.cpu_seconds), 1.0);
    history.push(Reading::down(Timestamp::from_millis(2_000)));
    assert_eq!(history.rate(WINDOW, |reading| reading.cpu_seconds), 0.0);
}
