use std::net::Ipv4Addr;

use agentry_backends::memory::MemoryStore;
use agentry_core::keys::{Change, Key, Terms};
use agentry_core::{Failure as _, Retry};

use super::*;
use crate::{Kind, Secret};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

fn at(seconds: i32) -> Timestamp {
    Timestamp::from_seconds(1_000_000 + seconds)
}

fn key(number: u8, terms: Terms) -> Key {
    let secret = Secret::of([number; 32]);
    Key {
        id: format!("key_{number}"),
        digest: secret.digest(),
        hint: secret.hint(),
        tenant: "main".to_owned(),
        name: format!("n{number}"),
        team: None,
        user: None,
        terms,
        created: at(0),
        expires: None,
        revoked: None,
        replaced_by: None,
        used: None,
    }
}

async fn authenticator(keys: Vec<Key>, failures_per_minute: u32) -> Authenticator {
    let ring = KeyRing::open(Arc::new(MemoryStore::new()), keys).await.unwrap();
    Authenticator::new(Arc::new(ring), Vec::new(), Settings { failures_per_minute })
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

fn told(outcome: Result<Arc<Caller>, Denied>) -> String {
    match outcome {
        Ok(caller) => format!("welcome {}", caller.name),
        Err(Denied::Invalid { reason }) => reason.to_owned(),
        Err(denied) => denied.code().0.to_owned(),
    }
}

#[tokio::test]
async fn without_keys_only_this_machine_comes_in() {
    let open = Authenticator::open();
    let empty = authenticator(Vec::new(), 9).await;
    for door in [open, empty] {
        let caller = door.authenticate(&headers(&[]), HERE, at(0)).await.unwrap();
        assert_eq!((caller.kind, &*caller.tenant), (Kind::Anonymous, "main"));
        assert!(caller.needs_any(crate::Scope::Operator.alone()).is_ok());
        let mapped = "::ffff:127.0.0.1".parse().unwrap();
        assert!(door.authenticate(&headers(&[]), mapped, at(0)).await.is_ok());
        assert_eq!(told(door.authenticate(&headers(&[]), THERE, at(0)).await), "key_missing");
    }
}

#[tokio::test]
async fn a_credential_that_stands_twice_is_nobodys() {
    let good = Secret::of([1; 32]);
    let door = authenticator(vec![key(1, Terms::default())], 1_000).await;
    let check = async |name: &'static str, values: [String; 2]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        let told = told(door.authenticate(&headers, HERE, at(1)).await);
        assert_eq!(told, "its header stands twice: send one", "{name}");
    };
    let bearer = |secret: &str| format!("Bearer {secret}");
    check("authorization", [bearer(good.expose()), bearer("other")]).await;
    check("authorization", [bearer("other"), bearer(good.expose())]).await;
    for name in ["x-api-key", "api-key"] {
        check(name, [good.expose().to_owned(), good.expose().to_owned()]).await;
    }
}

