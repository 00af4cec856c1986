use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use agentry_balance::Strategy;
use agentry_core::chat::{Event, FinishReason, Head, Message, Usage};
use agentry_core::keys::Priority;
use agentry_core::model::Waiting;
use agentry_core::{Code, Failure as _, MicroUsd, Retry, Timestamp, ledger};
use futures_util::{StreamExt as _, stream};

use super::*;

mod billed;
mod joined;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(40);

/// One target: what it does each time it is asked.
struct Actor {
    lines: Mutex<VecDeque<Line>>,
    asked: Mutex<Vec<String>>,
}

#[derive(Clone)]
enum Line {
    Refuses(ModelError),
    Hangs,
    /// Another line, after so long.
    Late(Duration, Box<Self>),
    /// These items, and then either its end or nothing more.
    Says(Vec<Result<Event, ModelError>>, Then),
}

#[derive(Clone, Copy, PartialEq)]
enum Then {
    Ends,
    Hangs,
}

#[async_trait]
impl ChatModel for Actor {
    fn capabilities(&self) -> Capabilities {
        Capabilities { tools: true, ..Capabilities::default() }
    }

    async fn stream(
        &self,
        cx: &CallContext,
        request: ChatRequest,
    ) -> Result<ChatStream, ModelError> {
        assert!(cx.deadline.is_some());
        self.asked.lock().unwrap().push(request.model);
        let line = self.lines.lock().unwrap().pop_front();
        let mut line = line.expect("a target was asked more often than it has lines");
        while let Line::Late(after, other) = line {
            tokio::time::sleep(after).await;
            line = *other;
        }
        match line {
            Line::Late(..) => unreachable!("it is over"),
            Line::Refuses(error) => Err(error),
            Line::Hangs => std::future::pending().await,
            Line::Says(items, Then::Ends) => Ok(stream::iter(items).boxed()),
            Line::Says(items, Then::Hangs) => {
                Ok(stream::iter(items).chain(stream::pending()).boxed())
            }
        }
    }
}

/// Writes down what it hears: the calls that began, and each settlement in one line.
#[derive(Default)]
struct Book {
    started: Mutex<Vec<String>>,
    settled: Mutex<Vec<String>>,
    /// Of each cost, the part that no upstream has told.
    estimated: Mutex<Vec<i64>>,
}

impl Observer for Book {
    fn started(&self, call: &Call<'_>) {
        self.started.lock().unwrap().push(format!("{} {}", call.model, call.endpoint));
    }

    fn settled(&self, settled: &Settled<'_>) {
        let Settled {
            call,
            status,
            target,
            attempts,
            usage,
            cost,
            estimated,
            latency,
            first_token,
            source,
            ..
        } = settled;
        self.estimated.lock().unwrap().push(estimated.0);
        let source = match source {
            ledger::Cache::Miss => "",
            ledger::Cache::Hit => " hit",
            ledger::Cache::Join => " join",
        };
        assert!(first_token.is_none_or(|first| first <= *latency));
        let status = match status {
            Status::Failed(Code(code)) => code,
            Status::Answered | Status::Cancelled => status.as_str(),
        };
        let tokens = usage.map_or(0, Usage::total_tokens);
        let cost = cost.map_or("-".to_owned(), |cost| cost.0.to_string());
        let target = target.unwrap_or("-");
        let line =
            format!("{} {status} {target} x{attempts} {tokens} tokens {cost}{source}", call.model);
        self.settled.lock().unwrap().push(line);
    }
}

fn around(observer: Arc<dyn Observer>) -> Surroundings {
    Surroundings::new(observer, Arc::new(Stopped), 7)
}

/// Of no interest here.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }
}

struct Stage {
    gateway: Gateway,
    book: Arc<Book>,
    actors: Vec<Arc<Actor>>,
}

impl Stage {
    /// A model `m` whose targets are `p/0`, `p/1`, … with these lines.
    fn new(lines: Vec<Vec<Line>>, change: impl Fn(&mut Alias)) -> Self {
        Self::under(Policies::default(), lines, change)
    }

