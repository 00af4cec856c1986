//! The configuration, changed while an instance serves.

use std::process::Stdio;

use agentry_testkit::vendor::{Answer, Reply, Vendor};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::keys::{by, keys, text};
use crate::support::{Running, agentry, get, kill, post, wait_for};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn base(vendor: &Vendor, more: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[storage]\nurl = \"sqlite:a.db\"\n[breaker]\nfailures = 2\n\
         [providers.v]\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:vendor.key\"\n\
         [models.bad]\ntargets = [\"v/bad\"]\nretries = 0\n{more}",
        vendor.base_url()
    )
}

fn vendor() -> Vendor {
    let vendor = Vendor::start(vec![Answer::chat(&["so"]).whole()]);
    vendor.script("bad", vec![Reply::error(500)]);
    vendor
}

fn write(folder: &TempDir, name: &str, text: &str) {
    std::fs::write(folder.path().join(name), text).unwrap();
}

struct Instance {
    server: Running,
    operator: String,
}

impl Instance {
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("agentry.toml", config), ("vendor.key", "sk-1"), ("one.key", KEY)] {
            write(&folder, name, text);
        }
        let made =
            keys(folder.path(), &["create", "--name", "me", "--scope", "*", "--scope", "operator"]);
        Self { operator: text(&made, "secret"), server: Running::again(folder) }
    }

    fn configure(&self, config: &str) {
        write(&self.server.folder, "agentry.toml", config);
    }

    fn json(&self, request: &[u8]) -> (u16, Value) {
        self.server.json(&by(&self.operator, request))
    }

    fn reload(&self) -> (u16, Value) {
        self.json(&post("/v1/config/reload", ""))
    }

    fn ask(&self, key: &str, model: &str) -> String {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] });
        let (status, answer) =
            self.server.json(&by(key, &post("/v1/chat/completions", body.to_string())));
        match answer["error"]["code"].as_str() {
            Some(code) => format!("{status} {code}"),
            None => status.to_string(),
        }
    }

    fn status(&self) -> Value {
        self.json(&get("/v1/status")).1
    }

    fn acts(&self) -> Vec<(String, String)> {
        let (_, log) = self.json(&get("/v1/audit?limit=1000"));
        let entries = log["data"].as_array().unwrap().iter();
        let entries = entries
            .map(|one| serde_json::from_str::<Value>(one["entry"].as_str().unwrap()).unwrap());
        let acts = entries.map(|entry| (text(&entry, "action"), text(&entry, "actor")));
        acts.filter(|(action, _)| action.starts_with("config.")).collect()
    }
}

#[test]
fn what_changes_in_the_file_is_in_force_when_somebody_says_so() {
    let vendor = vendor();
    let instance = Instance::start(&base(&vendor, ""));
    let me = instance.operator.clone();
    for _ in 0..2 {
        instance.ask(&me, "bad");
    }
    let condition = || instance.status()["models"][0]["targets"][0]["condition"].clone();
    assert_eq!(condition(), "unhealthy");

    let more = "[models.new]\ntargets = [\"v/new\"]\n[guards]\ndeny = [\"(?i)tiger\"]\n\
                [[keys]]\nname = \"one\"\nsecret = \"file:one.key\"\nscopes = [\"llm:chat\"]\nrpm = 2\n\
                [cache]\nexact = false\n";
    assert_eq!(instance.ask(&me, "new"), "404 model_not_found");
    instance.configure(&base(&vendor, more));
    assert_eq!(instance.ask(&me, "new"), "404 model_not_found", "nobody has said so");
    let (code, reloaded) = instance.reload();
    assert_eq!(code, 200, "{reloaded}");
    assert_eq!(reloaded["changed"], json!(["guards", "keys", "models"]));
    assert_eq!(reloaded["restart"], json!(["cache"]));
    assert_eq!(instance.ask(&me, "new"), "200");
    assert_eq!(condition(), "unhealthy", "what is known of a target goes on");
    let limited: Vec<String> = (0..3).map(|_| instance.ask(KEY, "new")).collect();
    assert_eq!(limited, ["200", "200", "429 requests_limited"]);
    let (_, again) = instance.reload();
    assert_eq!((&again["changed"], &again["restart"]), (&json!([]), &json!(["cache"])));
    assert_eq!(instance.ask(KEY, "new"), "429 requests_limited", "what a key has used goes on");

    // A key at a vendor may change without the file.
    write(&instance.server.folder, "vendor.key", "sk-2");
    let (_, rotated) = instance.reload();
    assert_eq!(rotated["changed"], json!(["providers"]));
    assert_eq!(condition(), "healthy", "it is another one now");
    assert_eq!(instance.ask(&me, "new"), "200");
    let last = vendor.received_for("new").pop().unwrap();
    assert_eq!(last.header("authorization"), Some("Bearer sk-2"));

    instance.configure(&base(&vendor, ""));
    kill(instance.server.pid(), "HUP");
    wait_for("the model to be gone", || {
        (instance.ask(&me, "new") == "404 model_not_found").then_some(())
    });
    assert_eq!(instance.ask(KEY, "bad"), "401 key_invalid");
    let person = ("config.reloaded".to_owned(), "key:me".to_owned());
    let signal = ("config.reloaded".to_owned(), "signal:SIGHUP".to_owned());
    assert_eq!(instance.acts(), [person.clone(), person.clone(), person, signal]);
}

