use agentry_core::MicroUsd;

use super::*;

const CAP: i64 = 6_400;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn grant(amount: i64, opened: i64, free: i64) -> Grant {
    Grant {
        granted: MicroUsd(0),
        amount: MicroUsd(amount),
        spent: MicroUsd(0),
        opened: at(opened),
        version: 1,
        free: MicroUsd(free),
    }
}

fn pot(amount: i64) -> Pot {
    let mut pot = Pot::default();
    pot.granted(&grant(amount, 1, CAP - amount), 0);
    pot
}

#[test]
fn nothing_is_taken_twice_and_what_was_not_spent_is_there_again() {
    let mut pot = pot(100);
    assert_eq!(pot.take(60, at(2), 0), Ok(()));
    assert_eq!(pot.take(60, at(2), 0), Err(Short::Ask));
    assert_eq!(pot.take(40, at(2), 0), Ok(()));
    pot.put_back(40);
    assert_eq!(pot.spend(60, 25), 0);
    assert_eq!(pot.available(), 75);
    assert!(!pot.is_quiet(), "there is no record of it");
    pot.recorded(25);
    assert!(pot.is_quiet());
    assert_eq!(pot.take(75, at(2), 0), Ok(()));
    assert_eq!(pot.spend(75, 95), 20, "more than there is");
    assert_eq!(pot.wish(5, 5, (CAP, 0)), Wish { need: 25, want: 125 });
}

#[test]
fn a_slice_that_was_lost_is_not_spent_until_it_is_asked_for_anew() {
    let mut pot = pot(100);
    pot.take(10, at(2), 0).unwrap();
    assert_eq!(pot.take(10, at(2), 1), Err(Short::Ask));
    assert_eq!(pot.wish(10, 10, (CAP, 1)), Wish { need: 0, want: 0 });
    // It was there after all.
    pot.granted(&grant(100, 1, 0), 1);
    assert_eq!(pot.available(), 90);
    pot.spend(10, 4);
    // Now it is another one, to which the record that is still to come will be charged.
    pot.granted(&grant(50, 9, 0), 2);
    assert_eq!(pot.available(), 46);
}

#[test]
fn what_a_former_holder_of_the_same_slice_has_spent_is_spent() {
    let mut pot = Pot::default();
    assert_eq!(pot.take(0, at(1), 0), Err(Short::Ask), "nobody knows what there is");
    pot.granted(&Grant { spent: MicroUsd(30), ..grant(100, 1, 0) }, 0);
    assert_eq!(pot.available(), 70);
}

#[test]
fn the_ledger_is_not_asked_again_at_once_for_what_it_did_not_have() {
    let mut pot = pot(10);
    pot.refuse(50, at(1_000));
    assert_eq!(pot.take(50, at(1_249), 0), Err(Short::Refused));
    assert_eq!(pot.take(49, at(1_249), 0), Err(Short::Ask), "it may have as much");
    assert_eq!(pot.take(50, at(1_250), 0), Err(Short::Ask));
    pot.take(10, at(1_000), 0).unwrap();
    pot.spend(10, 3);
    assert_eq!(pot.take(50, at(1_001), 0), Err(Short::Ask), "something came back");
}

#[test]
fn what_is_left_over_is_given_back_when_others_may_need_it() {
    let check = |amount: i64, free: i64, taken_at: i64, surplus: i64, left: i64| {
        let mut pot = pot(amount);
        pot.granted(&grant(amount, 1, free), 0);
        pot.take(0, at(taken_at), 0).unwrap();
        assert_eq!(pot.take_surplus(CAP, at(60_000)), surplus);
        assert_eq!(pot.available(), left);
    };
    check(90, 0, 59_000, 90, 0);
    check(90, 0, 59_001, 0, 90);
    check(90, 5_000, 30_001, 0, 90);
    check(90, 5_000, 30_000, 90, 0);
    check(900, 5_000, 60_000, 700, 200);
}

#[test]
fn a_warning_is_given_once() {
    let mut pot = pot(100);
    assert_eq!(pot.warns(CAP, 80), None);
    pot.granted(&grant(100, 1, 1_200), 0);
    assert_eq!(pot.warns(CAP, 80), None, "5,100 are used by others");
    pot.granted(&grant(100, 1, 1_100), 0);
    assert_eq!(pot.warns(CAP, 80), Some(5_200));
    assert_eq!(pot.warns(CAP, 80), None);
}
