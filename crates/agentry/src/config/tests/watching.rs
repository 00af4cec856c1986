//! Alerts, channels and traces.

use std::time::Duration;

use agentry_gateway::watchdog::Signal;

use super::{check, read};
use crate::config::Channel;

#[test]
fn an_alert_is_read_with_the_usual_bounds() {
    let text = "\
[channels.ops]
kind = \"slack\"
url = \"env:HOOK\"
[channels.pager]
kind = \"webhook\"
url = \"http://127.0.0.1:1/\"
[[alerts]]
when = \"first_token_p95\"
of = \"openai/*\"
threshold = 2
for = \"2m\"
notify = [\"ops\"]
escalate = [{ after = \"1h\", notify = [\"ops\"] }, { after = \"10m\", notify = [\"pager\"] }]
[[alerts]]
name = \"cold\"
when = \"cache_hit_rate\"
";
    let config = read(text, &[("HOOK", "http://127.0.0.1:1/s3cret")]).unwrap();
    assert!(matches!(config.alerts.channels["ops"], Channel::Slack { .. }));
    let [slow, cold] = config.alerts.rules.as_slice() else { panic!("{:?}", config.alerts.rules) };
    assert_eq!((&*slow.name, slow.signal), ("first_token_p95", Signal::FirstTokenP95));
    assert_eq!((slow.threshold, slow.clear, slow.of.as_deref()), (2.0, 1.8, Some("openai/*")));
    assert_eq!((slow.holds_for, slow.repeat), (Duration::from_secs(120), None));
    let steps: Vec<_> =
        slow.escalation.iter().map(|step| (step.after.as_secs(), &*step.channels[0])).collect();
    assert_eq!(steps, [(600, "pager"), (3_600, "ops")]);
    assert_eq!((&*cold.name, cold.threshold, cold.clear), ("cold", 10.0, 11.0));
    assert!(cold.channels.is_empty());
}

#[test]
fn what_is_wrong_with_an_alert_is_told() {
    check(
        "[[alerts]]\nwhen = \"cpu\"",
        &["is nothing that is watched: \"cpu\"", "target_unhealthy"],
    );
    check("[[alerts]]\nname = \"x\"", &["needs `when`"]);
    check(
        "[[alerts]]\nwhen = \"error_rate\"\nnotify = [\"ops\"]",
        &["names no channel: \"ops\"", "add [channels.ops]"],
    );
    check(
        "[[alerts]]\nwhen = \"error_rate\"\nthreshold = 5\nclear = 6",
        &["with the threshold 5 cannot be over at 6"],
    );
    check(
        "[[alerts]]\nwhen = \"error_rate\"\n[[alerts]]\nwhen = \"error_rate\"",
        &["there are two alerts called `error_rate`"],
    );
    check("[channels.ops]\nkind = \"pigeon\"\nurl = \"x\"", &["is no kind of channel: \"pigeon\""]);
    check("[channels.ops]\nkind = \"slack\"", &["needs `url`"]);
}

#[test]
fn calls_are_traced_when_there_is_a_collector() {
    let variable = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    let endpoint = |text: &str, variables: &[(&str, &str)]| {
        read(text, variables).unwrap().otel.map(|otel| otel.endpoint)
    };
    assert_eq!(endpoint("", &[]), None);
    assert_eq!(endpoint("", &[variable]).as_deref(), Some("http://127.0.0.1:4318"));
    let text = "[otel]\nendpoint = \"http://127.0.0.1:9/\"\nsample = 0.5";
    assert_eq!(endpoint(text, &[variable]).as_deref(), Some("http://127.0.0.1:9/"));
    check("[otel]\nsample = 2", &["must be between 0 and 1"]);
    check("[otel]\nendpoint = \"127.0.0.1:4318\"", &["`otel.endpoint`"]);
}
