//! What every store of threads must do. Each function is one part of the contract; a backend's tests call all of them:
//! `agentry_testkit::for_each_thread_test!(on_every_kind)`, or with a macro of their own that takes `threads: name name …` and
//! calls `agentry_testkit::threads::name(&kind).await` for each. [`agrees_with`] holds a store to another one, the one in
//! memory, over sequences that nobody has thought of.

use std::time::Duration;

use agentry_core::run::{Answer, Closing, Committed, Delta, Event, Message, Seq};
use agentry_core::store::Log;
use agentry_core::thread::{
    Absent, Cancel, Checkpoint, Commit, Entry, EventId, Interrupt, Line, Multitask, NewRun,
    NewThread, Next, Pinned, Priority, Rest, RunChange, RunStatus, Snapshot, Source, States, Write,
};
use agentry_core::threads::{Claim, Claimed, Signal, Signalled, Submitted, ThreadStore, Threads};
use agentry_core::{CheckpointId, RunId, ThreadId, Timestamp, audit};
use serde_json::{Map, Value, json};

mod answering;
mod claiming;
mod committing;
mod managing;
mod modelled;
mod remembering;
mod submitting;
mod surviving;

pub use answering::{
    a_question_is_handed_on, an_answer_and_an_expiry_have_one_winner, messages_wake_who_listens,
    of_many_answers_one_counts, questions_are_found_until_answered,
};
pub use claiming::{
    a_lease_that_is_over_lets_others_in, a_life_succeeds_its_former_ones,
    a_thread_at_rest_is_taken_by_one, a_thread_wakes_when_its_moment_comes,
    claims_are_released_at_once, tenants_take_turns, threads_are_claimed_once_by_priority_and_time,
    threads_go_to_workers_that_have_their_program,
};
pub use committing::{
    a_commit_is_applied_once_and_in_order, a_commit_is_known_when_its_entry_is_gone,
    a_commit_moves_a_thread_to_another_program, a_rest_ends_when_something_came,
    a_run_that_waits_its_turn_disturbs_nobody, cancellations_are_told_until_they_are_done,
    effects_are_remembered_until_they_are_forgotten, mail_names_the_threads_to_look_at,
    runs_that_are_over_are_left_alone, what_is_gone_is_fenced,
};
pub use managing::{
    a_copy_has_the_history_and_no_runs, a_deleted_run_leaves_what_others_build_on,
    a_deleted_thread_leaves_nothing, a_thread_is_made_once_and_described,
    pruning_leaves_the_latest, pruning_leaves_what_a_run_to_come_may_begin_at, runs_are_found,
    threads_are_found, threads_are_retired_when_nothing_has_happened_for_long_enough,
    threads_are_swept_when_they_were_kept_for_long_enough,
};
pub use modelled::agrees_with;
pub use remembering::{
    a_line_follows_the_parents, a_line_may_begin_at_a_snapshot, checkpoints_are_found_newest_first,
    events_are_read_on_from_where_one_stopped, progress_is_what_was_done_since_a_checkpoint,
};
pub use submitting::{
    a_delayed_run_begins_when_it_may, a_run_brings_all_its_answers_or_is_refused,
    a_second_run_does_what_its_strategy_says, a_thread_made_for_a_run_goes_after_it,
    an_intake_is_all_or_nothing, one_key_is_one_run, submitting_makes_a_thread_ready,
};
pub use surviving::{
    everything_survives_reopening, tenants_never_see_each_other,
    thousands_of_neighbours_do_not_disturb_each_other,
};

/// Calls `$each!(threads: name …)` with every part of the contract.
#[macro_export]
macro_rules! for_each_thread_test {
    ($each:ident) => {
        $each! { threads:
            a_commit_is_applied_once_and_in_order
            a_commit_is_known_when_its_entry_is_gone
            a_commit_moves_a_thread_to_another_program
            a_copy_has_the_history_and_no_runs
            a_delayed_run_begins_when_it_may
            a_deleted_run_leaves_what_others_build_on
            a_deleted_thread_leaves_nothing
            a_lease_that_is_over_lets_others_in
            a_life_succeeds_its_former_ones
            a_line_follows_the_parents
            a_line_may_begin_at_a_snapshot
            a_question_is_handed_on
            a_rest_ends_when_something_came
            a_run_brings_all_its_answers_or_is_refused
            a_run_that_waits_its_turn_disturbs_nobody
            a_second_run_does_what_its_strategy_says
            a_thread_at_rest_is_taken_by_one
            a_thread_is_made_once_and_described
            a_thread_made_for_a_run_goes_after_it
            a_thread_wakes_when_its_moment_comes
            an_answer_and_an_expiry_have_one_winner
            an_intake_is_all_or_nothing
            cancellations_are_told_until_they_are_done
            checkpoints_are_found_newest_first
            claims_are_released_at_once
            effects_are_remembered_until_they_are_forgotten
            events_are_read_on_from_where_one_stopped
            everything_survives_reopening
            mail_names_the_threads_to_look_at
            messages_wake_who_listens
            of_many_answers_one_counts
            one_key_is_one_run
            progress_is_what_was_done_since_a_checkpoint
            pruning_leaves_the_latest
            pruning_leaves_what_a_run_to_come_may_begin_at
            questions_are_found_until_answered
            runs_are_found
            runs_that_are_over_are_left_alone
            submitting_makes_a_thread_ready
            tenants_never_see_each_other
            tenants_take_turns
            thousands_of_neighbours_do_not_disturb_each_other
            threads_are_claimed_once_by_priority_and_time
            threads_are_found
            threads_are_retired_when_nothing_has_happened_for_long_enough
            threads_are_swept_when_they_were_kept_for_long_enough
            threads_go_to_workers_that_have_their_program
            what_is_gone_is_fenced
        }
    };
}