    fn under(policies: Policies, lines: Vec<Vec<Line>>, change: impl Fn(&mut Alias)) -> Self {
        let actors: Vec<_> = lines
            .into_iter()
            .map(|lines| {
                Arc::new(Actor { lines: Mutex::new(lines.into()), asked: Mutex::default() })
            })
            .collect();
        let price = Price {
            input: MicroUsd(1_000_000),
            cached_input: MicroUsd(500_000),
            cache_write: MicroUsd(1_000_000),
            output: MicroUsd(2_000_000),
        };
        let targets = actors.iter().enumerate().map(|(at, actor)| Target {
            price: Some(price),
            ..Target::new("p", at.to_string(), Arc::clone(actor) as Arc<dyn ChatModel>)
        });
        let alias = Alias::new("m", targets.collect());
        let mut alias = Alias { timeout: LONG, strategy: Strategy::RoundRobin, ..alias };
        change(&mut alias);
        let book = Arc::new(Book::default());
        let observer = Arc::clone(&book) as Arc<dyn Observer>;
        let surroundings = Surroundings { policies, ..around(observer) };
        Self { gateway: Gateway::new(vec![alias], surroundings).unwrap(), book, actors }
    }

    async fn call(&self, model: &str, is_streamed: bool) -> Result<Outcome, Error> {
        self.call_by(&CallContext::new("call", "test"), model, is_streamed).await
    }

    async fn call_by(
        &self,
        cx: &CallContext,
        model: &str,
        is_streamed: bool,
    ) -> Result<Outcome, Error> {
        let request = ChatRequest {
            model: model.to_owned(),
            messages: vec![Message::user("hi")],
            stream: is_streamed,
            ..ChatRequest::default()
        };
        self.gateway.call(cx, request).await
    }

    fn settled(&self) -> Vec<String> {
        assert_eq!(
            self.book.started.lock().unwrap().len(),
            self.book.settled.lock().unwrap().len()
        );
        self.settled_so_far()
    }

    /// While other calls are under way.
    fn settled_so_far(&self) -> Vec<String> {
        self.book.settled.lock().unwrap().clone()
    }
}

fn says(text: &str) -> Result<Event, ModelError> {
    Ok(Event::Text { choice: 0, text: text.to_owned() })
}

fn begins() -> Result<Event, ModelError> {
    Ok(Event::Started(Head::default()))
}

/// Uses 10 tokens in, of which 4 were cached, and 3 out: 6 + 2 + 6 micro-dollars.
fn whole(text: &str) -> Line {
    let usage = Usage { cached_input_tokens: 4, ..Usage::new(10, 3) };
    let finished = Event::Finished { choice: 0, reason: FinishReason::Stop };
    let items = vec![begins(), says(text), Ok(finished), Ok(Event::Usage(usage)), Ok(Event::Done)];
    Line::Says(items, Then::Hangs)
}

fn down() -> ModelError {
    ModelError::Unavailable { message: "down".to_owned(), after: None }
}

fn broken() -> ModelError {
    ModelError::BrokeOff { message: "x".to_owned() }
}

/// The text that arrives, how it ends, and the one line in the book.
async fn check(
    lines: Vec<Vec<Line>>,
    change: impl Fn(&mut Alias) + Copy,
    expected: (&str, Result<(), &str>),
    settled: &str,
) {
    let stage = Stage::new(lines, change);
    let mut text = String::new();
    let mut end = Ok(());
    match stage.call("m", true).await {
        Err(error) => end = Err(error.to_string()),
        Ok(outcome) => {
            let Answer::Streamed(mut stream) = outcome.answer else { panic!("answered whole") };
            while let Some(event) = stream.next().await {
                match event {
                    Ok(Event::Text { text: piece, .. }) => text.push_str(&piece),
                    Ok(_) => {}
                    Err(error) => end = Err(error.to_string()),
                }
            }
        }
    }
    let outline = end.as_ref().map(|&()| ()).map_err(String::as_str);
    match (outline, expected.1) {
        (Err(error), Err(wanted)) => assert!(error.contains(wanted), "{error}"),
        (found, wanted) => assert_eq!(found, wanted),
    }
    assert_eq!(text, expected.0);
    assert_eq!(stage.settled(), [settled]);
}

fn unchanged(_: &mut Alias) {}

#[tokio::test]
async fn an_answer_streams_through_and_is_billed() {
    let one = "m success p/0 x1 13 tokens 14";
    check(vec![vec![whole("hello")]], unchanged, ("hello", Ok(())), one).await;
    let patient = |alias: &mut Alias| {
        alias.timeout = Duration::MAX;
        alias.first_token_timeout = Duration::MAX;
        alias.idle_timeout = Duration::MAX;
    };
    check(vec![vec![whole("hello")]], patient, ("hello", Ok(())), one).await;
}

