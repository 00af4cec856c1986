//! What is neither a thread's nor an item: assistants, crons, batches with their files, kept answers.

use std::time::Duration;

use agentry_backends::memory::MemoryStore;
use agentry_core::assistants::{self, Assistants, NewAssistant};
use agentry_core::batches::{self, Batches};
use agentry_core::crons::{self, Crons, NewCron};
use agentry_core::idempotency::{ANSWER_BYTES_MAX, Begin, Begun, Idempotency};
use agentry_core::listing::Span;
use bytes::Bytes;
use serde_json::{Map, json};

use super::{SECRET, now, sealed};

pub(super) async fn fill<S: Assistants + Crons + Batches + Idempotency>(store: &S) {
    let told = Map::from_iter([("prompt".to_owned(), json!(SECRET))]);
    let definition = assistants::Definition {
        graph: "g".to_owned(),
        name: "a".to_owned(),
        description: Some(format!("tells {SECRET}")),
        config: told.clone(),
        context: told.clone(),
        metadata: Map::new(),
    };
    let new = NewAssistant::new("a".to_owned(), definition.clone(), now()).unwrap();
    Assistants::create(store, "main", new).await.unwrap();
    let next = definition.check().unwrap();
    Assistants::add_version(store, ("main", "a"), 1, next, now()).await.unwrap();
    let planned = crons::Definition {
        assistant: "a".to_owned(),
        thread: None,
        user: None,
        schedule: "0 12 * * *".to_owned(),
        timezone: None,
        payload: told,
        metadata: Map::new(),
        end: None,
        enabled: true,
    };
    let new = NewCron::new("c".to_owned(), planned, now()).unwrap();
    Crons::create(store, "main", new).await.unwrap();
    let mut batch = agentry_testkit::batches::batch("b", "main", 2);
    for item in &mut batch.items {
        item.body = Bytes::from(json!({ "asks": SECRET }).to_string());
    }
    let (holder, at) = ("h".to_owned(), batch.created);
    Batches::create(store, batch).await.unwrap();
    let lease_until = at.plus(Duration::from_secs(9));
    let claim = batches::Claim { batch: "b".to_owned(), holder, now: at, lease_until };
    let claimed = Batches::claim(store, claim).await.unwrap().unwrap();
    assert!(claimed.body.starts_with(b"{\"asks\""), "it is handed out as it was");
    let answer = batches::Answer { status: 200, body: Bytes::from(format!("\"{SECRET}\"")) };
    assert!(Batches::finish(store, &claimed.lease, answer, at).await.unwrap());
    let file = batches::File {
        id: "f".to_owned(),
        tenant: "main".to_owned(),
        user: None,
        name: "in.jsonl".to_owned(),
        bytes: 9,
        created: at,
        keep_until: at.plus(Duration::from_secs(99)),
    };
    store.put_file(file, Bytes::from(SECRET)).await.unwrap();
    let begun = store.begin(asked()).await.unwrap();
    assert!(matches!(begun, Begun::New(_)), "{begun:?}");
    if let Begun::New(ticket) = begun {
        assert!(Idempotency::finish(store, &ticket, Bytes::from(SECRET)).await.unwrap());
    }
}

fn asked() -> Begin {
    Begin {
        tenant: "main".to_owned(),
        key: "k".to_owned(),
        user: None,
        request: [7; 32],
        now: now(),
        busy_until: now().plus(Duration::from_secs(10)),
        keep_until: now().plus(Duration::from_secs(100)),
    }
}

pub(super) async fn everything<S: Assistants + Crons + Batches + Idempotency>(store: &S) -> String {
    let versions = store.versions(("main", "a"), &Map::new(), Span::new(0, 9).unwrap()).await;
    let cron = store.cron("main", "c").await.unwrap().unwrap();
    let results = store.results(("main", "b"), 0, 9).await.unwrap();
    let content = store.content("main", "f").await.unwrap();
    let replay = store.begin(asked()).await.unwrap();
    format!("{:?} {cron:?} {results:?} {content:?} {replay:?}", versions.unwrap())
}

#[tokio::test]
async fn an_answer_that_is_too_large_with_its_seal_is_not_kept() {
    let store = sealed(MemoryStore::new());
    for (key, bytes, kept) in [
        ("fits", ANSWER_BYTES_MAX - 64, true),
        ("with its seal", ANSWER_BYTES_MAX - 63, false),
        ("large", ANSWER_BYTES_MAX + 1, false),
    ] {
        let begin = || Begin { key: key.to_owned(), ..asked() };
        let Begun::New(ticket) = Idempotency::begin(&store, begin()).await.unwrap() else {
            panic!("{key}")
        };
        let answer = Bytes::from(vec![b'x'; bytes]);
        assert!(Idempotency::finish(&store, &ticket, answer.clone()).await.unwrap(), "{key}");
        let expected = if kept { Begun::Replay(answer) } else { Begun::NotKept };
        assert!(Idempotency::begin(&store, begin()).await.unwrap() == expected, "{key}");
    }
}
