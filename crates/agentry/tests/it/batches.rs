//! Batches: what is wrong with them is told at once, what is accepted is answered, each request once.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use agentry_testkit::vendor::{Answer, Reply, Vendor, Writes};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::keys::{self, by};
use crate::support::{CONFIG, Running, finish, get, post, post_as, read_json, wait_for};

const ANN: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const BOB: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// Ann and Bob are of different tenants; Bob may make one call at a time.
fn folder(vendor: &Vendor, concurrency: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let url = vendor.base_url();
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[storage]\nurl = \"sqlite:a.db\"\n[batches]\nconcurrency = {concurrency}\n\
         [[keys]]\nname = \"ann\"\ntenant = \"red\"\nsecret = \"file:ann.key\"\nscopes = [\"llm:chat\"]\nmodels = [\"ok\", \"bad\"]\n\
         [[keys]]\nname = \"bob\"\ntenant = \"blue\"\nsecret = \"file:bob.key\"\nscopes = [\"llm:chat\"]\nconcurrency = 1\n\
         [providers.v]\nkind = \"openai\"\nbase_url = \"{url}\"\n[breaker]\nfailures = 100000\n\
         [models.ok]\nretries = 0\ntimeout = \"2s\"\ntargets = [\"v/ok\"]\n\
         [models.bad]\nretries = 0\ntargets = [\"v/bad\"]\n[models.hidden]\ntargets = [\"v/hidden\"]\n"
    );
    for (name, text) in [("agentry.toml", config.as_str()), ("ann.key", ANN), ("bob.key", BOB)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn vendor(pace: Duration) -> Vendor {
    let vendor = Vendor::start(vec![Answer::chat(&["yes"]).whole().written(Writes::Paced(pace))]);
    vendor.script("bad", vec![Reply::error(400).saying("no")]);
    vendor
}

fn line(id: &str, model: &str) -> Value {
    let messages = json!([{ "role": "user", "content": format!("this is {id}") }]);
    json!({
        "custom_id": id, "method": "POST", "url": "/v1/chat/completions",
        "body": { "model": model, "messages": messages },
    })
}

fn lines(ids: impl Iterator<Item = String>) -> String {
    ids.map(|id| format!("{}\n", line(&id, "ok"))).collect()
}

fn make(server: &Running, key: &str, body: &str) -> (u16, Value) {
    server.json(&by(key, &post_as("application/jsonl", "/v1/batches", body)))
}

fn made(server: &Running, key: &str, body: &str) -> String {
    let (status, batch) = make(server, key, body);
    assert_eq!((status, &batch["status"]), (200, &json!("in_progress")), "{batch}");
    batch["id"].as_str().unwrap().to_owned()
}

fn show(server: &Running, key: &str, id: &str) -> Value {
    server.json(&by(key, &get(&format!("/v1/batches/{id}")))).1
}

fn until_over(server: &Running, key: &str, id: &str) -> Value {
    wait_for("the end of the batch", || {
        let batch = show(server, key, id);
        (batch["status"] != "in_progress" && batch["status"] != "cancelling").then_some(batch)
    })
}

/// By `custom_id`; each is there once.
fn results(server: &Running, key: &str, id: &str) -> BTreeMap<String, Value> {
    let answer = server.exchange(&by(key, &get(&format!("/v1/batches/{id}/results"))));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/jsonl"), "{head}");
    let mut results = BTreeMap::new();
    for line in body.lines().filter(|line| line.starts_with('{')) {
        let line: Value = serde_json::from_str(line).unwrap();
        let before = results.insert(line["custom_id"].as_str().unwrap().to_owned(), line);
        assert_eq!(before, None, "two results");
    }
    results
}

#[test]
fn a_batch_is_answered_request_by_request() {
    let vendor = vendor(Duration::ZERO);
    let server = Running::again(folder(&vendor, 8));
    let body = json!({
        "requests": [line("good", "ok"), line("wrong", "bad")],
        "completion_window": "24h", "metadata": { "job": "nightly" },
    });
    let (status, batch) = server.json(&by(ANN, &post("/v1/batches", body.to_string())));
    assert_eq!((status, &batch["object"]), (200, &json!("batch")), "{batch}");
    let id = batch["id"].as_str().unwrap();
    let over = until_over(&server, ANN, id);
    assert_eq!(over["status"], "completed");
    assert_eq!(over["request_counts"], json!({ "total": 2, "completed": 1, "failed": 1 }));
    assert_eq!(over["metadata"], json!({ "job": "nightly" }));
    let results = results(&server, ANN, id);
    let good = &results["good"]["response"];
    assert_eq!(good["status_code"], 200);
    assert_eq!(good["body"]["choices"][0]["message"]["content"], "yes");
    let wrong = &results["wrong"]["response"];
    assert_eq!(wrong["status_code"], 400);
    assert!(wrong["body"]["error"]["message"].as_str().unwrap().contains("no"), "{wrong}");
    let list = server.json(&by(ANN, &get("/v1/batches?limit=1"))).1;
    assert_eq!((&list["data"][0]["id"], &list["has_more"]), (&json!(id), &json!(false)));
    vendor.assert_called("ok", 1);
    vendor.assert_called("bad", 1);
}

#[test]
fn all_that_is_wrong_with_a_batch_is_told_at_once_and_nothing_is_stored() {
    let vendor = vendor(Duration::ZERO);
    let server = Running::again(folder(&vendor, 8));
    let check = |body: &str, expected: &[&str]| {
        let (status, answer) = make(&server, ANN, body);
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("batch_invalid")), "{answer}");
        let said = answer["error"]["message"].as_str().unwrap();
        for part in expected {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
    };
    let mut wrong =
        vec![line("a", "ok"), line("a", "ok"), line("b", "hidden"), line("c", "nobody")];
    wrong.push(json!({ "custom_id": "d" }));
    for (field, value) in
        [("url", json!("/v1/chat")), ("method", json!("GET")), ("custom_id", json!(""))]
    {
        let mut line = line("e", "ok");
        line[field] = value;
        wrong.push(line);
    }
    let mut streamed = line("f", "ok");
    streamed["body"]["stream"] = true.into();
    let mut empty = line("g", "ok");
    empty["body"]["messages"] = Value::Null;
    wrong.extend([streamed, empty]);
    let mut body: String = wrong.iter().map(|line| format!("{line}\n")).collect();
    body.push_str("\n{not json\n");
    check(
        &body,
        &[
            "line 2: another request has the `custom_id` \"a\"",
            "line 3: this key may not use the model `hidden`",
            "line 4: this key may not use the model `nobody`",
            "line 5: missing field `method`",
            "line 6: `/v1/chat` is not for batches",
            "line 7: `method` must be `POST`",
            "line 8: `custom_id`",
            "line 9: nobody reads along",
            "line 12: key must be a string",
        ],
    );
    let many: String = (0..25).map(|number| format!("{{\"custom_id\":{number}}}\n")).collect();
    check(&many, &["line 20: ", "; and 5 more"]);
    check("\n \n", &["no requests"]);
    for body in
        [json!({}), json!({ "requests": [], "input_file_id": "f" }), json!({ "requests": [1] })]
    {
        let (status, _) = server.json(&by(ANN, &post("/v1/batches", body.to_string())));
        assert_eq!(status, 400, "{body}");
    }
    let list = server.json(&by(ANN, &get("/v1/batches"))).1;
    assert_eq!(list["data"], json!([]));
    assert_eq!(vendor.received().len(), 0);
}

