use std::sync::Arc;

use agentry_backends::memory::MemoryStore;
use agentry_core::store::Log as _;

use super::*;

fn at(seconds: i32) -> Timestamp {
    Timestamp::from_seconds(1_000_000 + seconds)
}

fn actor(tenant: &str, everywhere: bool) -> Actor {
    Actor { name: format!("key:{tenant}"), tenant: tenant.to_owned(), everywhere }
}

fn wish(name: &str) -> Wish {
    Wish { name: name.to_owned(), scopes: vec!["llm:chat".to_owned()], ..Wish::default() }
}

struct World {
    store: Arc<MemoryStore>,
    ring: KeyRing,
}

async fn world() -> World {
    let store = Arc::new(MemoryStore::new());
    let configured = Key {
        id: format!("{CONFIGURED}a/fixed"),
        digest: [1; 32],
        hint: "wxyz".to_owned(),
        tenant: "a".to_owned(),
        name: "fixed".to_owned(),
        team: None,
        user: None,
        terms: Terms::default(),
        created: at(0),
        expires: None,
        revoked: None,
        replaced_by: None,
        used: None,
    };
    let ring = KeyRing::open(Arc::clone(&store) as _, vec![configured]).await.unwrap();
    World { store, ring }
}

fn names(keys: &[Key]) -> Vec<String> {
    keys.iter().map(|key| format!("{}/{}", key.tenant, key.name)).collect()
}

#[tokio::test]
async fn a_tenant_sees_and_touches_nothing_of_another() {
    let World { ring, .. } = world().await;
    let (a, b, operator) = (actor("a", false), actor("b", false), actor("b", true));
    let theirs = create(&ring, &a, &wish("ci"), at(1)).await.unwrap().key;
    let ours = create(&ring, &b, &wish("ci"), at(1)).await.unwrap().key;
    assert_eq!((theirs.tenant.as_str(), ours.tenant.as_str()), ("a", "b"));
    assert_eq!(names(&list(&ring, &b)), ["b/ci"]);
    assert_eq!(names(&list(&ring, &a)), ["a/fixed", "a/ci"]);
    assert_eq!(names(&list(&ring, &operator)), ["a/fixed", "a/ci", "b/ci"]);

    let unknown = Error::NotFound(theirs.id.clone());
    assert_eq!(revoke(&ring, &b, &theirs.id, at(2)).await.unwrap_err(), unknown);
    let rotated = rotate(&ring, &b, (&theirs.id, Duration::ZERO), at(2)).await;
    assert_eq!(rotated.unwrap_err(), unknown);
    let elsewhere = Wish { tenant: Some("a".to_owned()), ..wish("spy") };
    assert_eq!(create(&ring, &b, &elsewhere, at(2)).await.unwrap_err(), Error::NotYours);
    let above = Wish { scopes: vec!["operator".to_owned()], ..wish("above") };
    assert_eq!(create(&ring, &b, &above, at(2)).await.unwrap_err(), Error::NotYours);
    create(&ring, &operator, &above, at(2)).await.unwrap();
    let taken = rotate(&ring, &b, ("above", Duration::ZERO), at(3)).await;
    assert_eq!(taken.unwrap_err(), Error::NotYours, "or its new secret would be his");
    create(&ring, &operator, &elsewhere, at(2)).await.unwrap();
    revoke(&ring, &operator, &theirs.id, at(4)).await.unwrap();
}

#[tokio::test]
async fn acts_end_as_they_should() {
    let World { store, ring } = world().await;
    let a = actor("a", false);
    let first = Wish { expires: Some(at(101)), ..wish("ci") };
    let Issued { key: first, secret } = create(&ring, &a, &first, at(1)).await.unwrap();
    assert_eq!(first.digest, secret.digest());
    let taken = |name: &str| Error::NameTaken { tenant: "a".to_owned(), name: name.to_owned() };
    assert_eq!(create(&ring, &a, &wish("ci"), at(1)).await.unwrap_err(), taken("ci"));
    assert_eq!(create(&ring, &a, &wish("fixed"), at(1)).await.unwrap_err(), taken("fixed"));
    let configured = revoke(&ring, &a, "fixed", at(1)).await.unwrap_err();
    assert_eq!(configured, Error::Configured("fixed".to_owned()));
    assert!(matches!(create(&ring, &a, &wish(""), at(1)).await, Err(Error::Wish(_))));

    let hour = Duration::from_secs(60);
    let second = rotate(&ring, &a, ("ci", hour), at(11)).await.unwrap();
    assert_ne!(second.secret.expose(), secret.expose());
    assert_eq!(
        (second.key.name.as_str(), second.key.expires),
        ("ci", Some(at(111))),
        "as long a life"
    );
    let old = ring.keys().into_iter().find(|key| key.id == first.id).unwrap();
    assert_eq!((old.expires, old.replaced_by), (Some(at(71)), Some(second.key.id.clone())));
    let again = rotate(&ring, &a, (&first.id, hour), at(12)).await.unwrap_err();
    assert_eq!(again, Error::Over(first.id.clone()));
    let revoked = revoke(&ring, &a, "ci", at(13)).await.unwrap();
    assert_eq!(revoked.id, second.key.id, "the name goes to the new one");
    let over = revoke(&ring, &a, &second.key.id, at(14)).await.unwrap_err();
    assert_eq!(over, Error::Over(second.key.id.clone()));

    let status = |id: &str, seconds| {
        let key = ring.keys().into_iter().find(|key| key.id == id).unwrap();
        shown(&key, at(seconds))["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(status(&first.id, 13), "replaced");
    assert_eq!(status(&first.id, 71), "expired");
    assert_eq!(status(&second.key.id, 13), "revoked");
    let told = shown(&second.key, at(13)).to_string();
    assert!(!told.contains("digest") && !told.contains(second.secret.expose()), "{told}");

    let records = store.audit(0, 99).await.unwrap();
    let entries: Vec<audit::Entry> =
        records.iter().map(|record| serde_json::from_str(&record.entry).unwrap()).collect();
    let acts: Vec<_> =
        entries.iter().map(|entry| (entry.action.as_str(), entry.tenant())).collect();
    assert_eq!(acts, [("key.created", "a"), ("key.rotated", "a"), ("key.revoked", "a")]);
    assert!(entries.iter().all(|entry| entry.actor == "key:a"));
    let log = format!("{records:?}");
    assert!(!log.contains(secret.expose()) && !log.contains("digest\\\""), "{log}");
}