#[test]
fn a_wrong_file_leaves_all_as_it_was() {
    let vendor = vendor();
    let good = base(&vendor, "[models.good]\ntargets = [\"v/good\"]\n");
    let instance = Instance::start(&good);
    let me = instance.operator.clone();
    let standing = || instance.status()["beside"]["configuration"]["status"].clone();
    assert_eq!(standing(), "ok");
    let wrong = good.replace("v/good", "w/good").replace("retries = 0", "retrys = 0");
    instance.configure(&wrong);
    let (code, refused) = instance.reload();
    assert_eq!((code, &refused["error"]["code"]), (422, &json!("config_invalid")), "{refused}");
    let message = refused["error"]["message"].as_str().unwrap();
    for part in [
        "nothing was changed",
        "there is no provider `w`",
        "did you mean `retries`?",
        "agentry.toml:",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert_eq!(standing(), "failing");
    assert_eq!(instance.ask(&me, "good"), "200");

    instance.configure(&good);
    assert_eq!(instance.reload().0, 200);
    assert_eq!(standing(), "ok");
    let acts: Vec<String> = instance.acts().into_iter().map(|(action, _)| action).collect();
    assert_eq!(acts, ["config.reload_refused", "config.reloaded"]);
}

#[test]
fn only_operators_have_it_read_again() {
    let vendor = vendor();
    let more = "[[keys]]\nname = \"one\"\nsecret = \"file:one.key\"\nscopes = [\"*\"]\n";
    let instance = Instance::start(&base(&vendor, more));
    let (code, refused) = instance.server.json(&by(KEY, &post("/v1/config/reload", "")));
    assert_eq!((code, &refused["error"]["code"]), (403, &json!("scope_missing")), "{refused}");
}

#[test]
fn a_file_that_is_gone_or_says_nothing_is_no_configuration() {
    let vendor = vendor();
    let good = base(&vendor, "[models.good]\ntargets = [\"v/good\"]\n");
    let instance = Instance::start(&good);
    let me = instance.operator.clone();
    let check = |part: &str| {
        let (code, refused) = instance.reload();
        assert_eq!((code, &refused["error"]["code"]), (422, &json!("config_invalid")), "{refused}");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains("nothing was changed") && message.contains(part), "{message}");
        assert_eq!(instance.ask(&me, "good"), "200");
    };
    let file = instance.server.folder.path().join("agentry.toml");
    std::fs::remove_file(&file).unwrap();
    check("there is no such file");
    std::os::unix::fs::symlink("nowhere.toml", &file).unwrap();
    check("there is no such file");
    std::fs::remove_file(&file).unwrap();
    instance.configure("");
    check("the file says nothing any more");
    instance.configure("# later\n");
    check("the file says nothing any more");
    instance.configure(&good);
    assert_eq!(instance.reload().1["changed"], json!([]));
}

#[test]
fn whoever_has_it_read_again_too_early_ends_nothing() {
    let database = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address = database.local_addr().unwrap();
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[storage]\nurl = \"postgres://me@{address}/db\"\n"
    );
    write(&folder, "agentry.toml", &config);
    let mut command = agentry(folder.path());
    let starting = command.arg("serve").stdout(Stdio::null()).stderr(Stdio::piped());
    let starting = starting.spawn().unwrap();
    // It waits for its database.
    let (waiting, _) = database.accept().unwrap();
    kill(starting.id(), "HUP");
    drop((waiting, database));
    let ended = starting.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{:?}: {said}", ended.status);
}