#[test]
fn tenants_take_turns_and_see_nothing_of_each_other() {
    let vendor = vendor(Duration::from_millis(20));
    let server = Running::again(folder(&vendor, 1));
    let large = made(&server, ANN, &lines((0..60).map(|number| format!("ann-{number}"))));
    let small = made(&server, BOB, &lines((0..5).map(|number| format!("bob-{number}"))));
    assert_eq!(show(&server, ANN, &small)["error"]["code"], "batch_not_found");
    let path = format!("/v1/batches/{large}");
    for request in [get(&format!("{path}/results")), post(&format!("{path}/cancel"), "{}")] {
        assert_eq!(server.json(&by(BOB, &request)).0, 404);
    }
    assert_eq!(until_over(&server, BOB, &small)["status"], "completed");
    let asked = vendor.received();
    let of = |name: &str| {
        let is_of = |body: &[u8]| String::from_utf8_lossy(body).contains(name);
        asked
            .iter()
            .enumerate()
            .filter(|(_, one)| is_of(&one.body))
            .map(|(at, _)| at)
            .collect::<Vec<_>>()
    };
    let bob = of("bob-");
    let between = of("ann-").into_iter().filter(|at| *at > bob[0] && *at < bob[4]).count();
    assert_eq!((bob.len(), between), (5, 4), "turn by turn");
    assert_eq!(server.json(&by(ANN, &post(&format!("{path}/cancel"), "{}"))).0, 200);
    let over = until_over(&server, ANN, &large);
    assert_eq!(over["status"], "cancelled");
    let results = results(&server, ANN, &large);
    assert_eq!(results.len(), 60, "each has a result");
    let made = results.values().filter(|line| line["error"].is_null()).count();
    assert_eq!(over["request_counts"]["completed"], made);
    assert_eq!(of("ann-").len(), made.min(of("ann-").len()));
    let dropped = results.values().find(|line| line["response"].is_null()).unwrap();
    assert_eq!(dropped["error"]["code"], "batch_cancelled");
}

