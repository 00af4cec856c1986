//! What comes after a fault: recovery, and letting go.

use agentry_testkit::vendor::{Ending, Reply};

use super::{Case, Expected, Mode, Stage, alias, good};
use crate::support::wait_for;

/// Enough for a target to be left alone.
const FAILURES: usize = 8;

#[test]
fn whoever_recovers_is_asked_again() {
    let stage =
        Stage::set(&[Case::whole("recovers", vec![Reply::error(503)], Expected::a(1)).or_b()]);
    let call = || {
        let seen = stage.call(0, Mode::Whole);
        assert_eq!((seen.status, seen.code.as_deref()), (200, None), "somebody answers: {seen:?}");
        seen.header("x-agentry-target") == Some(&format!("a/{}", alias(0)))
    };
    for _ in 0..FAILURES {
        assert!(!call(), "A answered before it was well");
    }
    stage.a.script(&alias(0), vec![good().whole()]);
    wait_for("A to answer", || call().then_some(()));
}

#[test]
fn a_caller_that_goes_away_takes_its_upstream_call_along() {
    let stalls = good().stream().stops_after(2, Ending::Hang);
    let stage = Stage::set(&[Case::streamed("nobody reads on", vec![stalls], Expected::a(1))]);
    let mut caller = stage.server.connect();
    caller.send(&Stage::request(0, Mode::Streamed));
    caller.until("A says");
    assert_eq!(stage.a.connections(), 1);
    drop(caller);
    wait_for("the upstream call to end", || (stage.a.connections() == 0).then_some(()));
    wait_for("the call to be settled", || (stage.metrics().active() == 0).then_some(()));
    let metrics = stage.metrics();
    assert_eq!((metrics.cancelled(&alias(0)), metrics.succeeded(&alias(0))), (1, 0));
    assert_eq!(metrics.billed(&alias(0)), (0, 0));
}

#[test]
fn a_caller_that_does_not_wait_for_the_first_word_is_let_go_too() {
    let stage = Stage::set(&[Case::whole("nobody waits", vec![Reply::hangs()], Expected::a(1))]);
    let mut caller = stage.server.connect();
    caller.send(&Stage::request(0, Mode::Whole));
    wait_for("the upstream to be asked", || (stage.a.received().len() == 1).then_some(()));
    drop(caller);
    wait_for("the upstream call to end", || (stage.a.connections() == 0).then_some(()));
    wait_for("the call to be settled", || (stage.metrics().active() == 0).then_some(()));
    assert_eq!(stage.metrics().succeeded(&alias(0)), 0);
}