#[tokio::test]
async fn until_the_first_token_the_next_target_steps_in() {
    let second = || vec![whole("hello")];
    // Who refuses bills nothing. Who was cut off may bill the ten tokens that it has read.
    let (free, settled) = ("m success p/1 x2 13 tokens 14", "m success p/1 x2 13 tokens 24");
    let cut = || vec![begins()];
    for (first, settled) in [
        (Line::Refuses(down()), free),
        (Line::Says(vec![begins(), Err(broken())], Then::Ends), settled),
        (Line::Says(cut(), Then::Ends), settled),
    ] {
        check(vec![vec![first], second()], unchanged, ("hello", Ok(())), settled).await;
    }
    let hasty = |alias: &mut Alias| alias.first_token_timeout = SHORT;
    for first in [Line::Hangs, Line::Says(cut(), Then::Hangs)] {
        check(vec![vec![first], second()], hasty, ("hello", Ok(())), settled).await;
    }
}

#[tokio::test]
async fn after_the_first_token_nothing_is_tried_again() {
    let begun = || vec![begins(), says("hel")];
    let with = |item| begun().into_iter().chain([item]).collect::<Vec<_>>();
    let break_off = Line::Says(with(Err(broken())), Then::Ends);
    let expected = ("hel", Err("broke off"));
    check(
        vec![vec![break_off], vec![]],
        unchanged,
        expected,
        "m model_broke_off p/0 x1 0 tokens -",
    )
    .await;
    let cut = Line::Says(begun(), Then::Ends);
    let expected = ("hel", Err("cut off"));
    check(vec![vec![cut], vec![]], unchanged, expected, "m model_truncated p/0 x1 0 tokens -")
        .await;
    let stall = Line::Says(begun(), Then::Hangs);
    let impatient = |alias: &mut Alias| alias.idle_timeout = SHORT;
    let expected = ("hel", Err("waiting for the next token"));
    check(vec![vec![stall], vec![]], impatient, expected, "m model_timed_out p/0 x1 0 tokens -")
        .await;
    let used =
        with(Ok(Event::Usage(Usage::new(1, 1)))).into_iter().chain([Err(broken())]).collect();
    let billed = Line::Says(used, Then::Ends);
    let expected = ("hel", Err("broke off"));
    check(vec![vec![billed], vec![]], unchanged, expected, "m model_broke_off p/0 x1 2 tokens 3")
        .await;
}

#[tokio::test]
async fn the_last_failure_is_the_answer_when_no_target_is_left() {
    let refuse = || vec![Line::Refuses(down())];
    let once = |alias: &mut Alias| alias.retries = 0;
    let expected = ("", Err("p/1: the upstream cannot answer now: down"));
    check(vec![refuse(), refuse()], once, expected, "m model_unavailable p/1 x2 0 tokens -").await;
    let short = |alias: &mut Alias| alias.timeout = SHORT;
    let expected = ("", Err("waiting for the end of the answer"));
    check(vec![vec![Line::Hangs]], short, expected, "m model_timed_out p/0 x1 0 tokens -").await;
}

#[tokio::test]
async fn an_answer_that_goes_on_for_ever_ends_at_the_timeout() {
    let endless = stream::repeat_with(|| says("x"));
    struct Endless(Mutex<Option<ChatStream>>);
    #[async_trait]
    impl ChatModel for Endless {
        fn capabilities(&self) -> Capabilities {
            Capabilities::default()
        }
        async fn stream(&self, _: &CallContext, _: ChatRequest) -> Result<ChatStream, ModelError> {
            Ok(self.0.lock().unwrap().take().unwrap())
        }
    }
    let upstream = Arc::new(Endless(Mutex::new(Some(endless.boxed()))));
    let target = Target::new("p", "0", upstream);
    let alias = Alias { timeout: SHORT, ..Alias::new("m", vec![target]) };
    let gateway = Gateway::new(vec![alias], around(Arc::new(Book::default()))).unwrap();
    let request = ChatRequest { model: "m".to_owned(), ..ChatRequest::default() };
    let stream = gateway.stream(&CallContext::new("call", "test"), request).await.unwrap();
    let last = stream.fold(None, async |_, event| Some(event)).await.unwrap();
    assert!(matches!(last, Err(ModelError::TimedOut { waiting: Waiting::End, .. })), "{last:?}");
}

