use super::*;
use crate::Service;

#[test]
fn fingerprints_are_those_of_alertmanager() {
    // Labels and fingerprint as Alertmanager 0.28 sent them.
    let labels = BTreeMap::from([
        ("alertname", "AlwaysFiring"),
        ("cluster", "lab"),
        ("service", "checkout"),
        ("severity", "critical"),
    ]);
    assert_eq!(format!("{:016x}", fingerprint(&labels)), "8d1e89f3901150e4");
}

fn alert(ended_at: Option<Timestamp>) -> Alert {
    Alert {
        name: "HighErrorRate",
        severity: "critical",
        service: Service::Payment,
        instance: "127.0.0.1:4000".to_owned(),
        summary: "requests are failing",
        value: 0.5,
        started_at: Timestamp::from_millis(1_795_180_800_000),
        ended_at,
    }
}

#[test]
fn a_webhook_says_what_alertmanager_would() {
    let annotations =
        json!({ "summary": "payment: requests are failing", "description": "value 0.500" });
    let labels = json!({
        "alertname": "HighErrorRate",
        "instance": "127.0.0.1:4000",
        "service": "payment",
        "severity": "critical",
    });
    let expected = json!({
        "receiver": "webhook",
        "status": "firing",
        "alerts": [{
            "status": "firing",
            "labels": labels,
            "annotations": annotations,
            "startsAt": "2026-11-20T13:20:00.000000Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://127.0.0.1:4000/metrics",
            "fingerprint": "05c307a05eb5b355",
        }],
        "groupLabels": { "alertname": "HighErrorRate", "service": "payment" },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "http://shop.localhost",
        "version": "4",
        "groupKey": "{}:{alertname=\"HighErrorRate\", service=\"payment\"}",
        "truncatedAlerts": 0,
    });
    let alert = alert(None);
    assert_eq!(payload(&group_key(&alert), &[alert]), expected);
}

/// One character per second: `x` fires, `e` has ended. Expected: `f` told as firing, `r` as resolved, `.` not told.
fn check(states: &str, expected: &str) {
    let mut groups = Groups::default();
    let mut ended_at = None;
    let got: String = states
        .chars()
        .zip(0..)
        .map(|(state, second)| {
            let now = Timestamp::from_millis(second * 1_000);
            ended_at = (state == 'e').then(|| ended_at.unwrap_or(now));
            let present = alert(ended_at);
            groups.observe(now, std::iter::once(&present).filter(|_| state != '-'));
            let due = groups.due(now);
            for webhook in &due {
                groups.sent(&webhook.group_key, now);
            }
            match due.as_slice() {
                [] => '.',
                [webhook] if is_firing(webhook) => 'f',
                [_] => 'r',
                more => panic!("{more:?}"),
            }
        })
        .collect();
    assert_eq!(got, expected, "{states}");
}

#[test]
fn a_group_is_told_after_a_second_then_every_ten_and_at_its_end() {
    check("-xxxx", "..f..");
    check("xxxxxxxxxxxxxxxxxxxxxxx", ".f.........f.........f.");
    check("xxxxeeeeeeeeeeeeeeeeee", ".f..r.................");
    check("xxeeeexxx", ".f.r..f..");
    check("xeeeeee", ".......");
}

#[test]
fn what_could_not_be_queued_stays_due() {
    let mut groups = Groups::default();
    let present = alert(None);
    for second in 0..5 {
        let now = Timestamp::from_millis(second * 1_000);
        groups.observe(now, std::iter::once(&present));
        assert_eq!(groups.due(now).len(), usize::from(second > 0), "second {second}");
    }
}
