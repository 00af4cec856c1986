use agentry_core::MicroUsd;
use agentry_core::keys::Priority;
use agentry_core::ledger::Per;

use super::{Config, check_with, environment};
use crate::config::{FILE, JwksAt, Sources, resolve};

const SECRETS: &[(&str, &str)] = &[
    ("A", "0123456789abcdef0123456789abcdef"),
    ("B", "fedcba9876543210fedcba9876543210"),
    ("SHORT", "hunter2"),
    ("CUT", "agentry_live_0000"),
];

fn check(text: &str, expected: &[&str]) {
    check_with(text, SECRETS, expected);
}

#[test]
fn a_wrong_key_is_told_what_is_wrong() {
    let key = |rest: &str| {
        format!("[[keys]]\nname = \"ci\"\nsecret = \"env:A\"\nscopes = [\"llm:chat\"]\n{rest}")
    };
    check("[keys]\nname = \"ci\"", &["`keys` must be a list of tables, each under [[keys]]"]);
    check("keys = [7]", &["`keys[0]` must be a table, not a number"]);
    check("[[keys]]\n", &["`keys[0]` needs `name`", "`keys[0]` needs `secret`", "env:CI_KEY"]);
    check("[[keys]]\nname = \"ci\"\nsecret = \"env:A\"", &["`scopes` of `ci` is empty"]);
    check("[[keys]]\nname = \"ci\"\nsecret = \"hunter2\"", &["holds a secret", "secret = \"...\""]);
    check(
        "[[keys]]\nname = \"ci\"\nsecret = \"env:SHORT\"\nscopes = [\"*\"]",
        &["shorter than 24", "openssl"],
    );
    check("[[keys]]\nname = \"ci\"\nsecret = \"env:CUT\"\nscopes = [\"*\"]", &["cut or mistyped"]);
    check(
        "[[keys]]\nname = \"a b\"\nsecret = \"env:A\"\nscopes = [\"*\"]",
        &["`name` of `a b` must be"],
    );
    check(&key("scope = \"*\""), &["unknown key `scope` in `keys[0]`", "did you mean `scopes`?"]);
    check(&key("rpm = 0"), &["`keys[0].rpm` must be at least 1"]);
    check(&key("tenant = \"a/b\""), &["`tenant` of `ci` must be"]);
    check(&key("addresses = [\"10.0.0.1/8\"]"), &["`10.0.0.1/8` is no network"]);
    check(&key("budget = 5"), &["`keys[0].budget` must be a table", "per = \"day\""]);
    check(
        &key("budget = { usd = 5, per = \"week\" }"),
        &["`budget` of `ci`", "`week` is not a period"],
    );
    check(&key("budget = { usd = 5, each = \"day\" }"), &["unknown key `each`"]);
    check(&key("priority = \"urgent\""), &["no priority: \"urgent\""]);
    check(&key("expires = \"soon\""), &["`keys[0].expires` is no time"]);
    check(&key("metadata = { a = 1 }"), &["must be a string, not a number"]);
    check(&format!("{}{}", key(""), key("")), &["there are two keys `ci` of the tenant `main`"]);
    let other = key("").replace("\"ci\"", "\"other\"");
    check(&format!("{}{other}", key("")), &["the keys `ci` and `other` have the same secret"]);
}

#[test]
fn a_wrong_issuer_is_told_what_is_wrong() {
    let with = |rest: &str| {
        format!(
            "[auth.jwt.corp]\nissuer = \"https://a\"\naudience = \"b\"\nscopes = [\"llm:chat\"]\n{rest}"
        )
    };
    check(
        "[auth.jwt.corp]\n",
        &["needs `issuer`", "needs `audience`", "needs `keys`", "`scopes` of `corp` is empty"],
    );
    check(&with("keys = \"http://login.example.com/\""), &["must begin with https://"]);
    check(&with("keys = \"login\""), &["is not a URL"]);
    let keys = "keys = \"file:jwks.json\"\n";
    check(
        &with(&format!("{keys}algorithms = [\"HS256\"]")),
        &["`HS256` is no algorithm that is accepted"],
    );
    check(&with(&format!("{keys}algorithms = [\"none\"]")), &["`none` is no algorithm"]);
    check(&with(&format!("{keys}leeway = \"61s\"")), &["must be at most 60s"]);
    check(
        &with(&format!("{keys}tenant = \"a\"\ntenant_claim = \"b\"")),
        &["has both `tenant` and `tenant_claim`"],
    );
    check("[auth]\nmetrics_open = \"yes\"", &["must be true or false, not a string"]);
    check("[auth]\nfailures_per_minute = 0", &["must be at least 1"]);
    check(
        "[server]\norigins = [\"https://app.example.com/\"]",
        &["which is no origin", "\"https://app.example.com\""],
    );
    check("[server]\norigins = [\"*\"]", &["is not a URL"]);
}

/// The example that the documentation shows.
fn documented() -> Config {
    let page = include_str!("../../../../../docs/keys.md");
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("alice.key"), SECRETS[1].1).unwrap();
    let environment = environment(&[("CI_KEY", SECRETS[0].1), ("PSEUDONYM_KEY", "a secret")]);
    resolve(Sources {
        path: Some(folder.path().join(FILE)),
        name: FILE.to_owned(),
        text: Some(example),
        folder: folder.path(),
        environment: &environment,
    })
    .unwrap()
}

#[test]
fn the_example_in_the_documentation_means_what_it_says() {
    let config = documented();
    let access = &config.access;
    let [ci, alice] = access.keys.as_slice() else { panic!("{:?}", access.keys) };
    assert_eq!((ci.id.as_str(), ci.tenant.as_str()), ("config:main/ci", "main"));
    assert_eq!(
        (ci.terms.rpm, ci.terms.tpm, ci.terms.concurrency),
        (Some(600), Some(200_000), Some(50))
    );
    assert_eq!((ci.terms.budgets[0].cap, ci.terms.budgets[0].per), (MicroUsd(5_000_000), Per::Day));
    assert_eq!((alice.team.as_deref(), alice.terms.priority), (Some("search"), Priority::High));
    assert_eq!(alice.terms.budgets[1].per, Per::Month);
    assert_eq!(alice.terms.metadata["cost_center"], "4711");
    assert!(alice.expires.is_some() && alice.hint == "3210");
    let [corp] = access.issuers.as_slice() else { panic!("{:?}", access.issuers) };
    assert_eq!((corp.policy.name.as_str(), corp.policy.audiences.len()), ("corp", 1));
    assert_eq!(corp.policy.claimed.scopes.as_deref(), Some("scope"));
    assert!(matches!(&corp.keys, JwksAt::Url(url) if url.scheme() == "https"));
    assert!(access.pseudonyms.is_some());
    assert!(!config.server.settings.metrics_open);
    assert!(!format!("{access:?}").contains(SECRETS[0].1));
}

#[test]
fn metrics_are_open_where_only_this_machine_can_read_them() {
    for (text, open) in [
        ("", true),
        ("[server]\nlisten = \"0.0.0.0:80\"", false),
        ("[server]\nlisten = \"0.0.0.0:80\"\n[auth]\nmetrics_open = true", true),
        ("[auth]\nmetrics_open = false", false),
    ] {
        let config = super::read(text, &[]).unwrap();
        assert_eq!(config.server.settings.metrics_open, open, "{text}");
    }
}
