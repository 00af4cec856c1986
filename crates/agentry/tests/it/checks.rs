//! Targets that are looked at while nobody calls them.

use agentry_testkit::vendor::{Answer, Reply, Vendor};
use serde_json::{Value, json};

use crate::support::{Running, get, post, wait_for};

/// Requests without a body name no model.
const LOOKS: &str = "";

fn vendor() -> Vendor {
    let vendor = Vendor::start(vec![Answer::chat(&["so"]).whole()]);
    vendor.script(LOOKS, vec![Reply::error(503)]);
    vendor
}

fn start(one: &Vendor, two: &Vendor) -> Running {
    let provider = |name: &str, vendor: &Vendor| {
        format!(
            "[providers.{name}]\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:one.key\"\n\
             [providers.{name}.check]\npath = \"/models/{{model}}\"\ninterval = \"100ms\"\ntimeout = \"100ms\"\n\
             failures = 2\nsuccesses = 2\n",
            vendor.base_url()
        )
    };
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n{}{}\
         [models.m]\ntargets = [\"one/a\", \"two/a\"]\nstrategy = \"round_robin\"\nretries = 0\n",
        provider("one", one),
        provider("two", two)
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("agentry.toml"), config).unwrap();
    std::fs::write(folder.path().join("one.key"), "sk-of-the-vendor").unwrap();
    Running::again(folder)
}

fn ask(server: &Running) -> u16 {
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    server.json(&post("/v1/chat/completions", body.to_string())).0
}

/// Waits until the target of that provider is seen as `state`; answers with what is shown of it.
fn seen(server: &Running, provider: &str, state: &str) -> Value {
    wait_for(state, || {
        let (_, status) = server.json(&get("/v1/status"));
        let targets = status["models"][0]["targets"].as_array().unwrap().clone();
        let name = format!("{provider}/a");
        let target = targets.into_iter().find(|target| target["name"] == *name).unwrap();
        (target["check"]["state"] == state).then_some(target)
    })
}

#[test]
fn a_target_that_does_not_pass_its_check_is_not_asked_until_it_does() {
    let (one, two) = (vendor(), vendor());
    two.script(LOOKS, vec![Reply::json(&json!({ "id": "a" }))]);
    let server = start(&one, &two);
    seen(&server, "two", "up");
    let down = seen(&server, "one", "down");
    assert_eq!(
        (&down["condition"], &down["circuit"]["state"], &down["circuit"]["cause"]),
        (&json!("unhealthy"), &json!("open"), &json!("check")),
        "{down}"
    );
    let problem = down["check"]["last"]["problem"].as_str().unwrap();
    assert!(problem.ends_with("/v1/models/a answered 503"), "{problem}");
    for _ in 0..4 {
        assert_eq!(ask(&server), 200);
    }
    one.assert_called("a", 0);
    two.assert_called("a", 4);
    // The everyday model of the provider is looked at, too.
    let looks = one.received_for(LOOKS);
    let look = looks.iter().find(|look| look.path == "/v1/models/a").unwrap();
    assert_eq!(look.method, "GET");
    assert_eq!(look.header("authorization"), Some("Bearer sk-of-the-vendor"));
    let metrics = server.exchange(&get("/metrics"));
    for sample in [
        "agentry_target_check_up{target=\"one/a\"} 0",
        "agentry_target_check_up{target=\"two/a\"} 1",
        "agentry_target_checks_total{target=\"one/a\",result=\"passed\"} 0",
    ] {
        assert!(metrics.contains(sample), "{sample} in {metrics}");
    }

    one.script(LOOKS, vec![Reply::json(&json!({ "id": "a" }))]);
    let up = seen(&server, "one", "up");
    assert_eq!(up["condition"], "healthy", "{up}");
    for _ in 0..4 {
        assert_eq!(ask(&server), 200);
    }
    one.assert_called("a", 2);

    // When nobody passes, whoever calls finds out.
    for vendor in [&one, &two] {
        vendor.script(LOOKS, vec![Reply::hangs()]);
    }
    let silent = seen(&server, "one", "down");
    assert!(silent["check"]["last"]["problem"].is_string(), "{silent}");
    seen(&server, "two", "down");
    assert_eq!(ask(&server), 200);
}
