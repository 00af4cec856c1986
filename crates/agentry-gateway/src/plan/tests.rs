use std::sync::Arc;

use agentry_core::chat::ChatRequest;
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream};
use async_trait::async_trait;

use super::*;

struct Nobody;

#[async_trait]
impl ChatModel for Nobody {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn stream(&self, _: &CallContext, _: ChatRequest) -> Result<ChatStream, ModelError> {
        Err(ModelError::Truncated)
    }
}

fn alias(targets: usize, retries: u32) -> Alias {
    let targets = (0..targets).map(|at| Target {
        provider: "p".to_owned(),
        model: at.to_string(),
        upstream: Arc::new(Nobody),
        price: None,
    });
    Alias { retries, ..Alias::new("a", targets.collect()) }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Which targets are asked when each answers with the error at its place, and whether there was a wait before each.
#[track_caller]
fn check(alias: &Alias, errors: &[ModelError], expected: &[(&str, bool)]) {
    let mut plan = Plan::new(alias, "call");
    let mut asked = vec![(plan.target(alias).unwrap().model.clone(), false)];
    for error in errors {
        let Some(wait) = plan.after(error, MINUTE) else { break };
        asked.push((plan.target(alias).unwrap().model.clone(), !wait.is_zero()));
    }
    let asked: Vec<_> = asked.iter().map(|(model, waited)| (model.as_str(), *waited)).collect();
    assert_eq!(asked, expected);
    assert_eq!(plan.attempts() as usize, expected.len());
}

fn down() -> ModelError {
    ModelError::Unavailable { message: String::new(), after: None }
}

fn refused() -> ModelError {
    ModelError::Unauthorized { message: String::new() }
}

fn invalid() -> ModelError {
    ModelError::Invalid { message: String::new(), param: None, upstream_code: None }
}

#[test]
fn a_single_target_is_asked_again_after_a_pause() {
    let errors = [down(), down(), down(), down()];
    check(&alias(1, 2), &errors, &[("0", false), ("0", true), ("0", true)]);
    check(&alias(1, 0), &errors, &[("0", false)]);
    check(&alias(1, 2), &[refused()], &[("0", false)]);
    check(&alias(1, 2), &[down(), refused()], &[("0", false), ("0", true)]);
}

#[test]
fn the_next_target_is_asked_at_once_and_all_are_asked() {
    let errors = [down(), down(), down(), down()];
    check(&alias(3, 0), &errors, &[("0", false), ("1", false), ("2", false)]);
    check(&alias(2, 3), &errors, &[("0", false), ("1", false), ("0", true), ("1", false)]);
}

#[test]
fn a_target_that_never_will_is_not_asked_again() {
    let errors = [refused(), down(), down()];
    check(&alias(2, 3), &errors, &[("0", false), ("1", false), ("1", true), ("1", true)]);
    check(&alias(2, 9), &[refused(), refused()], &[("0", false), ("1", false)]);
    let unknown = ModelError::UnknownModel { model: String::new(), message: String::new() };
    check(&alias(2, 0), &[unknown], &[("0", false), ("1", false)]);
}

#[test]
fn a_request_that_is_wrong_is_wrong_everywhere() {
    check(&alias(3, 9), &[invalid()], &[("0", false)]);
    check(&alias(3, 9), &[down(), invalid()], &[("0", false), ("1", false)]);
}

#[test]
fn a_pause_respects_the_upstream_and_ends_before_the_deadline() {
    let alias = alias(1, 9);
    let limited = |secs| ModelError::RateLimited {
        message: String::new(),
        after: Some(Duration::from_secs(secs)),
    };
    let mut plan = Plan::new(&alias, "call");
    assert_eq!(plan.after(&limited(7), MINUTE), Some(Duration::from_secs(7)));
    assert_eq!(plan.after(&limited(60), MINUTE), None);
    assert_eq!(plan.after(&down(), Duration::ZERO), None);
    assert_eq!(plan.attempts(), 2);
}

#[test]
fn pauses_grow_to_a_limit_and_differ_between_calls() {
    let alias = alias(1, 40);
    let waits = |call_id: &str| {
        let mut plan = Plan::new(&alias, call_id);
        (0..40).map(|_| plan.after(&down(), MINUTE).unwrap()).collect::<Vec<_>>()
    };
    let (one, other) = (waits("one"), waits("other"));
    assert_ne!(one, other);
    assert_eq!(one, waits("one"));
    for (round, wait) in one.iter().enumerate() {
        let most = BACKOFF.saturating_mul(1 << round.min(20)).min(BACKOFF_MAX);
        assert!((most / 2..=most).contains(wait), "round {round}: {wait:?}");
    }
}
