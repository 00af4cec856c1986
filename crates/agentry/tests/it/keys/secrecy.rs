//! What a key may not know it is not told, and what nobody may know stands nowhere.

use agentry_testkit::vendor::{Reply, Vendor};

use super::{by, delete, folder, secret, told};
use crate::support::{Running, get, kill, post};

#[test]
fn a_key_is_told_of_the_models_that_it_may_use() {
    let folder = folder();
    let caller = secret(folder.path(), &["--name", "app", "--scope", "llm:*", "--model", "fa*"]);
    let other = secret(folder.path(), &["--name", "other", "--scope", "llm:*"]);
    let server = Running::again(folder);
    let listed = |key: &str| {
        let (_, list) = server.json(&by(key, &get("/v1/models")));
        let models = list["data"].as_array().unwrap().iter();
        models.map(|model| model["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&caller), ["fast"]);
    assert_eq!(listed(&other), ["fast", "slow", "default"]);
    assert_eq!(told(&server, &by(&caller, &get("/v1/models/fast"))), "200");
    assert_eq!(told(&server, &by(&caller, &get("/v1/models/slow"))), "404 model_not_found");
    assert_eq!(told(&server, &by(&other, &get("/v1/models/slow"))), "200");
    let (status, error) = server.json(&by(&caller, &super::chat("fable")));
    assert_eq!((status, error["error"]["code"].as_str()), (404, Some("model_not_found")));
    assert!(!error.to_string().contains("slow"), "{error}");
    let (_, advice) = server.json(&by(&caller, &get("/v1/models/recommend")));
    assert!(!advice.to_string().contains("slow"), "{advice}");
}

/// Everything that the process says, and everything that it answers.
#[test]
fn no_secret_is_repeated_by_errors_logs_and_lists() {
    let vendor_key = "sk-canary-of-the-vendor-0001";
    let refusal = |status| Reply::error(status).saying(&format!("bad key: Bearer {vendor_key}"));
    let vendor = Vendor::start(vec![refusal(401), refusal(400)]);
    let folder = folder();
    let config = format!(
        "{}[providers.v]\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:vendor.key\"\n\
         [models.one]\ntargets = [\"v/a\"]\nretries = 0\n[models.two]\ntargets = [\"v/b\"]\nretries = 0\n",
        super::CONFIG,
        vendor.base_url(),
    );
    std::fs::write(folder.path().join("agentry.toml"), config).unwrap();
    std::fs::write(folder.path().join("vendor.key"), vendor_key).unwrap();
    let admin = secret(folder.path(), &["--name", "me", "--scope", "*", "--scope", "operator"]);
    let server = Running::again(folder);
    let wrong = "canary-of-a-guess-0002";
    let mut requests: Vec<Vec<u8>> = ["one", "two", "nobody"].map(super::chat).into();
    requests.push(post("/v1/chat/completions", r#"{"model": "canary-of-a-body-0003"#));
    requests.push(delete("/v1/keys/none"));
    for path in [
        "/v1/keys",
        "/v1/status",
        "/v1/usage",
        "/v1/audit",
        "/v1/audit?of=keys",
        "/v1/models/recommend",
        "/metrics",
        "/ready",
    ] {
        requests.push(get(path));
    }
    let mut said = String::new();
    for request in &requests {
        said.push_str(&server.exchange(&by(&admin, request)));
    }
    said.push_str(&server.exchange(&by(wrong, &get("/v1/models"))));
    assert_eq!(vendor.received().len(), 2, "{said}");
    kill(server.pid(), "TERM");
    let (_, logs) = server.end();
    said.push_str(&logs);
    for canary in [vendor_key, wrong, admin.as_str(), super::FIXED, "canary-of-a-body"] {
        assert!(!said.contains(canary), "{canary} stands in {said}");
    }
    assert!(said.contains("[our key]"), "the vendor's words are told: {said}");
}
