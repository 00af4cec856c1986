//! From a call to its spans, in the words of OpenTelemetry's conventions for generative AI.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use agentry_gateway::{Failed, Status};

use crate::Provider;
use crate::otlp::{Event, Kind, Span, Value};
use crate::record::{Record, Tokens};
use crate::tracer::mixed;

/// All names that we use: those of the conventions first, then our own.
pub(crate) mod names {
    pub(crate) const OPERATION: &str = "gen_ai.operation.name";
    pub(crate) const PROVIDER: &str = "gen_ai.provider.name";
    pub(crate) const REQUEST_MODEL: &str = "gen_ai.request.model";
    pub(crate) const RESPONSE_MODEL: &str = "gen_ai.response.model";
    pub(crate) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
    pub(crate) const CACHED_INPUT_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
    pub(crate) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
    pub(crate) const CONVERSATION: &str = "gen_ai.conversation.id";
    pub(crate) const SERVER_ADDRESS: &str = "server.address";
    pub(crate) const SERVER_PORT: &str = "server.port";
    pub(crate) const ERROR_TYPE: &str = "error.type";

    pub(crate) const CALL_ID: &str = "agentry.call_id";
    pub(crate) const ENDPOINT: &str = "agentry.endpoint";
    pub(crate) const TENANT: &str = "agentry.tenant";
    pub(crate) const KEY: &str = "agentry.key";
    pub(crate) const TEAM: &str = "agentry.team";
    pub(crate) const RUN: &str = "agentry.run";
    pub(crate) const TARGET: &str = "agentry.target";
    pub(crate) const STATUS: &str = "agentry.status";
    pub(crate) const CACHE: &str = "agentry.cache";
    pub(crate) const COST: &str = "agentry.cost_usd";
    pub(crate) const ATTEMPTS: &str = "agentry.attempts";
    pub(crate) const FALLBACKS: &str = "agentry.fallbacks";
    pub(crate) const FIRST_TOKEN: &str = "agentry.first_token";

    pub(crate) const WORKFLOW: &str = "gen_ai.workflow.name";
    pub(crate) const EXECUTION: &str = "agentry.execution";
    pub(crate) const END: &str = "agentry.end";
    pub(crate) const COMMITS: &str = "agentry.commits";
    pub(crate) const NODE: &str = "agentry.node";
    pub(crate) const NAMESPACE: &str = "agentry.namespace";
    pub(crate) const ATTEMPT: &str = "agentry.attempt";
}

/// The call's own span, and one below it for each attempt when there was more than one.
pub(crate) fn spans(record: &Record, providers: &HashMap<String, Provider>, into: &mut Vec<Span>) {
    let start = record.ended.minus(record.latency);
    let at = |after: Duration| start.plus(after);
    let operation = operation(record.endpoint);
    let mut attributes = vec![
        (names::OPERATION, Value::from(operation)),
        (names::REQUEST_MODEL, Value::from(&*record.model)),
        (names::STATUS, Value::from(record.status.as_str())),
        (names::ENDPOINT, Value::from(record.endpoint)),
        (names::CALL_ID, Value::from(&*record.call_id)),
        (names::TENANT, Value::from(&*record.caller.tenant)),
        (names::KEY, Value::from(&*record.caller.name)),
        (names::ATTEMPTS, Value::from(u64::from(record.attempts))),
    ];
    let mut set = |name, value: Option<Value>| attributes.extend(value.map(|value| (name, value)));
    set(names::TEAM, record.caller.team.as_deref().map(Value::from));
    set(names::CONVERSATION, record.session.as_deref().map(Value::from));
    set(names::RUN, record.run.as_deref().map(Value::from));
    set(names::CACHE, record.found.map(|found| Value::from(found.as_str())));
    set(names::COST, record.cost.map(|cost| Value::Double(cost.0 as f64 / 1e6)));
    let fallbacks = u64::from(record.fallbacks);
    set(names::FALLBACKS, (fallbacks > 0).then_some(Value::from(fallbacks)));
    if let Some(Tokens { input, cached_input, output }) = record.tokens {
        set(names::INPUT_TOKENS, Some(Value::from(input)));
        set(names::CACHED_INPUT_TOKENS, (cached_input > 0).then_some(Value::from(cached_input)));
        set(names::OUTPUT_TOKENS, Some(Value::from(output)));
    }
    let error = error(record.status);
    set(names::ERROR_TYPE, error.map(Value::from));
    if let Some(target) = &record.target {
        attributes.extend(of_target(target, providers));
    }
    let told = record.first_token.map(|after| Event { name: names::FIRST_TOKEN, at: at(after) });
    into.push(Span {
        trace: record.trace,
        name: format!("{operation} {}", record.model),
        kind: Kind::Client,
        start,
        end: record.ended,
        attributes,
        events: told.into_iter().collect(),
        links: Vec::new(),
        error: error.map(Cow::Borrowed),
    });
    if !record.failed.is_empty() && record.attempts > 1 {
        attempts(record, providers, into);
    }
}

fn attempts(record: &Record, providers: &HashMap<String, Provider>, into: &mut Vec<Span>) {
    let start = record.ended.minus(record.latency);
    let operation = operation(record.endpoint);
    let mut push =
        |target: &str, (began, ended): (Duration, Duration), error: Option<&'static str>| {
            let number = into.len() as u64;
            let mut attributes = of_target(target, providers);
            attributes.push((names::OPERATION, Value::from(operation)));
            attributes.extend(error.map(|error| (names::ERROR_TYPE, Value::from(error))));
            into.push(Span {
                trace: record.trace.child(mixed(record.trace.span ^ mixed(number))),
                name: format!("attempt {target}"),
                kind: Kind::Client,
                start: start.plus(began),
                end: start.plus(ended),
                attributes,
                events: Vec::new(),
                links: Vec::new(),
                error: error.map(Cow::Borrowed),
            });
        };
    for Failed { target, began, ended, code } in &record.failed {
        push(target, (*began, *ended), Some(code.0));
    }
    // The last one is among those that failed, unless it was answered or the caller went away.
    let is_open = (record.failed.len() as u64) < u64::from(record.attempts);
    if let Some(target) = record.target.as_deref().filter(|_| is_open) {
        push(target, (record.asked_after, record.latency), error(record.status));
    }
}

fn operation(endpoint: &str) -> &'static str {
    match endpoint {
        "embeddings" => "embeddings",
        _ => "chat",
    }
}

/// Nothing when all is well; that a caller goes away is nobody's error.
fn error(status: Status) -> Option<&'static str> {
    match status {
        Status::Answered | Status::Cancelled => None,
        Status::Failed(code) => Some(code.0),
    }
}

fn of_target(target: &str, providers: &HashMap<String, Provider>) -> Vec<(&'static str, Value)> {
    let (provider, model) = target.split_once('/').unwrap_or((target, target));
    let mut attributes =
        vec![(names::TARGET, Value::from(target)), (names::RESPONSE_MODEL, Value::from(model))];
    match providers.get(provider) {
        None => attributes.push((names::PROVIDER, Value::from(provider))),
        Some(Provider { name, address, port }) => {
            attributes.push((names::PROVIDER, Value::from(name.as_str())));
            attributes.push((names::SERVER_ADDRESS, Value::from(address.as_str())));
            attributes.extend(port.map(|port| (names::SERVER_PORT, Value::from(u64::from(port)))));
        }
    }
    attributes
}