#[test]
fn a_batch_goes_on_after_kill_9_and_asks_nothing_twice_but_what_was_in_flight() {
    const ITEMS: usize = 120;
    const CONCURRENCY: usize = 4;
    const KILLS: usize = 3;
    let vendor = vendor(Duration::from_millis(10));
    let mut server = Running::again(folder(&vendor, CONCURRENCY));
    let id = made(&server, ANN, &lines((0..ITEMS).map(|number| format!("item-{number}-"))));
    for kill in 1..=KILLS {
        wait_for("some answers", || (vendor.received().len() >= kill * 25).then_some(()));
        server = Running::again(server.kill_hard());
    }
    let over = until_over(&server, ANN, &id);
    assert_eq!(over["status"], "completed", "{over}");
    assert_eq!(over["request_counts"], json!({ "total": ITEMS, "completed": ITEMS, "failed": 0 }));
    assert_eq!(results(&server, ANN, &id).len(), ITEMS);
    let mut asked = BTreeMap::<String, usize>::new();
    for received in vendor.received() {
        let body = received.json();
        let text = body["messages"][0]["content"].as_str().unwrap().to_owned();
        *asked.entry(text).or_default() += 1;
    }
    let twice: usize = asked.values().map(|times| times - 1).sum();
    assert_eq!(asked.len(), ITEMS);
    assert!(twice <= KILLS * CONCURRENCY, "{twice} were asked again");
}

#[test]
fn the_official_client_sends_a_file_and_fetches_the_answers() {
    let Some(python) = std::env::var_os("AGENTRY_TEST_PYTHON") else {
        return skip();
    };
    let server = Running::with(CONFIG);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/openai_batches.py");
    let mut client = Command::new(python);
    client.arg(script).arg(format!("http://{}/v1", server.address));
    let output = finish(client);
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert_eq!(said.lines().last(), Some("all 7 steps passed"), "{said}\n{errors}");
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests should know what was not run")]
fn skip() {
    eprintln!(
        "skipped: it needs AGENTRY_TEST_PYTHON with the `openai` package, or AGENTRY_TEST_POSTGRES_URL"
    );
}

#[test]
fn a_file_is_sent_as_a_form_and_its_answers_are_fetched_as_files() {
    let vendor = vendor(Duration::ZERO);
    let server = Running::again(folder(&vendor, 8));
    let content = format!("{}\n{}\n", line("good", "ok"), line("wrong", "bad"));
    let form = |purpose: &str| {
        let body = format!(
            "--XX\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n--XX\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n{content}\r\n--XX--\r\n"
        );
        by(ANN, &post_as("multipart/form-data; boundary=XX", "/v1/files", body))
    };
    let (status, refused) = server.json(&form("fine-tune"));
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("purpose")));
    let (status, file) = server.json(&form("batch"));
    assert_eq!(
        (status, &file["bytes"], &file["filename"]),
        (200, &json!(content.len()), &json!("in.jsonl"))
    );
    let input = file["id"].as_str().unwrap();
    let wish = json!({ "input_file_id": input, "endpoint": "/v1/chat/completions", "completion_window": "24h" });
    assert_eq!(
        server.json(&by(BOB, &post("/v1/batches", wish.to_string()))).0,
        404,
        "another tenant's"
    );
    let (_, batch) = server.json(&by(ANN, &post("/v1/batches", wish.to_string())));
    let over = until_over(&server, ANN, batch["id"].as_str().unwrap());
    assert_eq!(over["input_file_id"], *input);
    for (field, custom_id) in [("output_file_id", "good"), ("error_file_id", "wrong")] {
        let id = over[field].as_str().unwrap();
        let answer = server.exchange(&by(ANN, &get(&format!("/v1/files/{id}/content"))));
        let line = answer.lines().find(|line| line.starts_with('{')).unwrap();
        assert_eq!(
            read_json(&format!("HTTP/1.1 200 OK\r\n\r\n{line}")).unwrap().1["custom_id"],
            custom_id
        );
        assert_eq!(server.json(&by(BOB, &get(&format!("/v1/files/{id}/content")))).0, 404);
        assert_eq!(
            server.json(&by(ANN, &get(&format!("/v1/files/{id}")))).1["purpose"],
            "batch_output"
        );
    }
}

