//! What the configuration says about calls holds in the real binary.

use std::io::Write as _;

use agentry_testkit::vendor::{Answer, Reply, Vendor};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{ANSWERS, Running, kill, post, wait_for};

const KEY: &str = "0123456789abcdef0123456789abcdef";

const BASE: &str = r#"
[server]
listen = "127.0.0.1:0"
[providers.script]
kind = "scripted"
script = "answers.toml"
[models.fast]
targets = ["script/tortoise"]
retries = 0
price = { input = 1.0, output = 2.0 }
"#;

fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{BASE}{config}");
    for (name, text) in
        [("agentry.toml", config.as_str()), ("answers.toml", ANSWERS), ("one.key", KEY)]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn start(config: &str) -> Running {
    Running::again(folder(config))
}

/// One key, with these limits.
fn with_key(limits: &str) -> String {
    format!(
        "[[keys]]\nname = \"one\"\nsecret = \"file:one.key\"\nscopes = [\"llm:chat\"]\n{limits}\n"
    )
}

/// Asks `model` to say hello, as the key.
fn ask(server: &Running, model: &str, text: &str, header: &str) -> String {
    let body = json!({
        "model": model, "max_tokens": 5, "messages": [{ "role": "user", "content": text }],
    });
    let request = post("/v1/chat/completions", body.to_string());
    let request = String::from_utf8(request).unwrap();
    let headers = format!("\r\nauthorization: Bearer {KEY}\r\n{header}");
    server.exchange(request.replacen("\r\n", &headers, 1).as_bytes())
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    headers.find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}

#[test]
fn a_key_is_held_to_its_requests_per_minute() {
    let server = start(&with_key("rpm = 2"));
    for left in ["1", "0"] {
        let answer = ask(&server, "fast", "hello", "");
        assert_eq!(status(&answer), "200", "{answer}");
        assert_eq!(header(&answer, "x-ratelimit-limit-requests"), "2");
        assert_eq!(header(&answer, "x-ratelimit-remaining-requests"), left);
    }
    let answer = ask(&server, "fast", "hello", "");
    assert_eq!(status(&answer), "429", "{answer}");
    assert!(answer.contains("requests_limited"), "{answer}");
    let seconds: u64 = header(&answer, "retry-after").parse().unwrap();
    assert!((1..=61).contains(&seconds), "{answer}");
}

#[test]
fn a_budget_is_never_exceeded_and_what_was_spent_survives_a_restart() {
    const CAP: f64 = 0.000_300;
    let folder = folder(&with_key("budget = { usd = 0.0003, per = \"total\" }"));
    let spend = |server: &Running| {
        let mut spent = 0.0;
        loop {
            let answer = ask(server, "fast", "hello", "");
            if status(&answer) != "200" {
                assert!(matches!(status(&answer), "402" | "429"), "{answer}");
                assert!(answer.contains("budget_exceeded"), "{answer}");
                return spent;
            }
            spent += header(&answer, "x-agentry-cost-usd").parse::<f64>().unwrap();
            assert!(spent <= CAP, "{spent}");
        }
    };
    let server = Running::again(folder);
    let spent = spend(&server);
    assert!(spent > 0.0, "the first call fits");
    // What was spent is on the disk when the server has stopped.
    kill(server.pid(), "TERM");
    let folder = server.end_and_keep();
    assert_eq!(spend(&Running::again(folder)), 0.0);
}

#[test]
fn a_budget_for_each_session_is_each_session_s_own() {
    let server = start(
        "[[keys]]\nname = \"one\"\nsecret = \"file:one.key\"\nscopes = [\"llm:chat\"]\n\
         [[budgets]]\nfor = \"session\"\nbudget = { usd = 0.0002, per = \"total\" }\n",
    );
    let until_refused = |session: &str| {
        let header = format!("x-agentry-session: {session}\r\n");
        (0..50).find(|_| status(&ask(&server, "fast", "hello", &header)) != "200")
    };
    let calls = until_refused("a").expect("a session that is refused at last");
    assert!(calls > 0);
    assert_eq!(until_refused("b"), Some(calls));
}

#[test]
fn an_answer_that_was_given_is_given_again() {
    let server = start(&format!("{}[cache]\nttl = \"1h\"\n", with_key("")));
    let mut bodies = Vec::new();
    for (extra, expected) in
        [("", "miss"), ("", "hit"), ("x-agentry-cache: off\r\n", "off"), ("", "hit")]
    {
        let answer = ask(&server, "fast", "hello", extra);
        assert_eq!(header(&answer, "x-agentry-cache"), expected, "{answer}");
        bodies.push(answer.split("\r\n\r\n").nth(1).unwrap().to_owned());
    }
    assert_eq!(bodies[0], bodies[1]);
    assert_ne!(bodies[0], bodies[2]);
    // Not configured, nothing is kept.
    let server = start(&with_key(""));
    for _ in 0..2 {
        assert_eq!(header(&ask(&server, "fast", "hello", ""), "x-agentry-cache"), "off");
    }
}