#[tokio::test]
async fn a_key_is_found_wherever_clients_put_it() {
    let good = Secret::of([1; 32]);
    let good = good.expose();
    let mistyped = good.replace("live_", "live_x");
    let ended = Secret::of([2; 32]);
    let revoked = Secret::of([3; 32]);
    let bound = Secret::of([4; 32]);
    let terms = Terms { addresses: vec!["203.0.113.0/24".to_owned()], ..Terms::default() };
    let unreadable = Terms { addresses: vec!["of tomorrow".to_owned()], ..Terms::default() };
    let keys = vec![
        key(1, Terms::default()),
        Key { expires: Some(at(0)), ..key(2, Terms::default()) },
        Key { revoked: Some(at(0)), ..key(3, Terms::default()) },
        key(4, terms),
        key(5, unreadable),
    ];
    let door = authenticator(keys, 1_000).await;
    let strange = Secret::of([5; 32]);
    let bearer = |secret: &str| format!("Bearer {secret}");
    let cases: Vec<(Vec<(&'static str, String)>, &str)> = vec![
        (vec![("authorization", bearer(good))], "welcome n1"),
        (vec![("authorization", format!("bearer   {good} "))], "welcome n1"),
        (vec![("x-api-key", good.to_owned())], "welcome n1"),
        (vec![("api-key", good.to_owned())], "welcome n1"),
        (vec![("x-api-key", "other".into()), ("authorization", bearer(good))], "welcome n1"),
        (vec![("x-api-key", good.into()), ("authorization", bearer("other"))], "nobody has it"),
        (vec![], "key_missing"),
        (vec![("authorization", "Bearer ".into())], "key_missing"),
        (vec![("authorization", "Bearer".into())], "not `Bearer KEY`"),
        (vec![("x-api-key", String::new())], "key_missing"),
        (vec![("authorization", format!("Basic {good}"))], "not `Bearer KEY`"),
        (vec![("authorization", good.to_owned())], "not `Bearer KEY`"),
        (vec![("cookie", good.to_owned())], "key_missing"),
        (vec![("x-api-key", mistyped)], "cut or mistyped"),
        (vec![("x-api-key", good[..40].to_owned())], "cut or mistyped"),
        (vec![("x-api-key", good.to_lowercase())], "cut or mistyped"),
        (vec![("x-api-key", "sk-1".into())], "nobody has it"),
        (vec![("x-api-key", "x".repeat(20_000))], "longer than any key"),
        (vec![("x-api-key", "a.b.c".into())], "nobody has it"),
        (vec![("x-api-key", Secret::of([9; 32]).expose().into())], "nobody has it"),
        (vec![("x-api-key", ended.expose().into())], "key_expired"),
        (vec![("x-api-key", revoked.expose().into())], "key_revoked"),
        (vec![("x-api-key", bound.expose().into())], "address_forbidden"),
        (vec![("x-api-key", strange.expose().into())], "address_forbidden"),
    ];
    for (pairs, expected) in cases {
        let pairs: Vec<(&'static str, &str)> =
            pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let told = told(door.authenticate(&headers(&pairs), HERE, at(1)).await);
        assert!(told.contains(expected), "{pairs:?}: expected {expected}, got {told}");
    }
    let from_there =
        door.authenticate(&headers(&[("api-key", bound.expose())]), THERE, at(1)).await;
    assert_eq!(told(from_there), "welcome n4");
    assert_eq!(format!("{door:?}"), "Authenticator { open: false, .. }");
}

#[tokio::test]
async fn guessing_is_slowed_down_and_good_keys_are_not() {
    let good = Secret::of([1; 32]);
    let door = authenticator(vec![key(1, Terms::default())], 3).await;
    let guess = async |peer, seconds| {
        told(door.authenticate(&headers(&[("api-key", "guess")]), peer, at(seconds)).await)
    };
    for _ in 0..3 {
        assert_eq!(guess(THERE, 0).await, "nobody has it");
    }
    assert_eq!(guess(THERE, 10).await, "key_attempts_exceeded");
    let denied = door.authenticate(&headers(&[("api-key", "guess")]), THERE, at(20)).await;
    assert_eq!(denied.unwrap_err().retry(), Retry::After(std::time::Duration::from_secs(40)));
    assert_eq!(guess(HERE, 10).await, "nobody has it", "others are not held to account");
    let known = door.authenticate(&headers(&[("api-key", good.expose())]), THERE, at(10)).await;
    assert_eq!(told(known), "welcome n1");
    assert_eq!(guess(THERE, 60).await, "nobody has it");
    let nothing = door.authenticate(&headers(&[]), THERE, at(60)).await;
    assert_eq!(told(nothing), "key_missing", "which is no guess");
}

#[tokio::test]
async fn the_first_key_closes_the_door_for_good() {
    let ring = KeyRing::open(Arc::new(MemoryStore::new()), Vec::new()).await.unwrap();
    let ring = Arc::new(ring);
    let door = Authenticator::new(Arc::clone(&ring), Vec::new(), Settings::default());
    assert!(door.is_open());
    let only = key(1, Terms::default());
    ring.change(Change::Create { key: Box::new(only) }, vec![]).await.unwrap();
    assert_eq!(told(door.authenticate(&headers(&[]), HERE, at(0)).await), "key_missing");
    let revoke = Change::Revoke { tenant: "main".into(), id: "key_1".into(), at: at(1) };
    ring.change(revoke, vec![]).await.unwrap();
    assert_eq!(told(door.authenticate(&headers(&[]), HERE, at(2)).await), "key_missing");
}

#[test]
fn a_caller_names_only_the_models_of_its_list() {
    let caller = |models: &[&str]| {
        let models = models.iter().map(|model| (*model).to_owned()).collect();
        Caller::of(&key(1, Terms { models, ..Terms::default() }), None)
    };
    for (models, model, allowed) in [
        (&[] as &[&str], "any", true),
        (&["fast"], "fast", true),
        (&["fast"], "faster", false),
        (&["fast"], "Fast", false),
        (&["gpt-*", "fast"], "gpt-5", true),
        (&["gpt-*"], "gp", false),
        (&["*"], "any", true),
    ] {
        assert_eq!(caller(models).may_use(model).is_ok(), allowed, "{models:?} {model}");
    }
}

#[test]
fn no_header_is_taken_for_a_key_by_accident() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let door = runtime.block_on(authenticator(vec![key(1, Terms::default())], 9));
    let visible = prop_oneof![32_u8..=126, 128_u8..=255];
    let any = (0_usize..3, prop::collection::vec(visible, 0..200), any::<bool>());
    let mut runner = TestRunner::new(Config::with_cases(10_000));
    let ran = runner.run(&any, |(which, mut value, bearer)| {
        if bearer {
            value.splice(0..0, *b"Bearer ");
        }
        let name = [AUTHORIZATION, X_API_KEY, API_KEY][which].clone();
        let value = HeaderValue::from_bytes(&value).unwrap();
        let headers = HeaderMap::from_iter([(name, value)]);
        let outcome = runtime.block_on(door.authenticate(&headers, HERE, at(0)));
        let refused = matches!(
            outcome,
            Err(Denied::Missing | Denied::Invalid { .. } | Denied::TooMany { .. })
        );
        prop_assert!(refused, "{outcome:?}");
        Ok(())
    });
    ran.unwrap();
}
