use std::collections::BTreeMap;

use super::*;

fn settings() -> Settings {
    Settings { pii: Action::Redact, secrets: Action::Block, ..Settings::default() }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let wrong = Settings {
        types: BTreeMap::from([
            ("emial".to_owned(), Action::Redact),
            ("ip".to_owned(), Action::Hash),
        ]),
        deny: vec!["fine".to_owned(), "a(".to_owned()],
        injection: Action::Redact,
        ..Settings::default()
    };
    let problems = Policy::new(&wrong).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["types.emial", "injection", "deny[1]", "hash_key"]);
    assert!(problems[0].message.contains("there are credit_card, iban"), "{}", problems[0]);
}

#[test]
fn a_policy_is_idle_only_when_nothing_is_asked_for() {
    let is_idle = |settings: Settings| Policy::new(&settings).unwrap().is_idle();
    assert!(is_idle(Settings::default()));
    let off = BTreeMap::from([("email".to_owned(), Action::Off)]);
    assert!(is_idle(Settings { types: off, ..Settings::default() }));
    assert!(!is_idle(Settings { pii: Action::Report, ..Settings::default() }));
    assert!(!is_idle(Settings { bytes_max: Some(10), ..Settings::default() }));
    assert!(!is_idle(Settings { injection: Action::Report, ..Settings::default() }));
}

#[test]
fn the_fingerprint_differs_when_the_policy_does() {
    let fingerprint = |settings: &Settings| Policy::new(settings).unwrap().fingerprint;
    let base = fingerprint(&settings());
    assert_eq!(base, fingerprint(&settings()));
    let others = [
        Settings { pii: Action::Block, ..settings() },
        Settings { deny: vec!["x".to_owned()], ..settings() },
        Settings { deny: vec!["y".to_owned()], ..settings() },
        Settings { messages_max: Some(3), ..settings() },
        Settings { bytes_max: Some(3), ..settings() },
        Settings { hash_key: Some("k".into()), ..settings() },
        Settings { types: BTreeMap::from([("url".to_owned(), Action::Redact)]), ..settings() },
    ];
    let mut seen = vec![base];
    for other in &others {
        let next = fingerprint(other);
        assert!(!seen.contains(&next), "{other:?}");
        seen.push(next);
    }
}

#[test]
fn a_digest_depends_on_key_kind_and_value_and_not_on_case() {
    let with = |key: &str| {
        let settings =
            Settings { pii: Action::Hash, hash_key: Some(key.into()), ..Settings::default() };
        Policy::new(&settings).unwrap()
    };
    let replaced = |policy: &Policy, kind: Kind, text: &str| {
        let mut out = String::new();
        policy.replace(kind, text, &mut out);
        out
    };
    let one = with("one");
    let ann = replaced(&one, Kind::Email, "ann@b.io");
    assert_eq!(ann.len(), "[EMAIL:12345678]".len());
    assert_eq!(ann, replaced(&one, Kind::Email, "Ann@B.io"));
    assert_ne!(ann, replaced(&one, Kind::Email, "bob@b.io"));
    assert_ne!(ann, replaced(&with("two"), Kind::Email, "ann@b.io"));
    assert_ne!(ann[6..], replaced(&one, Kind::Phone, "ann@b.io")[6..]);
}