#[test]
fn a_fallback_answers_when_nobody_else_does() {
    let down = Vendor::start(vec![Reply::error(503)]);
    let server = start(&format!(
        "{}[providers.down]\nkind = \"openai\"\nbase_url = \"{}\"\n[breaker]\nfailures = 1\n\
         [models.frail]\ntargets = [{{ target = \"down/x\", weight = 3, price = {{ input = 1, output = 1 }} }}]\n\
         strategy = \"round_robin\"\nretries = 0\nfallbacks = [\"fast\"]\n",
        with_key(""),
        down.base_url(),
    ));
    for _ in 0..2 {
        let answer = ask(&server, "frail", "hello", "");
        assert_eq!(status(&answer), "200", "{answer}");
        assert_eq!(header(&answer, "x-agentry-target"), "script/tortoise");
    }
    // One failure is enough for it to be left alone.
    down.assert_called("x", 1);
}

#[test]
fn what_a_guard_redacts_never_reaches_the_vendor() {
    let vendor = Vendor::start(vec![Answer::chat(&["noted"]).whole()]);
    let server = start(&format!(
        "{}[providers.vendor]\nkind = \"openai\"\nbase_url = \"{}\"\n[models.vendor]\ntargets = [\"vendor/x\"]\n\
         [guards]\npii = \"redact\"\nsecrets = \"block\"\ndeny = [\"(?i)falcon\"]\n",
        with_key(""),
        vendor.base_url(),
    ));
    let answer = ask(&server, "vendor", "I am ann@example.org, and 4111 1111 1111 1111 pays", "");
    assert_eq!(status(&answer), "200", "{answer}");
    let heard = String::from_utf8(vendor.received()[0].body.clone()).unwrap();
    assert!(heard.contains("[EMAIL]"), "{heard}");
    assert!(!heard.contains("ann@") && !heard.contains("4111"), "{heard}");
    let answer = ask(&server, "vendor", "What is project FALCON?", "");
    assert_eq!(status(&answer), "400", "{answer}");
    assert_eq!(vendor.received().len(), 1);
}

/// Where a real server is, if there is one.
fn service(variable: &str) -> Option<String> {
    let url = std::env::var_os(variable).filter(|url| !url.is_empty());
    if url.is_none() {
        let skipped = format!("skipped: {variable} is not set; `cargo xtask test` sets it\n");
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
    }
    url.map(|url| url.into_string().unwrap())
}

/// Two instances with one Redis, where there is one.
#[test]
fn instances_share_what_they_keep() {
    let Some(url) = service("AGENTRY_TEST_REDIS_URL") else { return };
    let prefix = format!("it-{}", std::process::id());
    let config = format!(
        "{}[cache]\n[shared]\nurl = \"file:redis.url\"\nprefix = \"{prefix}\"\n",
        with_key("")
    );
    let instance = || {
        let folder = folder(&config);
        std::fs::write(folder.path().join("redis.url"), &url).unwrap();
        Running::again(folder)
    };
    let (one, other) = (instance(), instance());
    let id = |answer: &str| answer.split("\"id\":\"").nth(1)?.split('"').next().map(str::to_owned);
    let mut number = 0;
    // It is written in the background; before that the other instance asks for itself, so each time it is another text.
    wait_for("an answer that both have", || {
        number += 1;
        let text = format!("hello {number}");
        let one = id(&ask(&one, "fast", &text, ""))?;
        let other = ask(&other, "fast", &text, "");
        let is_hit = header(&other, "x-agentry-cache") == "hit";
        (is_hit && id(&other)? == one).then_some(())
    });
}

/// Money in PostgreSQL, where there is one; the runs stay here.
#[test]
fn money_can_be_kept_in_postgres() {
    let Some(url) = service("AGENTRY_TEST_POSTGRES_URL") else { return };
    let with = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{with}schema=it_gateway_{}", std::process::id());
    let config = format!(
        "{}[ledger]\nurl = \"file:postgres.url\"\n",
        with_key("budget = { usd = 0.0003, per = \"total\" }")
    );
    let instance = || {
        let folder = folder(&config);
        std::fs::write(folder.path().join("postgres.url"), &url).unwrap();
        Running::again(folder)
    };
    let spend = |server: &Running| {
        (0..50).take_while(|_| status(&ask(server, "fast", "hello", "")) == "200").count()
    };
    let one = instance();
    assert!(spend(&one) > 0);
    kill(one.pid(), "TERM");
    drop(one.end_and_keep());
    // Another instance, with nothing in common but the database.
    assert_eq!(spend(&instance()), 0);
}

#[test]
fn answers_from_the_cache_are_in_the_report_with_what_they_saved() {
    let server = start("[cache]\nexact = true\n");
    let ask = || {
        let body = json!({
            "model": "fast", "max_tokens": 5, "messages": [{ "role": "user", "content": "hello" }],
        });
        let answer = server.exchange(&post("/v1/chat/completions", body.to_string()));
        answer
            .lines()
            .find_map(|line| line.strip_prefix("x-agentry-cache: ").map(ToOwned::to_owned))
    };
    let found: Vec<_> = (0..4).map(|_| ask()).collect();
    assert_eq!(found, ["miss", "hit", "hit", "hit"].map(|found| Some(found.to_owned())));
    let usage = wait_for("the report", || {
        let (_, usage) = server.json(&crate::support::get("/v1/usage?by=model"));
        (usage["rows"][0]["calls"] == 4 && usage["totals"]["calls"] == 4).then_some(usage)
    });
    let row = &usage["rows"][0];
    // Ten tokens in and five out: twenty micro-dollars each time.
    assert_eq!(
        (&row["from_cache"], &row["cost_usd"], &row["saved_usd"]),
        (&json!(3), &json!(0.00002), &json!(0.00006)),
        "{usage}"
    );
}
