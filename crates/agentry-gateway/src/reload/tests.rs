use std::time::Duration;

use agentry_balance::{Condition, LimitSettings};
use agentry_core::chat::{ChatRequest, Event, FinishReason, Head, Message};
use agentry_core::model::{CallContext, Capabilities, ChatModel, ChatStream, ModelError, collect};
use agentry_core::{Caller, Clock, Timestamp};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use tokio::sync::Notify;

use super::*;
use crate::cache::levels::tests::Silent;
use crate::cache::{Cache, FarSettings, Levels, Settings as CacheSettings};
use crate::limit::Limits;
use crate::{Caching, Call, Found, Observer, Settled, Surroundings};

/// Says its name, or fails when it has none. The last word waits until it may be said.
struct Actor {
    name: &'static str,
    last_word: Option<Arc<Notify>>,
}

#[async_trait]
impl ChatModel for Actor {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn stream(&self, _: &CallContext, _: ChatRequest) -> Result<ChatStream, ModelError> {
        if self.name.is_empty() {
            return Err(ModelError::Unavailable { message: "down".to_owned(), after: None });
        }
        let begins = [
            Event::Started(Head::default()),
            Event::Text { choice: 0, text: self.name.to_owned() },
        ];
        let ends = [Event::Finished { choice: 0, reason: FinishReason::Stop }, Event::Done];
        let wait = self.last_word.clone();
        let wait = stream::once(async move {
            if let Some(wait) = wait {
                wait.notified().await;
            }
        });
        let ends = wait.flat_map(move |()| stream::iter(ends.clone()));
        Ok(stream::iter(begins).chain(ends).map(Ok).boxed())
    }
}

fn actor(name: &'static str) -> Arc<dyn ChatModel> {
    Arc::new(Actor { name, last_word: None })
}

struct Deaf;

impl Observer for Deaf {
    fn started(&self, _: &Call<'_>) {}
    fn settled(&self, _: &Settled<'_>) {}
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(43_200)
    }
}

fn alias(name: &str, upstreams: &[(&str, &Arc<dyn ChatModel>)]) -> Alias {
    let targets = upstreams.iter().map(|(model, upstream)| {
        let limit = Some(LimitSettings::default());
        Target { limit, ..Target::new("p", *model, Arc::clone(upstream)) }
    });
    Alias { retries: 0, ..Alias::new(name, targets.collect()) }
}

fn gateway(aliases: Vec<Alias>, policies: Policies) -> Gateway {
    let around = Surroundings::new(Arc::new(Deaf), Arc::new(Noon), 7);
    Gateway::new(aliases, Surroundings { policies, ..around }).unwrap()
}

fn with(aliases: Vec<Alias>) -> Replacement {
    Replacement { aliases, targets: TargetSettings::default(), rules: Vec::new(), guards: None }
}

async fn reload(gateway: &Gateway, replacement: Replacement) {
    let prepared = gateway.prepare(replacement).unwrap();
    gateway.replace(prepared).await;
}

async fn stream(
    gateway: &Gateway,
    cx: &CallContext,
    model: &str,
) -> Result<crate::Outcome, crate::Error> {
    let request = ChatRequest {
        model: model.to_owned(),
        messages: vec![Message::user("hi")],
        stream: true,
        ..ChatRequest::default()
    };
    gateway.call(cx, request).await
}

/// Who answers, and what the cache had; or the code of the failure.
async fn asked(gateway: &Gateway, model: &str) -> Result<(String, Found), &'static str> {
    use agentry_core::Failure as _;
    let outcome = stream(gateway, &CallContext::new("call", "test"), model).await;
    let outcome = outcome.map_err(|error| error.code().0)?;
    let found = outcome.found;
    let response = collect(outcome.answer.into_stream().unwrap()).await.unwrap();
    Ok((response.text(), found))
}

#[tokio::test]
async fn calls_under_way_finish_on_what_they_began_with() {
    let last_word = Arc::new(Notify::new());
    let slow: Arc<dyn ChatModel> =
        Arc::new(Actor { name: "old", last_word: Some(Arc::clone(&last_word)) });
    let gateway = gateway(vec![alias("m", &[("a", &slow)])], Policies::default());
    let cx = CallContext::new("call", "test");
    let under_way = stream(&gateway, &cx, "m").await.unwrap().answer.into_stream().unwrap();
    let new = actor("new");
    reload(&gateway, with(vec![alias("m", &[("b", &new)]), alias("n", &[("b", &new)])])).await;
    assert_eq!(asked(&gateway, "m").await.unwrap().0, "new");
    assert_eq!(asked(&gateway, "n").await.unwrap().0, "new");
    assert_eq!(asked(&gateway, "p/a").await, Err("model_not_found"));
    last_word.notify_one();
    assert_eq!(collect(under_way).await.unwrap().text(), "old");
}