#[test]
fn who_meets_a_limit_waits_and_no_request_fails() {
    let vendor = vendor(Duration::from_millis(20));
    let server = Running::again(folder(&vendor, 8));
    let id = made(&server, BOB, &lines((0..6).map(|number| format!("bob-{number}"))));
    let over = until_over(&server, BOB, &id);
    assert_eq!(over["request_counts"], json!({ "total": 6, "completed": 6, "failed": 0 }));
    vendor.assert_called("ok", 6);
}

#[test]
fn the_requests_of_a_revoked_key_are_made_no_more() {
    let vendor = vendor(Duration::from_millis(50));
    let folder = folder(&vendor, 1);
    let scopes = ["--scope", "admin", "--scope", "operator", "--scope", "llm:chat"];
    let me = keys::keys(folder.path(), &[&["create", "--name", "me"][..], &scopes].concat());
    let ci = keys::keys(folder.path(), &["create", "--name", "ci", "--scope", "llm:chat"]);
    let (me, secret) = (keys::text(&me, "secret"), keys::text(&ci, "secret"));
    let server = Running::again(folder);
    let id = made(&server, &secret, &lines((0..30).map(|number| format!("ci-{number}"))));
    wait_for("an answer", || (!vendor.received().is_empty()).then_some(()));
    let path = format!("/v1/keys/{}", keys::text(&ci, "id"));
    assert_eq!(server.json(&by(&me, &keys::delete(&path))).0, 200);
    let over = until_over(&server, &me, &id);
    assert_eq!(over["status"], "completed");
    let results = results(&server, &me, &id);
    let refused = |line: &&Value| line["response"]["body"]["error"]["code"] == "key_revoked";
    let refused = results.values().filter(refused).count();
    assert!(refused > 0, "{over}");
    assert_eq!(over["request_counts"]["failed"], refused);
    vendor.assert_called("ok", 30 - refused);
}

/// Two instances with one database: what one has answered, the other replays, and both answer batches.
#[test]
fn instances_share_answers_and_batches_over_postgresql() {
    let url = std::env::var_os("AGENTRY_TEST_POSTGRES_URL").filter(|url| !url.is_empty());
    let Some(url) = url else { return skip() };
    let url = format!("{}?schema=batches{}", url.into_string().unwrap(), std::process::id());
    let vendor = vendor(Duration::from_millis(10));
    let instance = || {
        let folder = folder(&vendor, 2);
        std::fs::write(folder.path().join("ledger.url"), &url).unwrap();
        let path = folder.path().join("agentry.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{config}[ledger]\nurl = \"file:ledger.url\"\n")).unwrap();
        Running::again(folder)
    };
    let (here, there) = (instance(), instance());
    let call = post("/v1/chat/completions", line("one", "ok")["body"].to_string());
    let call = keys::with("idempotency-key: one", &by(ANN, &call));
    let (first, again) = (here.exchange(&call), there.exchange(&call));
    let body = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(&first), body(&again));
    assert!(again.contains("x-agentry-replayed: true"), "{again}");
    vendor.assert_called("ok", 1);
    let id = made(&here, ANN, &lines((0..60).map(|number| format!("item-{number}-"))));
    wait_for("some answers", || (vendor.received().len() > 15).then_some(()));
    // Its name is in its folder: what it held goes on as soon as it is back.
    let here = Running::again(here.kill_hard());
    let over = until_over(&there, ANN, &id);
    assert_eq!(over["request_counts"], json!({ "total": 60, "completed": 60, "failed": 0 }));
    assert_eq!(results(&here, ANN, &id), results(&there, ANN, &id));
    let asked = vendor.received().len() - 1;
    assert!((60..=62).contains(&asked), "{asked}");
}
