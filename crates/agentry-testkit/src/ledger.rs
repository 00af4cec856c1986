//! What every ledger must do. Each function is one part of the contract; a backend's tests call all of them.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::ledger::{
    Ask, Balance, Cache, Charge, Entry, Holder, Ledger, Per, Period, SliceId, Tokens, UsageId,
    UsageRecord,
};
use agentry_core::{MicroUsd, Timestamp};

mod modelled;
mod reporting;
mod slicing;

pub use modelled::{
    any_sequence_of_commands_ends_as_in_the_model, parallel_askers_never_exceed_the_cap,
    parallel_commands_lose_no_micro_dollar,
};
pub use reporting::{
    a_forgotten_user_is_in_no_record, reused_answers_are_counted_once_and_shown_with_the_rest,
    spending_is_grouped_by_what_is_asked, usage_is_summed_by_day_key_and_model,
};
pub use slicing::{
    a_cap_holds_for_all_who_ask, a_slice_whose_holder_is_gone_is_worth_its_records,
    accounts_and_periods_are_apart, more_than_was_foreseen_is_taken_from_everybody,
    spending_survives_reopening, usage_is_charged_once, what_comes_late_is_charged_to_the_account,
    what_is_given_back_is_free_again,
};

/// Calls `$each!(name)` for every part of the contract.
#[macro_export]
macro_rules! for_each_ledger_test {
    ($each:ident) => {
        $each! { ledger:
            a_cap_holds_for_all_who_ask
            a_forgotten_user_is_in_no_record
            spending_is_grouped_by_what_is_asked
            a_slice_whose_holder_is_gone_is_worth_its_records
            accounts_and_periods_are_apart
            any_sequence_of_commands_ends_as_in_the_model
            more_than_was_foreseen_is_taken_from_everybody
            parallel_askers_never_exceed_the_cap
            parallel_commands_lose_no_micro_dollar
            reused_answers_are_counted_once_and_shown_with_the_rest
            spending_survives_reopening
            usage_is_charged_once
            usage_is_summed_by_day_key_and_model
            what_comes_late_is_charged_to_the_account
            what_is_given_back_is_free_again
        }
    };
}

/// `seconds` after the suite's beginning of time, which is the noon of 2026-01-31.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_769_860_800_000).plus(Duration::from_secs(seconds))
}

fn day() -> Period {
    Per::Day.period(at(0))
}

fn holder(instance: &str, life: &str) -> Holder {
    Holder { instance: instance.into(), life: life.into() }
}

/// Of the first life of `instance`, today.
fn slice(account: &str, instance: &str) -> SliceId {
    SliceId { account: account.into(), period: day(), holder: holder(instance, "1") }
}

/// At second 0, until second 100, with a cap of 1,000.
fn ask(slice: &SliceId, need: i64, want: i64) -> Ask {
    let (need, want) = (MicroUsd(need), MicroUsd(want));
    Ask { slice: slice.clone(), cap: MicroUsd(1_000), need, want, now: at(0), expires: at(100) }
}

fn record(number: u64) -> UsageRecord {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    UsageRecord {
        id: UsageId::new(at(number), random),
        at: at(number),
        call_id: format!("call-{number}"),
        tenant: "main".to_owned(),
        key: "ci".to_owned(),
        user: Some("ada".to_owned()),
        team: None,
        session: Some("s-1".to_owned()),
        run: None,
        model: "fast".to_owned(),
        target: Some("openai/gpt-4o-mini".to_owned()),
        status: "success".to_owned(),
        tokens: Tokens { input: 100, cached: 40, output: 20, reasoning: 5 },
        cost: MicroUsd(7),
        estimated: MicroUsd(2),
        latency: Duration::from_micros(123_456),
        first_token: Some(Duration::from_millis(20)),
        cache: Cache::Miss,
        attempts: 1,
    }
}

/// Record `number`, which charges `amount` to `slice`.
fn spends(number: u64, slice: &SliceId, amount: i64) -> Entry {
    let amount = MicroUsd(amount);
    let record = UsageRecord { cost: amount, estimated: MicroUsd(0), ..record(number) };
    let charges = vec![Charge { slice: Arc::new(slice.clone()), amount }];
    Entry { record: Arc::new(record), charges }
}

async fn assert_balance(store: &impl Ledger, account: &str, spent: i64, held: i64) {
    let expected = Balance { spent: MicroUsd(spent), held: MicroUsd(held) };
    assert_eq!(store.balance(account, day()).await.unwrap(), expected, "{account}");
}