#[tokio::test]
async fn a_whole_answer_is_retried_billed_and_names_its_target() {
    let half = Line::Says(vec![begins(), says("hel")], Then::Ends);
    let stage = Stage::new(vec![vec![half], vec![whole("hello")]], unchanged);
    let Outcome { answer, target, attempts, cost, found } = stage.call("m", false).await.unwrap();
    assert_eq!(found, Found::Off);
    let Answer::Whole(response) = answer else { panic!("streamed") };
    assert_eq!((response.text().as_str(), cost), ("hello", Some(MicroUsd(24))));
    assert_eq!((&*target, attempts), ("p/1", 2));
    assert_eq!(stage.settled(), ["m success p/1 x2 13 tokens 24"]);
    assert_eq!(*stage.actors[1].asked.lock().unwrap(), ["1"]);
}

#[tokio::test]
async fn a_caller_who_leaves_is_settled_as_cancelled() {
    let stage = Stage::new(vec![vec![whole("hello"), Line::Hangs]], unchanged);
    let outcome = stage.call("m", true).await.unwrap();
    assert!(stage.book.settled.lock().unwrap().is_empty());
    drop(outcome);
    assert_eq!(stage.settled(), ["m cancelled p/0 x1 0 tokens -"]);
    let left = tokio::time::timeout(SHORT, stage.call("m", true)).await;
    assert!(left.is_err());
    assert_eq!(stage.settled().len(), 2);
}

/// Whatever the targets do, and wherever the caller leaves, what was started is settled once.
#[tokio::test]
async fn every_call_is_settled_exactly_once() {
    let begun = || vec![begins(), says("a"), says("b")];
    let lines = [
        whole("hello"),
        Line::Refuses(down()),
        Line::Hangs,
        Line::Says(begun(), Then::Ends),
        Line::Says(begun(), Then::Hangs),
        Line::Says(vec![], Then::Ends),
        Line::Says(vec![begins(), Err(broken())], Then::Ends),
        Line::Says(vec![says("a"), Ok(Event::Done), Ok(Event::Done), Err(broken())], Then::Ends),
    ];
    let fast = |alias: &mut Alias| {
        alias.first_token_timeout = Duration::from_millis(5);
        alias.idle_timeout = Duration::from_millis(5);
        alias.retries = 0;
    };
    for first in &lines {
        for second in &lines {
            for events_max in 0..6 {
                let stage = Stage::new(vec![vec![first.clone()], vec![second.clone()]], fast);
                if let Ok(Outcome { answer: Answer::Streamed(stream), .. }) =
                    stage.call("m", true).await
                {
                    stream.take(events_max).for_each(async |_| {}).await;
                }
                assert_eq!(stage.settled().len(), 1);
            }
        }
    }
}

#[tokio::test]
async fn a_model_is_named_by_alias_or_by_target() {
    let stage = Stage::new(vec![vec![], vec![whole("hello")]], unchanged);
    let outcome = stage.call("p/1", false).await.unwrap();
    assert_eq!(&*outcome.target, "p/1");
    for unknown in ["", "M", "p/2", "1"] {
        let error = stage.call(unknown, false).await.err().unwrap();
        let known = vec!["m".to_owned()];
        assert_eq!(error, Error::UnknownModel { model: unknown.to_owned(), known });
    }
    let refused = "unknown model_not_found - x0 0 tokens -";
    let expected = [["p/1 success p/1 x1 13 tokens 14"].as_slice(), &[refused; 4]].concat();
    assert_eq!(stage.settled(), expected);
}

#[tokio::test]
async fn while_memory_is_scarce_only_calls_of_low_priority_are_refused() {
    let stage = Stage::new(vec![vec![whole("a"), whole("b")]], unchanged);
    let call = async |priority| {
        let cx = CallContext { priority, ..CallContext::new("1", "test") };
        let messages = vec![Message::user("hi")];
        let request = ChatRequest { model: "m".to_owned(), messages, ..ChatRequest::default() };
        let refused = stage.gateway.call(&cx, request).await.err();
        refused.map(|error| (error.code().0, error.retry()))
    };
    let refuse = |is_refused| stage.gateway.relieve(pressure::Action::LowPriority { is_refused });
    refuse(true);
    let later = Retry::After(Duration::from_secs(5));
    assert_eq!(call(Priority::Low).await, Some(("overloaded", later)));
    assert_eq!(call(Priority::Normal).await, None);
    refuse(false);
    assert_eq!(call(Priority::Low).await, None);
}

