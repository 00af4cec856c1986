//! What was said to be stored, against what is stored.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use agentry_core::RunId;
use tokio_postgres::{Client, NoTls};

use super::STEPS;
use super::worker::Diary;

pub(crate) async fn client(port: u16) -> Client {
    let url = format!("postgres://agentry@127.0.0.1:{port}/postgres");
    let (client, driver) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio_util::task::TaskTracker::new().spawn(driver);
    client
}

pub(crate) async fn check(server: &Client, folder: &Path, submitted: &[RunId]) {
    let diary = std::fs::read_to_string(folder.join(Diary::NAME)).unwrap();
    let mut performed: HashMap<&str, u32> = HashMap::new();
    let mut committed = Vec::new();
    for line in diary.lines() {
        match line.split_once(' ') {
            Some(("performed", what)) => *performed.entry(what).or_default() += 1,
            Some(("committed", what)) => {
                let words: Vec<&str> = what.split(' ').collect();
                let number = |index: usize| words[index].parse::<i64>().unwrap();
                committed.push((words[0].to_owned(), number(1), number(2)));
            }
            _ => panic!("an unknown line: {line}"),
        }
    }
    let twice: Vec<_> = performed.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "performed more than once: {twice:?}");

    let entries = "SELECT t.id::text, e.seq, e.fence, e.writes FROM agentry.entries e
                   JOIN agentry.threads t ON t.thread = e.thread ORDER BY t.id, e.seq";
    let rows = server.query(entries, &[]).await.unwrap();
    let mut stored = HashSet::new();
    let mut steps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in &rows {
        let (thread, seq, fence): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        steps.entry(thread.clone()).or_default().push(row.get(3));
        stored.insert((thread, seq, fence));
    }
    for commit in &committed {
        assert!(stored.contains(commit), "acknowledged and not there: {commit:?}");
    }
    let told: HashSet<_> = committed.iter().collect();
    assert_eq!(told.len(), committed.len(), "a commit was acknowledged to two who sent it");

    let expected: Vec<String> = (1..=STEPS)
        .map(|step| format!(r#"[{{"channel":"steps","delta":{{"append":[{step}]}}}}]"#))
        .collect();
    for run in submitted {
        let thread = run.own_thread().to_string();
        assert_eq!(steps.get(&thread), Some(&expected), "{thread}");
    }
    assert_eq!(steps.len(), submitted.len(), "there are threads that nobody has asked for");
}
