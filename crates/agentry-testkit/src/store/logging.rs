//! What is kept beside the runs: records, the audit log; and that all of it is kept.

use agentry_core::RunId;
use agentry_core::audit::Verifier;
use agentry_core::run::{Effect, Next, RunCommit};
use agentry_core::store::{
    Error, Intake, Log, NewRecord, Record, RunStore, Signal, Signalled, Submitted,
};
use serde_json::json;

use super::{
    Kind, answer, append, applied, at, claim, claimed, commit, entry, event, id, message, new_run,
    question, set, unique,
};

fn record(topic: &str, key: &str, number: u32) -> NewRecord {
    NewRecord { topic: topic.to_owned(), key: key.to_owned(), payload: json!({ "n": number }) }
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.payload["n"].as_u64().unwrap()).collect()
}

pub async fn submissions_with_one_key_are_one_run(kind: &impl Kind) {
    let store = kind.fresh();
    assert_eq!(store.submit(new_run(1)).await, Ok(Submitted::Created(id(1))));
    let mut again = new_run(2);
    again.key = new_run(1).key;
    assert_eq!(store.submit(again).await, Ok(Submitted::Existing(id(1))));
    assert_eq!(store.load(id(2)).await, Ok(None));
    let loaded = store.load(id(1)).await.unwrap().unwrap();
    assert_eq!((loaded.values, loaded.cursor), (new_run(1).input, None));
}

pub async fn an_intake_is_all_or_nothing(kind: &impl Kind) {
    let store = kind.fresh();
    store.submit(new_run(1)).await.unwrap();
    let mut again = new_run(3);
    again.key = new_run(1).key;
    let intake = Intake {
        records: vec![record("alerts", "a", 1), record("alerts", "b", 2)],
        submit: vec![new_run(2), again],
        messages: vec![(id(1), message(1)), (id(2), message(2)), (id(3), message(3))],
        audit: vec![entry("taken.in")],
    };
    let mut broken = intake.clone();
    broken.messages.push((id(99), message(9)));
    let refused = store.intake(broken).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert_eq!(store.records("alerts", None, 0, 9).await, Ok(vec![]));
    assert_eq!(store.load(id(2)).await, Ok(None));
    assert_eq!(store.audit(0, 9).await, Ok(vec![]));

    store.intake(intake.clone()).await.unwrap();
    assert_eq!(numbers(&store.records("alerts", None, 0, 9).await.unwrap()), [1, 2]);
    let inbox = store.load(id(1)).await.unwrap().unwrap().inbox;
    assert_eq!(inbox, [message(1), message(3)], "what went to the same key came here");
    assert_eq!(store.load(id(2)).await.unwrap().unwrap().inbox, [message(2)]);
    assert_eq!(store.load(id(3)).await, Ok(None));
    assert_eq!(store.audit(0, 9).await.unwrap().len(), 1);
    store.intake(intake).await.unwrap();
    assert_eq!(store.load(id(2)).await.unwrap().unwrap().inbox, [message(2)]);
}

pub async fn records_are_found_by_topic_and_key(kind: &impl Kind) {
    let store = kind.fresh();
    let all = [("t", "a", 1), ("t", "b", 2), ("u", "a", 3), ("t", "a", 4), ("t", "c", 5)];
    let records = all.map(|(topic, key, number)| record(topic, key, number)).to_vec();
    store.intake(Intake { records, ..Intake::default() }).await.unwrap();
    let find = async |key, after, max| store.records("t", key, after, max).await.unwrap();
    assert_eq!(numbers(&find(None, 0, 9).await), [1, 2, 4, 5]);
    assert_eq!(numbers(&find(Some("a"), 0, 9).await), [1, 4]);
    assert!(find(Some("z"), 0, 9).await.is_empty());
    let first = find(None, 0, 2).await;
    assert_eq!(numbers(&first), [1, 2]);
    assert_eq!((first[1].topic.as_str(), first[1].key.as_str()), ("t", "b"));
    assert_eq!(numbers(&find(None, first[1].offset, 9).await), [4, 5]);
    assert_eq!(numbers(&find(Some("a"), first[0].offset, 9).await), [4]);

    let tail = async |before, max| store.tail("t", before, max).await.unwrap();
    let newest = tail(None, 2).await;
    assert_eq!(numbers(&newest), [5, 4]);
    assert_eq!(numbers(&tail(Some(newest[1].offset), 9).await), [2, 1]);
}