#[tokio::test]
async fn the_gateway_is_itself_a_model() {
    let stage = Stage::new(vec![vec![whole("a"), whole("b")]], unchanged);
    let model: &dyn ChatModel = &stage.gateway;
    assert_eq!(model.capabilities(), Capabilities { tools: true, ..Capabilities::default() });
    let cx = CallContext::new("call", "agent");
    let request = || ChatRequest { model: "m".to_owned(), ..ChatRequest::default() };
    assert_eq!(model.complete(&cx, request()).await.unwrap().text(), "a");
    let stream = model.stream(&cx, request()).await.unwrap();
    assert_eq!(agentry_core::model::collect(stream).await.unwrap().text(), "b");
    assert_eq!(*stage.book.started.lock().unwrap(), ["m agent", "m agent"]);
}

#[test]
fn everything_that_is_wrong_with_the_models_is_said_at_once() {
    let good = Stage::new(vec![vec![]], unchanged).gateway.models()[0].as_ref().clone();
    let hasty = Alias { name: String::new(), idle_timeout: Duration::ZERO, ..good.clone() };
    let aliases = vec![good.clone(), Alias { targets: Vec::new(), ..good }, hasty];
    let Err(Misconfigured { problems }) = Gateway::new(aliases, around(Arc::new(Book::default())))
    else {
        panic!("accepted");
    };
    assert_eq!(
        problems,
        [
            "the model `m` is there twice",
            "the model `m` has no targets: add one `provider/model`",
            "a model has an empty name",
            "the model ``: idle_timeout is zero, so nothing could answer",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_takes_long_to_begin_gets_company() {
    let answers = |last| (0..30).map(|_| whole("hello")).chain([last]).collect::<Vec<_>>();
    let lines = vec![answers(Line::Hangs), answers(whole("hello"))];
    let stage = Stage::new(lines, |alias| alias.hedge = true);
    let told = async || {
        let Answer::Streamed(stream) = stage.call("m", true).await.unwrap().answer else {
            panic!("answered whole")
        };
        agentry_core::model::collect(stream).await.unwrap().text()
    };
    for _ in 0..60 {
        assert_eq!(told().await, "hello");
    }
    // What is usual is worked out anew every second.
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(told().await, "hello");
    // Ten tokens read by the one that was asked in vain are paid for as well.
    assert_eq!(stage.settled().last().unwrap(), "m success p/1 x2 13 tokens 24");
    assert_eq!(stage.book.estimated.lock().unwrap().last(), Some(&10));
}

#[tokio::test(start_paused = true)]
async fn company_that_refuses_costs_nothing() {
    let lines = |last| (0..30).map(|_| whole("hello")).chain([last]).collect::<Vec<_>>();
    let late = Line::Late(Duration::from_secs(5), Box::new(whole("hello")));
    let slow = |line| Line::Late(Duration::from_secs(1), Box::new(line));
    let check = async |last: [Line; 2], settled: &str| {
        let stage = Stage::new(last.map(lines).into(), |alias| alias.hedge = true);
        for call in 0..61 {
            if call == 60 {
                tokio::time::advance(Duration::from_secs(2)).await;
            }
            let Ok(outcome) = stage.call("m", true).await else { continue };
            let Answer::Streamed(stream) = outcome.answer else { panic!("answered whole") };
            drop(agentry_core::model::collect(stream).await);
        }
        assert_eq!(stage.settled().last().unwrap(), settled);
    };
    let limited = || Line::Refuses(ModelError::RateLimited { message: String::new(), after: None });
    check([late.clone(), limited()], "m success p/0 x2 13 tokens 14").await;
    check([slow(limited()), late.clone()], "m success p/1 x2 13 tokens 14").await;
}

#[test]
fn whoever_asks_for_an_unknown_model_reads_what_to_do() {
    let check = |known: &[&str], expected: &str| {
        let known = known.iter().map(ToString::to_string).collect();
        let error = Error::UnknownModel { model: "smart".to_owned(), known };
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(&["fast", "local"], "`smart`; there are: fast, local");
    check(&[], "configure one as [models.NAME]");
}
