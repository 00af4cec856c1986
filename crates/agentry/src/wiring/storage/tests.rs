use std::collections::BTreeMap;

use agentry_core::items::{Batch, Id, Index, Namespace, Put, Write};
use serde_json::{Map, Value};

use super::*;

const FIRST: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const SECOND: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

async fn open(folder: &Path, keys: &str) -> Result<Stores, Ended> {
    let text = format!("[storage]\nurl = \"sqlite:a.db\"\n{keys}");
    let environment = [("FIRST", FIRST), ("SECOND", SECOND)];
    let environment: BTreeMap<_, _> =
        environment.map(|(name, key)| (name.to_owned(), key.to_owned())).into();
    Stores::open(&config::read_text(&text, folder, &environment).unwrap()).await
}

#[tokio::test]
async fn a_database_that_was_encrypted_is_refused_without_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let id = Id { namespace: Namespace::new(["notes"]).unwrap(), key: "k".to_owned() };
    let value = Map::from_iter([("note".to_owned(), Value::from("the otter sleeps"))]);
    let now = SystemClock.now();
    let put = Put { id: id.clone(), value: value.clone(), index: Index::All, ttl: None };
    let first = open(folder.path(), "encryption_key = \"env:FIRST\"").await.unwrap();
    let batch = Batch::new(vec![Write::Put(put)]).unwrap();
    first.threads.items.write("main", batch, now).await.unwrap();
    drop(first);
    let check = async |keys: &str, expected: &str| {
        let Err(Ended { exit, error }) = open(folder.path(), keys).await else {
            panic!("{keys} opens it")
        };
        assert_eq!(exit, Exit::Usage);
        assert!(error.to_string().contains(expected), "{error}");
    };
    check("", "set `[storage] encryption_key` to that key").await;
    check("encryption_key = \"env:SECOND\"", "add it behind the first one").await;
    let both = "encryption_key = [\"env:SECOND\", \"env:FIRST\"]";
    let both = open(folder.path(), both).await.unwrap();
    let found = both.threads.items.item("main", &id, now).await.unwrap();
    assert_eq!(found.map(|item| item.value), Some(value));
}
