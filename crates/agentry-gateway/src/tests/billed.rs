//! What calls are charged to a budget, whichever way they end.

use agentry_backends::memory::MemoryStore;
use agentry_core::caller::Limits;
use agentry_core::keys::Budget;
use agentry_core::ledger::{Holder, Per};
use agentry_testkit::FakeClock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::money::{self, Watcher};

struct Deaf;

impl Watcher for Deaf {
    fn happened(&self, _: &money::Event<'_>) {}
}

async fn books() -> Policies {
    let settings = money::Settings::new(Holder { instance: "one".into(), life: "1".into() });
    let opened = money::open(
        Arc::new(MemoryStore::new()),
        Arc::new(FakeClock::default()),
        Arc::new(Deaf),
        settings,
    );
    let (budgets, usage, keeper) = opened.await.unwrap();
    let rules = Vec::new();
    TaskTracker::new().spawn(keeper.run(CancellationToken::new()));
    Policies { books: Some(Books { budgets, usage, rules }), ..Policies::default() }
}

/// May spend a dollar.
fn caller() -> CallContext {
    with_cap(1_000_000)
}

fn with_cap(cap: i64) -> CallContext {
    let budgets = vec![Budget { per: Per::Total, cap: MicroUsd(cap) }];
    let limits = Limits { budgets, ..Limits::default() };
    let caller = Caller { limits, ..Caller::named("ci") };
    CallContext::of(Arc::new(caller), "call", "test")
}

/// Whose models write no more than 100 tokens.
async fn stage(lines: Vec<Vec<Line>>) -> Stage {
    Stage::under(books().await, lines, |alias| {
        alias.retries = 0;
        alias.first_token_timeout = SHORT;
        alias.targets.iter_mut().for_each(|target| target.output_tokens_max = Some(100));
    })
}

/// What the calls here cost at most.
const HELD: &str = "297";
const HELD_WHOLE: &str = "283";

#[tokio::test]
async fn whoever_hangs_up_owes_for_all_that_may_have_been_written() {
    let so_far = || Ok(Event::Usage(Usage::new(10, 1)));
    let finished = || Ok(Event::Finished { choice: 0, reason: FinishReason::Stop });
    let check = async |items: Vec<Result<Event, ModelError>>, cost: &str| {
        let stage = stage(vec![vec![Line::Says(items.clone(), Then::Hangs)]]).await;
        let outcome = stage.call_by(&caller(), "m", true).await.unwrap();
        let Answer::Streamed(mut stream) = outcome.answer else { panic!("answered whole") };
        for _ in &items {
            stream.next().await.unwrap().unwrap();
        }
        drop(stream);
        let settled = stage.settled();
        assert!(settled[0].ends_with(&format!(" tokens {cost}")), "{settled:?}");
    };
    check(vec![begins(), says("so")], HELD).await;
    check(vec![begins(), so_far(), says("so")], HELD).await;
    check(vec![begins(), so_far(), says("so"), finished()], "12").await;
    check(vec![begins(), says("so"), finished(), so_far()], "12").await;
    check(vec![begins(), says("so"), finished()], HELD).await;
}

#[tokio::test]
async fn what_may_have_been_billed_is_charged_whatever_was_refused_afterwards() {
    let limited = || Line::Refuses(ModelError::RateLimited { message: String::new(), after: None });
    let check = async |first: Line, second: Line, cost: &str| {
        let stage = stage(vec![vec![first], vec![second]]).await;
        assert!(stage.call_by(&caller(), "m", true).await.is_err());
        let settled = stage.settled();
        assert!(settled[0].ends_with(&format!(" x2 0 tokens {cost}")), "{settled:?}");
    };
    check(Line::Hangs, limited(), HELD).await;
    check(limited(), Line::Hangs, HELD).await;
    check(limited(), limited(), "-").await;
}

/// What reading a request costs here at most.
const READ: i64 = 97;

#[tokio::test]
async fn whoever_was_given_up_is_paid_for_what_it_has_read() {
    let limited = || Line::Refuses(ModelError::RateLimited { message: String::new(), after: None });
    let cut = || Line::Says(vec![begins()], Then::Ends);
    let check = async |mut lines: Vec<Line>, cap: i64, expected: (&str, i64)| {
        // Of three, the last one is asked before the second.
        if let [_, second, third] = lines.as_mut_slice() {
            std::mem::swap(second, third);
        }
        let lines = lines.into_iter().map(|line| vec![line]).collect();
        let stage = stage(lines).await;
        if let Ok(outcome) = stage.call_by(&with_cap(cap), "m", true).await {
            let stream = outcome.answer.into_stream().unwrap();
            drop(agentry_core::model::collect(stream).await);
        }
        let settled = stage.settled();
        assert_eq!(settled, [expected.0]);
        assert_eq!(*stage.book.estimated.lock().unwrap(), [expected.1]);
    };
    let held: i64 = HELD.parse().unwrap();
    let (one, two) = (held + READ, held + 2 * READ);
    let good = || whole("so");
    let (once, twice) = ("m success p/1 x2 13 tokens 24", "m success p/1 x3 13 tokens 34");
    check(vec![Line::Hangs, good()], one, (once, 10)).await;
    check(vec![cut(), good()], one, (once, 10)).await;
    check(vec![limited(), good()], held, ("m success p/1 x2 13 tokens 14", 0)).await;
    check(vec![Line::Hangs, cut(), good()], two, (twice, 20)).await;
    let last = "m success p/1 x3 13 tokens 24";
    check(vec![Line::Hangs, limited(), good()], one, (last, 10)).await;
    // What nobody has answered is not known at all: all that was held is charged.
    let unknown = format!("m model_timed_out p/1 x2 0 tokens {one}");
    check(vec![cut(), Line::Hangs], one, (&unknown, one)).await;
    let refused = format!("m model_rate_limited p/1 x3 0 tokens {one}");
    check(vec![cut(), Line::Hangs, limited()], two, (&refused, one)).await;
    // Where that is not to be had as well, nobody else is asked.
    let dry = format!("m budget_exceeded p/0 x1 0 tokens {HELD}");
    check(vec![Line::Hangs, good()], one - 1, (&dry, held)).await;
}

/// As if nobody had room but for one at a time.
fn narrow(alias: &mut Alias) {
    let one = agentry_balance::LimitSettings { initial: 1, min: 1, max: 1 };
    for target in &mut alias.targets {
        (target.output_tokens_max, target.limit) = (Some(100), Some(one));
    }
}

#[tokio::test]
async fn who_waits_for_a_place_and_goes_away_owes_nothing() {
    let hangs = Line::Says(vec![begins(), says("so")], Then::Hangs);
    let stage = Stage::under(books().await, vec![vec![hangs]], narrow);
    let caller = caller();
    let first = stage.call_by(&caller, "m", true).await.unwrap();
    let mut second = std::pin::pin!(stage.call_by(&caller, "m", true));
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    let room = || stage.gateway.targets()[0].1.limit.map(|limit| limit.waiting);
    while room() != Some(1) {
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    second.set(stage.call_by(&caller, "m", true));
    assert_eq!(stage.settled_so_far(), ["m cancelled - x0 0 tokens -"]);
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn company_that_there_was_no_room_for_costs_nothing() {
    let answers = |last| (0..30).map(|_| whole("hello")).chain([last]).collect::<Vec<_>>();
    let late = Line::Late(Duration::from_millis(500), Box::new(whole("hello")));
    let taken = Line::Says(vec![begins(), says("so")], Then::Hangs);
    let stage = Stage::new(vec![answers(late), answers(taken)], |alias| {
        narrow(alias);
        alias.hedge = true;
    });
    for _ in 0..60 {
        let stream = stage.call("m", true).await.unwrap().answer.into_stream().unwrap();
        agentry_core::model::collect(stream).await.unwrap();
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    let taken = stage.call("p/1", true).await.unwrap();
    let stream = stage.call("m", true).await.unwrap().answer.into_stream().unwrap();
    agentry_core::model::collect(stream).await.unwrap();
    assert_eq!(stage.settled_so_far().last().unwrap(), "m success p/0 x1 13 tokens 14");
    drop(taken);
}

#[tokio::test]
async fn a_bill_that_nobody_can_believe_frees_nobody_from_paying() {
    let check = async |usage: Usage, cost: &str, goes_on: bool| {
        let items = vec![
            begins(),
            says("so"),
            Ok(Event::Finished { choice: 0, reason: FinishReason::Stop }),
            Ok(Event::Usage(usage)),
            Ok(Event::Done),
        ];
        let line = Line::Says(items, Then::Ends);
        let stage = stage(vec![vec![line; 3]]).await;
        let caller = caller();
        stage.call_by(&caller, "m", false).await.unwrap();
        let settled = stage.settled();
        assert!(settled[0].ends_with(&format!(" tokens {cost}")), "{settled:?}");
        for _ in 0..2 {
            assert_eq!(stage.call_by(&caller, "m", false).await.is_ok(), goes_on);
        }
    };
    check(Usage::new(0, 0), HELD_WHOLE, true).await;
    check(Usage::new(10, 0), "10", true).await;
    check(Usage::new(u64::MAX, u64::MAX), "30000000000000", false).await;
}

#[tokio::test]
async fn more_is_held_than_any_upstream_bills() {
    use agentry_core::relay::Dialect;
    use agentry_wire::head::Head;
    let check = async |content: &str, at_least: i64| {
        let line = Line::Says(vec![begins(), says("so")], Then::Hangs);
        let stage = stage(vec![vec![line]]).await;
        let body = format!(
            r#"{{"model":"m","stream":true,"max_tokens":1,"messages":[{{"role":"user","content":{content}}}]}}"#
        );
        let head = Head::read(Dialect::ChatCompletions, body.as_bytes()).unwrap();
        let wire = Wire::new(Dialect::ChatCompletions, head, body.into());
        drop(stage.gateway.call(&caller(), wire).await.unwrap());
        let settled = stage.settled();
        let charged = settled[0].rsplit(' ').next().unwrap().parse::<i64>().unwrap();
        assert!((at_least..at_least + 60_000).contains(&charged), "{settled:?}");
    };
    check(r#""hi""#, 18).await;
    let picture = r#"[{"type":"image_url","image_url":{"url":"https://a.b/c"}}]"#;
    check(picture, 50_000).await;
    check(&picture.replace("image", r"im\u0061ge"), 50_000).await;
}

#[tokio::test]
async fn a_long_request_has_a_price_of_its_own() {
    let check = async |over: u64, settled: &str| {
        let stage = Stage::new(vec![vec![whole("so")]], |alias| {
            for target in &mut alias.targets {
                let Price { input, cached_input, cache_write, output } = target.price.unwrap();
                let double = |MicroUsd(price): MicroUsd| MicroUsd(2 * price);
                let price = Price {
                    input: double(input),
                    cached_input: double(cached_input),
                    cache_write: double(cache_write),
                    output: double(output),
                };
                target.long = Some((over, price));
            }
        });
        stage.call("m", false).await.unwrap();
        assert_eq!(stage.settled(), [settled]);
    };
    check(10, "m success p/0 x1 13 tokens 14").await;
    check(9, "m success p/0 x1 13 tokens 28").await;
}