pub async fn the_audit_log_is_one_chain(kind: &impl Kind) {
    let store = kind.fresh();
    let run = claimed(&store, 1).await;
    let audit = vec![entry("one"), entry("two")];
    let opened = vec![question(1, "q", None)];
    store.commit(RunCommit { audit, opened, ..commit(&run, 1) }).await.unwrap();
    let intake = Intake { audit: vec![entry("three")], ..Intake::default() };
    store.intake(intake).await.unwrap();
    let answer = answer("ada", 60);
    let signal = Signal::Answer { interrupt: "q".into(), answer, audit: vec![entry("four")] };
    assert_eq!(store.signal(id(1), signal.clone()).await, Ok(Signalled::Accepted));
    let again = store.signal(id(1), signal).await.unwrap();
    assert!(matches!(again, Signalled::AlreadyAnswered(_)), "only what happened is logged");
    let refused = RunCommit { audit: vec![entry("never")], ..commit(&run, 1) };
    store.commit(refused).await.unwrap();
    let cancel = Signal::Cancel { reason: "x".to_owned(), audit: vec![entry("five")] };
    store.signal(id(1), cancel).await.unwrap();

    let records = store.audit(0, 99).await.unwrap();
    let mut verifier = Verifier::default();
    for record in &records {
        verifier.check(record).unwrap();
    }
    let actions: Vec<String> = records
        .iter()
        .map(|record| serde_json::from_str::<agentry_core::audit::Entry>(&record.entry).unwrap())
        .map(|entry| entry.action)
        .collect();
    assert_eq!(actions, ["one", "two", "three", "four", "five"]);
    assert_eq!(store.audit(3, 1).await.unwrap(), records[3..4]);
}

pub async fn everything_survives_reopening(kind: &impl Kind) {
    let store = kind.fresh();
    let run = claimed(&store, 1).await;
    let full = RunCommit {
        deltas: vec![set("x", 1), append("seen", &[1, 2])],
        opened: vec![question(1, "q", Some(300))],
        events: vec![event("a")],
        audit: vec![entry("one")],
        ..commit(&run, 1)
    };
    store.commit(full).await.unwrap();
    store.journal(id(1), run.fence, "pay", Effect::Intended).await.unwrap();
    store.signal(id(1), Signal::Message(message(1))).await.unwrap();
    let records = vec![record("t", "k", 1)];
    store.intake(Intake { records, ..Intake::default() }).await.unwrap();
    let before = store.load(id(1)).await.unwrap();

    let store = kind.reopen(store);
    assert_eq!(store.load(id(1)).await.unwrap(), before);
    assert_eq!(store.events(id(1), 0, 9).await.unwrap().len(), 1);
    assert_eq!(numbers(&store.records("t", None, 0, 9).await.unwrap()), [1]);
    assert_eq!(store.claim(claim("v", 100)).await, Ok(vec![]), "leases are kept");
    assert_eq!(store.commit(commit(&run, 2)).await, Ok(applied(false, true)));

    let intake = Intake { audit: vec![entry("two")], ..Intake::default() };
    store.intake(intake).await.unwrap();
    let mut verifier = Verifier::default();
    for record in store.audit(0, 9).await.unwrap() {
        verifier.check(&record).unwrap();
    }
    assert_eq!(verifier.head().0, 2, "the chain goes on where it ended");
}

/// Many callers at once, some of them refused: a batch is not one fate.
pub async fn thousands_of_neighbours_do_not_disturb_each_other(kind: &impl Kind) {
    const CALLERS: u32 = 40;
    const COMMITS: u64 = 25;
    let store = std::sync::Arc::new(kind.fresh());
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let store = std::sync::Arc::clone(&store);
        callers.spawn(async move {
            let run = RunId::new(at(u64::from(caller)), [u8::try_from(caller).unwrap(); 10]);
            let worker = format!("w{}", unique());
            let graph = format!("g{caller}");
            let new = agentry_core::run::NewRun {
                id: run,
                key: worker.clone(),
                graph: graph.clone(),
                ..new_run(0)
            };
            store.submit(new).await.unwrap();
            let graphs = vec![(graph, "1".to_owned())];
            let claim = agentry_core::store::Claim { graphs, ..claim(&worker, 100) };
            let claimed = store.claim(claim).await.unwrap().remove(0);
            for seq in 1..=COMMITS {
                let deltas = vec![append("seen", &[u32::try_from(seq).unwrap()])];
                let commit = RunCommit { deltas, audit: vec![entry("c")], ..commit(&claimed, seq) };
                let gap = RunCommit { seq: agentry_core::run::Seq(seq + 5), ..commit.clone() };
                let nobody = RunCommit { run: id(250), ..commit.clone() };
                let (ok, stale, refused) =
                    tokio::join!(store.commit(commit), store.commit(gap), store.commit(nobody));
                assert_eq!(ok, Ok(applied(false, false)));
                assert_eq!(stale, Ok(agentry_core::run::Committed::Stale));
                assert!(matches!(refused, Err(Error::Refused(_))));
            }
            let last = RunCommit { next: Next::Succeeded, ..commit(&claimed, COMMITS + 1) };
            assert_eq!(store.commit(last).await, Ok(applied(false, false)));
            let values = store.load(run).await.unwrap().unwrap().values;
            assert_eq!(values["seen"], json!((1..=COMMITS).collect::<Vec<_>>()));
        });
    }
    while let Some(joined) = callers.join_next().await {
        joined.unwrap();
    }
    let mut verifier = Verifier::default();
    for record in store.audit(0, 10_000).await.unwrap() {
        verifier.check(&record).unwrap();
    }
    assert_eq!(verifier.head().0, u64::from(CALLERS) * COMMITS);
}
