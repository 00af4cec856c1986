//! What every store must do. Each function is one part of the contract; a backend's tests call all of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agentry_core::run::{
    Answer, Committed, Delta, Event, Fence, Interrupt, Message, NewRun, Next, RunCommit, Seq,
    Values,
};
use agentry_core::store::{Claim, Claimed, Log, RunStore};
use agentry_core::{RunId, Timestamp, audit};
use serde_json::{Value, json};

mod answering;
mod claiming;
mod committing;
mod logging;

pub use answering::{an_answer_and_an_expiry_have_one_winner, questions_are_found_until_answered};
pub use claiming::{
    a_lease_that_is_over_lets_others_in, a_parked_run_wakes_when_its_moment_comes,
    claims_are_released_at_once, runs_are_claimed_once_and_oldest_first,
    runs_are_listed_newest_first,
};
pub use committing::{
    a_commit_is_applied_once_and_in_order, a_parked_run_with_mail_is_ready_again,
    cancellation_is_told_with_every_commit, deltas_fold_into_values,
    effects_are_remembered_once_done, events_keep_their_order,
    mail_names_the_runs_that_something_came_for, messages_come_once_and_wake,
    what_is_over_changes_no_more,
};
pub use logging::{
    an_intake_is_all_or_nothing, everything_survives_reopening, records_are_found_by_topic_and_key,
    submissions_with_one_key_are_one_run, the_audit_log_is_one_chain,
    thousands_of_neighbours_do_not_disturb_each_other,
};

/// Makes stores of one kind.
pub trait Kind: Sync {
    type Store: RunStore + Log + 'static;

    /// An empty one.
    fn fresh(&self) -> Self::Store;
    /// The same store after a restart of its process.
    fn reopen(&self, store: Self::Store) -> Self::Store;
}

/// Calls `$each!(name)` for every part of the contract.
#[macro_export]
macro_rules! for_each_store_test {
    ($each:ident) => {
        $each! {
            a_commit_is_applied_once_and_in_order
            a_lease_that_is_over_lets_others_in
            a_parked_run_wakes_when_its_moment_comes
            a_parked_run_with_mail_is_ready_again
            an_answer_and_an_expiry_have_one_winner
            an_intake_is_all_or_nothing
            cancellation_is_told_with_every_commit
            claims_are_released_at_once
            deltas_fold_into_values
            effects_are_remembered_once_done
            events_keep_their_order
            everything_survives_reopening
            mail_names_the_runs_that_something_came_for
            messages_come_once_and_wake
            questions_are_found_until_answered
            records_are_found_by_topic_and_key
            runs_are_claimed_once_and_oldest_first
            runs_are_listed_newest_first
            submissions_with_one_key_are_one_run
            the_audit_log_is_one_chain
            thousands_of_neighbours_do_not_disturb_each_other
            what_is_over_changes_no_more
        }
    };
}

/// `seconds` after the suite's beginning of time.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_769_846_400_000).plus(Duration::from_secs(seconds))
}

fn id(number: u8) -> RunId {
    RunId::new(at(u64::from(number)), [number; 10])
}

/// Created `number` seconds after the beginning.
fn new_run(number: u8) -> NewRun {
    NewRun {
        id: id(number),
        key: format!("key-{number}"),
        graph: "g".to_owned(),
        version: "1".to_owned(),
        input: Values::from([("input".to_owned(), json!(number))]),
        created: at(u64::from(number)),
        deadline: None,
    }
}

fn claim(worker: &str, now: u64) -> Claim {
    Claim {
        worker: worker.to_owned(),
        now: at(now),
        lease_until: at(now + 10),
        runs_max: 100,
        graphs: vec![("g".to_owned(), "1".to_owned())],
    }
}

/// Submits run `number` and claims it for `w` at second 100.
async fn claimed(store: &impl RunStore, number: u8) -> Claimed {
    store.submit(new_run(number)).await.unwrap();
    reclaimed(store, number).await
}

async fn reclaimed(store: &impl RunStore, number: u8) -> Claimed {
    let all = store.claim(claim("w", 100)).await.unwrap();
    all.into_iter().find(|claimed| claimed.loaded.row.id == id(number)).expect("it was claimable")
}

/// An empty commit that goes on.
fn commit(claimed: &Claimed, seq: u64) -> RunCommit {
    RunCommit {
        run: claimed.loaded.row.id,
        fence: claimed.fence,
        seq: Seq(seq),
        at: at(100 + seq),
        deltas: Vec::new(),
        cursor: json!({ "at": seq }),
        next: Next::Running,
        opened: Vec::new(),
        closed: Vec::new(),
        consumed: Vec::new(),
        events: Vec::new(),
        audit: Vec::new(),
    }
}

fn applied(cancel: bool, inbox: bool) -> Committed {
    Committed::Applied { cancel, inbox }
}

fn message(number: u32) -> Message {
    Message {
        id: format!("m{number}"),
        channel: "alerts".to_owned(),
        payload: json!({ "number": number }),
        at: at(u64::from(number)),
    }
}

fn question(run: u8, id_: &str, deadline: Option<u64>) -> Interrupt {
    Interrupt {
        run: id(run),
        id: id_.to_owned(),
        question: Some(json!({ "restart?": id_ })),
        opened: at(50),
        deadline: deadline.map(at),
        on_timeout: json!("reject"),
        answer: None,
    }
}

fn answer(actor: &str, second: u64) -> Answer {
    Answer { value: json!("approve"), actor: format!("person:{actor}"), at: at(second) }
}

fn entry(action: &str) -> audit::Entry {
    audit::Entry {
        at: at(7),
        actor: "system".to_owned(),
        action: action.to_owned(),
        subject: "run".to_owned(),
        detail: json!({ "why": "test", "nested": [1, 2.5, null] }),
    }
}

fn event(kind: &str) -> Event {
    Event { at: at(3), kind: kind.to_owned(), detail: json!({ "of": kind }) }
}

fn set(channel: &str, value: impl Into<Value>) -> (String, Delta) {
    (channel.to_owned(), Delta::Set(value.into()))
}

fn append(channel: &str, items: &[u32]) -> (String, Delta) {
    (channel.to_owned(), Delta::Append(items.iter().map(|item| json!(item)).collect()))
}

/// Tells runs of one process apart where a test makes many.
fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn older(fence: Fence) -> Fence {
    Fence(fence.0 - 1)
}
