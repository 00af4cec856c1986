//! Whatever telemetry says, the diagnosis ends, panics at nothing, and claims nothing without evidence.

use std::collections::BTreeMap;

use agentry_core::telemetry::{Change, Level, LogLine, Page, Series, Span, SpanKind};
use proptest::prelude::*;

use super::*;
use crate::evidence::AlertFact;

const BASE: i32 = 1_795_000_000;

/// Mostly within two minutes of the incident, sometimes far away.
fn moment() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        9 => (0_i64..240_000).prop_map(|ms| Timestamp::from_millis(i64::from(BASE) * 1_000 + ms)),
        1 => any::<i64>().prop_map(Timestamp::from_micros),
    ]
}

fn service() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("cart".to_owned()),
        Just("payment".to_owned()),
        Just("shopper".to_owned()),
        Just(String::new())
    ]
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![6 => 0.0..1e3, 1 => any::<f64>(), 1 => Just(0.0), 1 => Just(f64::MAX)]
}

fn series() -> impl Strategy<Value = Series> {
    let name = prop_oneof![
        Just("process_cpu_seconds_total"),
        Just("process_resident_memory_bytes"),
        Just("http_requests_total"),
        Just("http_requests_in_flight"),
        Just("http_request_duration_seconds_sum"),
        Just("http_request_duration_seconds_count"),
        Just("http_client_request_duration_seconds_bucket"),
        Just("odd_ratio"),
    ];
    let label = prop_oneof![
        Just(("peer", "payment")),
        Just(("code", "500")),
        Just(("le", "+Inf")),
        Just(("le", "x"))
    ];
    let points = prop::collection::vec((moment(), value()), 0..40);
    (name, service(), prop::collection::vec(label, 0..3), points).prop_map(
        |(name, service, labels, points)| Series {
            name: name.to_owned(),
            service,
            labels: labels
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect::<BTreeMap<_, _>>(),
            points,
        },
    )
}

fn line() -> impl Strategy<Value = LogLine> {
    let message =
        prop_oneof!["\\PC{0,60}", Just("call to payment failed: timeout after 800 ms".to_owned())];
    let level = prop_oneof![Just(Level::Info), Just(Level::Error)];
    (moment(), service(), level, message, prop::option::of("[a-c]")).prop_map(
        |(at, service, level, message, trace_id)| LogLine {
            at,
            service,
            level,
            message,
            trace_id,
            handle: "f:1".into(),
        },
    )
}

fn span() -> impl Strategy<Value = Span> {
    let kind =
        prop_oneof![Just(SpanKind::Server), Just(SpanKind::Client), Just(SpanKind::Internal)];
    let ids = ("[a-c]", "[a-f]", prop::option::of("[a-f]"));
    (ids, service(), kind, moment(), any::<u64>(), any::<bool>(), prop::option::of(service()))
        .prop_map(
            |((trace_id, span_id, parent_id), service, kind, start, duration_us, failed, peer)| {
                Span {
                    trace_id,
                    span_id,
                    parent_id,
                    service,
                    name: "GET /".into(),
                    kind,
                    start,
                    duration_us,
                    failed,
                    peer,
                }
            },
        )
}

fn change() -> impl Strategy<Value = Change> {
    (moment(), service(), prop::option::of("[a-c]{3}")).prop_map(|(at, service, revision)| Change {
        at,
        service,
        kind: "deploy".into(),
        summary: "x".into(),
        previous: revision.clone(),
        revision,
        handle: "c:1".into(),
    })
}

fn page<T: std::fmt::Debug>(
    item: impl Strategy<Value = T>,
    max: usize,
) -> impl Strategy<Value = Page<T>> {
    prop::collection::vec(item, 0..max).prop_map(|items| Page { items, truncated: false })
}

fn observed() -> impl Strategy<Value = Observed> {
    let alerts = prop::collection::vec((service(), moment()), 0..4);
    (page(series(), 12), page(line(), 40), page(span(), 40), page(change(), 4), alerts).prop_map(
        |(metrics, logs, spans, changes, alerts)| Observed {
            window: None,
            metrics,
            logs,
            spans,
            changes,
            alerts: alerts
                .into_iter()
                .map(|(service, started)| AlertFact {
                    service,
                    name: "A".into(),
                    severity: "critical".into(),
                    started,
                })
                .collect(),
            missing: Vec::new(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_telemetry_gets_a_grounded_answer(observed in observed(), onset in moment(), now in moment()) {
        let diagnosis = diagnose(&observed, onset, now, &Settings::default());
        every_claim_rests_on_evidence(&diagnosis);
        prop_assert!(diagnosis.suspects.len() <= 5);
        let stored = serde_json::to_string(&diagnosis).unwrap();
        prop_assert_eq!(serde_json::from_str::<Diagnosis>(&stored).unwrap(), diagnosis);
    }
}