/// What the suite asks of.
pub trait Store: ThreadStore + Threads + Log + 'static {}

impl<S: ThreadStore + Threads + Log + 'static> Store for S {}

/// `seconds` after the suite's beginning of time.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_769_846_400_000).plus(Duration::from_secs(seconds))
}

fn run_id(number: u8) -> RunId {
    RunId::new(at(u64::from(number)), [number; 10])
}

fn thread_id(number: u8) -> ThreadId {
    ThreadId::from_bytes([number; 16])
}

fn checkpoint_id(number: u8) -> CheckpointId {
    CheckpointId::new(at(u64::from(number)), [number; 10])
}

fn pinned(graph: &str, version: &str) -> Pinned {
    Pinned { graph: graph.to_owned(), version: version.to_owned() }
}

/// On the thread of this number, submitted `number` seconds after the beginning.
fn new_run(number: u8) -> NewRun {
    NewRun {
        id: run_id(number),
        thread: thread_id(number),
        tenant: "main".to_owned(),
        key: None,
        program: pinned("g", "1"),
        input: json!({ "input": number }),
        answers: Vec::new(),
        multitask: Multitask::Enqueue,
        priority: Priority::Normal,
        absent: Absent::Create,
        metadata: Map::new(),
        created: at(u64::from(number)),
        not_before: None,
        deadline: None,
    }
}

/// Run `number` on thread `thread`.
fn run_on(thread: u8, number: u8) -> NewRun {
    NewRun { thread: thread_id(thread), ..new_run(number) }
}

fn new_thread(number: u8) -> NewThread {
    NewThread {
        id: thread_id(number),
        tenant: "main".to_owned(),
        metadata: Map::new(),
        created: at(u64::from(number)),
        keep_for: None,
    }
}

fn claim(worker: &str, now: u64) -> Claim {
    Claim {
        worker: worker.to_owned(),
        now: at(now),
        lease_until: at(now + 10),
        threads_max: 100,
        programs: vec![pinned("g", "1")],
    }
}

async fn submit(store: &impl Store, run: NewRun) {
    let id = run.id;
    assert_eq!(store.submit(run).await, Ok(Submitted::Created(id)));
}

async fn claim_ids(store: &impl Store, claim: Claim) -> Vec<ThreadId> {
    let claimed = store.claim(claim).await.unwrap();
    claimed.iter().map(|claimed| claimed.loaded.thread.id).collect()
}

/// Submits run `number` and claims its thread for `w` at second 100.
async fn claimed(store: &impl Store, number: u8) -> Claimed {
    submit(store, new_run(number)).await;
    reclaimed(store, number).await
}

async fn reclaimed(store: &impl Store, thread: u8) -> Claimed {
    let all = store.claim(claim("w", 100)).await.unwrap();
    let thread = thread_id(thread);
    all.into_iter().find(|it| it.loaded.thread.id == thread).expect("it was claimable")
}

/// An empty commit that goes on, 100 + `seq` seconds after the beginning.
fn commit(claimed: &Claimed, seq: u64) -> Commit {
    let thread = &claimed.loaded.thread;
    let entry = Entry {
        seq: Seq(seq),
        parent: Seq(seq - 1),
        run: claimed.loaded.runs.first().map(|run| run.id),
        at: at(100 + seq),
        checkpoints: Vec::new(),
        writes: Vec::new(),
        body: json!({ "at": seq }),
    };
    Commit {
        thread: thread.id,
        fence: claimed.fence,
        entry,
        next: Next::Running,
        runs: Vec::new(),
        opened: Vec::new(),
        closed: Vec::new(),
        postponed: Vec::new(),
        consumed: Vec::new(),
        forgotten: Vec::new(),
        events: Vec::new(),
        snapshot: None,
        audit: Vec::new(),
        program: None,
    }
}