#[tokio::test]
async fn what_is_known_of_a_target_goes_on_while_it_is_the_same() {
    let (down, other) = (actor(""), actor("so"));
    let gateway = gateway(vec![alias("m", &[("a", &down)])], Policies::default());
    for _ in 0..5 {
        assert!(asked(&gateway, "m").await.is_err());
    }
    let condition = || gateway.targets()[0].1.condition;
    let limit = LimitSettings { max: 7, ..LimitSettings::default() };
    let bounded = |mut alias: Alias| {
        alias.targets.iter_mut().for_each(|target| target.limit = Some(limit));
        alias
    };
    let same = || alias("m", &[("a", &down)]);
    for (now, expected) in [
        (Alias { retries: 3, ..same() }, Condition::Unhealthy),
        (alias("another name", &[("a", &down)]), Condition::Unhealthy),
        (bounded(same()), Condition::Healthy),
        (same(), Condition::Unhealthy),
        (alias("m", &[("a", &other)]), Condition::Healthy),
    ] {
        assert_eq!(condition(), Condition::Unhealthy);
        reload(&gateway, with(vec![now])).await;
        assert_eq!(condition(), expected);
        // As it was for the next round.
        reload(&gateway, with(vec![same()])).await;
        while condition() != Condition::Unhealthy {
            assert!(asked(&gateway, "m").await.is_err());
        }
    }
}

#[tokio::test]
async fn what_keys_have_used_is_not_forgotten() {
    let now = tokio::time::Instant::now().into_std();
    let policies = Policies { limits: Some(Arc::new(Limits::local(now))), ..Policies::default() };
    let upstream = actor("so");
    let gateway = gateway(vec![alias("m", &[("a", &upstream)])], policies);
    let limits = agentry_core::caller::Limits { rpm: Some(2), ..Default::default() };
    let caller = Arc::new(Caller { limits, ..Caller::named("ci") });
    let cx = CallContext::of(Arc::clone(&caller), "call", "test");
    drop(stream(&gateway, &cx, "m").await.unwrap());
    reload(&gateway, with(vec![alias("m", &[("b", &upstream)])])).await;
    assert_eq!(gateway.standings(&caller).requests.unwrap().remaining, 1);
    drop(stream(&gateway, &cx, "m").await.unwrap());
    assert!(matches!(stream(&gateway, &cx, "m").await, Err(crate::Error::Limited(_))));
}

#[tokio::test]
async fn answers_are_kept_of_models_that_mean_the_same() {
    let now = tokio::time::Instant::now().into_std();
    let settings = CacheSettings { bytes_max: 8 << 20, ttl: Duration::from_secs(60) };
    let cache = Arc::new(Cache::new(settings, now));
    let cache = Some(Caching::new(Arc::new(Levels::local(cache))));
    let (one, two) = (actor("one"), actor("two"));
    let policies = Policies { cache, ..Policies::default() };
    let aliases = |second: &Arc<dyn ChatModel>| {
        vec![alias("same", &[("a", &one)]), alias("other", &[("b", second)])]
    };
    let gateway = gateway(aliases(&one), policies);
    let check = async |model: &str, says: &str, found: Found| {
        assert_eq!(asked(&gateway, model).await, Ok((says.to_owned(), found)), "{model}");
    };
    for found in [Found::Miss, Found::Hit] {
        check("same", "one", found).await;
        check("other", "one", found).await;
    }
    reload(&gateway, with(aliases(&two))).await;
    check("same", "one", Found::Hit).await;
    check("other", "two", Found::Miss).await;
    reload(&gateway, with(aliases(&two))).await;
    check("other", "two", Found::Hit).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_of_before_is_answered_while_a_shared_store_hangs() {
    let now = tokio::time::Instant::now().into_std();
    let settings = CacheSettings { bytes_max: 8 << 20, ttl: Duration::from_secs(60) };
    let cache = Arc::new(Cache::new(settings, now));
    let (levels, upkeep) = Levels::shared(cache, Arc::new(Silent), FarSettings::default());
    drop(upkeep);
    let policies = Policies { cache: Some(Caching::new(Arc::new(levels))), ..Policies::default() };
    let (one, two) = (actor("one"), actor("two"));
    let aliases = |upstream: &Arc<dyn ChatModel>| {
        ["a", "b", "c"].map(|name| alias(name, &[(name, upstream)])).into()
    };
    let gateway = gateway(aliases(&one), policies);
    let check = async |says: &str, found: Found| {
        for name in ["a", "b", "c"] {
            assert_eq!(asked(&gateway, name).await, Ok((says.to_owned(), found)), "{name}");
        }
    };
    check("one", Found::Miss).await;
    check("one", Found::Hit).await;
    let prepared = gateway.prepare(with(aliases(&two))).unwrap();
    let mut replacing = std::pin::pin!(gateway.replace(prepared));
    assert!(futures_util::poll!(replacing.as_mut()).is_pending());
    check("two", Found::Miss).await;
}

#[tokio::test]
async fn what_is_wrong_changes_nothing() {
    let upstream = actor("so");
    let gateway = gateway(vec![alias("m", &[("a", &upstream)])], Policies::default());
    let problems = |aliases| match gateway.prepare(with(aliases)) {
        Ok(_) => panic!("it is wrong"),
        Err(Misconfigured { problems }) => problems.len(),
    };
    let lost = Alias { fallbacks: vec!["x".to_owned()], ..alias("m", &[("a", &upstream)]) };
    assert_eq!(problems(vec![alias("n", &[]), lost]), 2);
    let weightless = |mut alias: Alias| {
        alias.targets.iter_mut().for_each(|target| target.weight = 0);
        alias
    };
    assert_eq!(problems(vec![weightless(alias("n", &[("a", &upstream)]))]), 1);
    // What is good and was not put in force changes nothing either.
    drop(gateway.prepare(with(vec![alias("n", &[("a", &upstream)])])).unwrap());
    assert_eq!(gateway.models()[0].name, "m");
    assert_eq!(asked(&gateway, "m").await.unwrap().0, "so");
}