fn rest(status: Rest, wake_at: Option<u64>) -> Next {
    Next::Rest { status, wake_at: wake_at.map(at) }
}

/// Run `number` begins on what thread has at `base`.
fn begins(number: u8, base: u64) -> RunChange {
    let base = Some(Seq(base));
    RunChange { run: run_id(number), status: RunStatus::Running, base, reason: None }
}

fn ends(number: u8, status: RunStatus) -> RunChange {
    RunChange { run: run_id(number), status, base: None, reason: None }
}

/// Run `number` has begun in the first entry; the thread is the worker's.
async fn begun(store: &impl Store, number: u8) -> Claimed {
    let claimed = claimed(store, number).await;
    let first = Commit { runs: vec![begins(number, 0)], ..commit(&claimed, 1) };
    assert_eq!(store.commit(first).await, Ok(applied(false, false)));
    claimed
}

/// Run `number` has asked `q` in its second entry and nobody has the thread.
async fn asking(store: &impl Store, number: u8, deadline: Option<u64>) -> Claimed {
    let claimed = begun(store, number).await;
    let second = Commit {
        runs: vec![ends(number, RunStatus::Interrupted)],
        opened: vec![question(number, "q", deadline)],
        next: rest(Rest::Interrupted, deadline),
        ..commit(&claimed, 2)
    };
    assert_eq!(store.commit(second).await, Ok(applied(false, false)));
    claimed
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

/// Of run `number` on the thread of the same number.
fn question(number: u8, id: &str, deadline: Option<u64>) -> Interrupt {
    Interrupt {
        thread: thread_id(number),
        run: run_id(number),
        id: id.to_owned(),
        ns: String::new(),
        node: "ask".to_owned(),
        question: Some(json!({ "restart?": id })),
        schema: Some(json!({ "type": "string" })),
        opened: at(50),
        deadline: deadline.map(at),
        on_timeout: json!("reject"),
        escalations: 0,
        answer: None,
    }
}

fn answer(actor: &str, second: u64) -> Answer {
    Answer { value: json!("approve"), actor: format!("person:{actor}"), at: at(second) }
}

fn answers(interrupt: &str, actor: &str, second: u64) -> Signal {
    let audit = vec![audit_entry(&format!("answered.{actor}"))];
    Signal::Answer { interrupt: interrupt.to_owned(), answer: answer(actor, second), audit }
}

fn cancel(reason: &str, rollback: bool) -> Cancel {
    Cancel { reason: reason.to_owned(), at: at(90), rollback }
}

fn cancels(number: u8, reason: &str) -> Signal {
    let audit = vec![audit_entry(&format!("cancelled.{reason}"))];
    Signal::Cancel { run: run_id(number), cancel: cancel(reason, false), audit }
}

async fn check_signal(store: &impl Store, thread: u8, signal: Signal, expected: Signalled) {
    let signalled = store.signal(thread_id(thread), signal.clone()).await;
    assert_eq!(signalled, Ok(expected), "{signal:?}");
}

fn audit_entry(action: &str) -> audit::Entry {
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

fn event_id(seq: u64, index: u32) -> EventId {
    EventId { seq: Seq(seq), index }
}

fn write(ns: &str, channel: &str, delta: Delta) -> Write {
    Write { ns: ns.to_owned(), channel: channel.to_owned(), delta }
}

fn set(channel: &str, value: impl Into<Value>) -> Write {
    write("", channel, Delta::Set(value.into()))
}

fn append(channel: &str, items: &[u64]) -> Write {
    write("", channel, Delta::Append(items.iter().map(|item| json!(item)).collect()))
}

/// Number `number` of its namespace, after the one before.
fn checkpoint(ns: &str, number: u8) -> Checkpoint {
    Checkpoint {
        id: checkpoint_id(number),
        ns: ns.to_owned(),
        parent: number.checked_sub(1).map(checkpoint_id),
        step: i64::from(number),
        source: if number == 0 { Source::Input } else { Source::Loop },
        metadata: Map::from_iter([("number".to_owned(), json!(number))]),
    }
}

fn closing(how: Closing, ids: &[&str]) -> Vec<(String, Closing)> {
    ids.iter().map(|id| ((*id).to_owned(), how)).collect()
}

/// What a line comes to, wherever it begins.
fn states(line: &Line) -> States {
    let mut states =
        line.snapshot.as_ref().map(|snapshot| snapshot.states.clone()).unwrap_or_default();
    for write in line.entries.iter().flat_map(|entry| &entry.writes) {
        let values = states.entry(write.ns.clone()).or_default();
        write.delta.clone().apply(values, write.channel.clone());
    }
    states
}

fn snapshot(seq: u64, states: Value) -> Snapshot {
    Snapshot {
        seq: Seq(seq),
        states: serde_json::from_value(states).unwrap(),
        body: json!({ "up to": seq }),
    }
}
