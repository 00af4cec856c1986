use std::collections::HashSet;

use agentry_core::Caller;
use agentry_core::chat::Usage;
use agentry_core::embed::{EmbeddingInput, Vector};
use futures_util::future::join_all;
use futures_util::{FutureExt as _, poll};
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

/// Makes of each text a vector that only that text has, and refuses the words it is told to.
struct Upstream {
    max: BatchMax,
    refuses: HashSet<String>,
    /// How long it takes.
    takes: Duration,
    fails: Option<ModelError>,
    /// The texts of each request that was sent.
    asked: Mutex<Vec<Vec<String>>>,
    ended: AtomicU64,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            max: BatchMax { inputs: 100, tokens: 10_000 },
            refuses: HashSet::new(),
            takes: Duration::from_millis(50),
            fails: None,
            asked: Mutex::default(),
            ended: AtomicU64::new(0),
        }
    }
}

fn vector(text: &str) -> Vector {
    Vector::Base64(format!("<{text}>"))
}

fn text(input: &EmbeddingInput) -> String {
    match input {
        EmbeddingInput::Text(text) => text.clone(),
        EmbeddingInput::Tokens(tokens) => format!("{tokens:?}"),
    }
}

#[async_trait]
impl Embedder for Upstream {
    fn batch_max(&self) -> BatchMax {
        self.max
    }

    async fn embed(
        &self,
        _: &CallContext,
        request: EmbeddingRequest,
    ) -> Result<EmbeddingResponse, ModelError> {
        let texts: Vec<String> = request.input.iter().map(text).collect();
        self.asked.lock().unwrap().push(texts.clone());
        tokio::time::sleep(self.takes).await;
        self.ended.fetch_add(1, Ordering::SeqCst);
        if let Some(error) = &self.fails {
            return Err(error.clone());
        }
        if let Some(word) = texts.iter().find(|text| self.refuses.contains(*text)) {
            let message = format!("`{word}` is not acceptable");
            return Err(ModelError::Invalid { message, param: None, upstream_code: None });
        }
        Ok(EmbeddingResponse {
            model: request.model,
            vectors: texts.iter().map(|text| vector(text)).collect(),
            usage: Some(Usage::new(1_000, 0)),
            extra: Map::new(),
        })
    }
}

struct Bench {
    upstream: Arc<Upstream>,
    embeddings: Arc<Embeddings>,
    tasks: TaskTracker,
}

fn bench(upstream: Upstream) -> Bench {
    with(upstream, Settings::default())
}

fn with(upstream: Upstream, settings: Settings) -> Bench {
    let (upstream, tasks) = (Arc::new(upstream), TaskTracker::new());
    let target = Arc::<Upstream>::clone(&upstream);
    let embeddings = Arc::new(Embeddings::new(target, settings, tasks.clone()));
    Bench { upstream, embeddings, tasks }
}

fn request(texts: &[&str]) -> EmbeddingRequest {
    let input = texts.iter().map(|&text| EmbeddingInput::Text(text.to_owned())).collect();
    EmbeddingRequest { model: "m".to_owned(), input, ..EmbeddingRequest::default() }
}

fn cx() -> CallContext {
    CallContext::new("call", "embeddings")
}

impl Bench {
    async fn embed(&self, texts: &[&str]) -> Result<EmbeddingResponse, ModelError> {
        self.embeddings.embed(&cx(), request(texts)).await
    }

    fn asked(&self) -> Vec<Vec<String>> {
        self.upstream.asked.lock().unwrap().clone()
    }

    /// Nothing is left behind.
    async fn stop(self) {
        self.tasks.close();
        self.tasks.wait().await;
        assert_eq!(self.embeddings.stats().inputs, 0);
        assert!(self.embeddings.inner.open().is_empty());
    }
}

fn vectors(answer: &Result<EmbeddingResponse, ModelError>) -> Vec<Vector> {
    answer.as_ref().unwrap().vectors.clone()
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_moment_go_upstream_as_one() {
    let bench = bench(Upstream::default());
    let calls = join_all([bench.embed(&["a", "b"]), bench.embed(&["c"]), bench.embed(&["a"])]);
    let start = Instant::now();
    let answers = calls.await;
    assert_eq!(start.elapsed(), Duration::from_millis(53));
    assert_eq!(bench.asked(), [["a", "b", "c", "a"].map(str::to_owned)]);
    assert_eq!(vectors(&answers[0]), [vector("a"), vector("b")]);
    assert_eq!(vectors(&answers[1]), [vector("c")]);
    assert_eq!(vectors(&answers[2]), [vector("a")]);
    let used = |at: usize| answers[at].as_ref().unwrap().usage.as_ref().unwrap().input_tokens;
    assert_eq!([used(0), used(1), used(2)], [500, 250, 250]);

    bench.embed(&["later"]).await.unwrap();
    assert_eq!(bench.asked().len(), 2);
    let stats = bench.embeddings.stats();
    assert_eq!((stats.calls, stats.upstream, stats.halved), (4, 2, 0));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_differs_in_more_than_its_inputs_is_not_put_together() {
    let bench = bench(Upstream::default());
    let plain = request(&["a"]);
    let other = |change: &dyn Fn(&mut EmbeddingRequest)| {
        let mut request = plain.clone();
        change(&mut request);
        request
    };
    let requests = [
        plain.clone(),
        other(&|request| request.model = "n".to_owned()),
        other(&|request| request.dimensions = Some(3)),
        other(&|request| request.encoding_format = Some("base64".to_owned())),
        other(&|request| request.user = Some("u".to_owned())),
        other(&|request| drop(request.extra.insert("truncate".to_owned(), json!(true)))),
    ];
    let cx = cx();
    let stranger = Caller { tenant: "other".into(), ..Caller::named("anonymous") };
    let elsewhere = CallContext::of(Arc::new(stranger), "call", "embeddings");
    let mut calls: Vec<_> =
        requests.iter().map(|request| bench.embeddings.embed(&cx, request.clone())).collect();
    calls.push(bench.embeddings.embed(&elsewhere, plain.clone()));
    for answer in join_all(calls).await {
        assert_eq!(vectors(&answer), [vector("a")]);
    }
    assert_eq!(bench.asked().len(), 7);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lot_goes_when_it_is_full() {
    let max = BatchMax { inputs: 3, tokens: 100 };
    let bench = bench(Upstream { max, takes: Duration::ZERO, ..Upstream::default() });
    let start = Instant::now();
    let long = "x".repeat(4 * 99);
    let lots = [vec!["a"], vec!["b", "c"], vec!["d", "e"], vec!["f", "g"], vec![&long], vec!["h"]];
    join_all(lots.iter().map(|texts| bench.embed(texts))).await;
    let mut asked = bench.asked();
    asked.sort();
    let mut expected =
        [vec!["a", "b", "c"], vec!["d", "e"], vec!["f", "g"], vec![long.as_str(), "h"]];
    expected.sort();
    assert_eq!(asked, expected);
    assert!(start.elapsed() <= Duration::from_millis(3));

    // What is too much by itself goes alone and at once: the upstream says what it thinks of it.
    let start = Instant::now();
    bench.embed(&["1", "2", "3", "4"]).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_input_costs_only_its_own_caller() {
    let refuses = HashSet::from(["bad".to_owned(), "worse".to_owned()]);
    let bench = bench(Upstream { refuses, ..Upstream::default() });
    let lots = [vec!["a"], vec!["b", "bad"], vec!["c"], vec!["d"], vec!["worse"], vec!["e", "f"]];
    let answers = join_all(lots.iter().map(|texts| bench.embed(texts))).await;
    for (texts, answer) in lots.iter().zip(answers) {
        match texts.iter().find(|text| text.starts_with('b') && text.len() > 1 || **text == "worse")
        {
            None => {
                let own: Vec<Vector> = texts.iter().map(|text| vector(text)).collect();
                assert_eq!(vectors(&answer), own);
            }
            Some(bad) => assert!(answer.unwrap_err().to_string().contains(bad)),
        }
    }
    assert!(bench.embeddings.stats().halved > 0);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_upstream_reaches_every_caller_and_is_not_repeated() {
    let error = ModelError::Unavailable { message: "overloaded".to_owned(), after: None };
    let bench = bench(Upstream { fails: Some(error.clone()), ..Upstream::default() });
    let answers = join_all([bench.embed(&["a"]), bench.embed(&["b"])]).await;
    assert_eq!(answers, [Err(error.clone()), Err(error)]);
    assert_eq!(bench.asked().len(), 1);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_disturbs_nobody() {
    let bench = bench(Upstream::default());
    let mut first = Box::pin(bench.embed(&["a"]));
    let mut second = Box::pin(bench.embed(&["b"]));
    assert!(poll!(&mut first).is_pending());
    assert!(poll!(&mut second).is_pending());
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(first);
    assert_eq!(vectors(&second.await), [vector("b")]);

    // Gone before the lot went: not even asked for.
    let mut early = Box::pin(bench.embed(&["c"]));
    assert!(poll!(&mut early).is_pending());
    drop(early);
    // All gone while the upstream works: it is left alone.
    let mut late = Box::pin(bench.embed(&["d"]));
    assert!(poll!(&mut late).is_pending());
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(late);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.asked(), [vec!["a", "b"], vec!["d"]]);
    assert_eq!(bench.upstream.ended.load(Ordering::SeqCst), 1);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_caller_has_its_own_deadline() {
    let bench = bench(Upstream { takes: Duration::from_secs(5), ..Upstream::default() });
    let now = Instant::now();
    let hasty = CallContext { deadline: Some((now + Duration::from_secs(1)).into_std()), ..cx() };
    let patient = CallContext { deadline: Some((now + Duration::from_secs(9)).into_std()), ..cx() };
    let (hasty, patient) = tokio::join!(
        bench.embeddings.embed(&hasty, request(&["a"])),
        bench.embeddings.embed(&patient, request(&["b"])),
    );
    let after = Duration::from_secs(1);
    assert_eq!(hasty, Err(ModelError::TimedOut { waiting: Waiting::End, after }));
    assert_eq!(vectors(&patient), [vector("b")]);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn there_is_room_for_so_many_and_no_more() {
    let settings = Settings { inputs_max: 3, ..Settings::default() };
    let bench = with(Upstream::default(), settings);
    let answers =
        join_all([bench.embed(&["a", "b"]), bench.embed(&["c", "d"]), bench.embed(&["e"])]).await;
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert!(matches!(answers[1], Err(ModelError::Unavailable { after: Some(_), .. })));
    assert_eq!(bench.embeddings.stats().refused, 1);
    bench.embed(&["a", "b", "c"]).await.unwrap();
    bench.stop().await;

    let bench = with(Upstream::default(), Settings { linger: Duration::ZERO, inputs_max: 0 });
    assert!(bench.embed(&["a"]).await.is_ok(), "without a wait there is no queue");
    bench.stop().await;
}

proptest! {
    #[test]
    fn parts_sum_to_the_whole_and_follow_the_weights(
        total in prop_oneof![0..10_000_u64, Just(u64::MAX)],
        weights in prop::collection::vec(prop_oneof![0..1_000_u64, Just(u64::from(u32::MAX))], 1..20),
    ) {
        let parts = lot::split(total, &weights);
        prop_assert_eq!(parts.len(), weights.len());
        prop_assert_eq!(parts.iter().map(|part| u128::from(*part)).sum::<u128>(), u128::from(total));
        let sum: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        for (part, weight) in parts.iter().zip(&weights) {
            if let Some(exact) = (u128::from(total) * u128::from(*weight)).checked_div(sum) {
                prop_assert!(u128::from(*part).abs_diff(exact) <= 1, "{part} for {weight}");
            }
        }
    }

    /// Whoever asks for whatever, together with whomever: each gets its own vectors or its own error, and the bill is whole.
    #[test]
    fn every_caller_gets_its_own(
        calls in prop::collection::vec((prop::collection::vec("[a-z]{1,9}", 1..6), 0..8_u64), 1..30),
        bad in prop::collection::hash_set("[a-c]{1}", 0..3),
        inputs_max in 1..12_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let max = BatchMax { inputs: inputs_max, tokens: 40 };
            let bench = bench(Upstream { max, refuses: bad.clone(), ..Upstream::default() });
            let calls = calls.iter().map(|(texts, wait)| {
                let bench = &bench;
                async move {
                    tokio::time::sleep(Duration::from_millis(*wait)).await;
                    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                    (bench.embed(&texts).await, texts)
                }
            });
            let answers = join_all(calls).await;
            let mut billed = 0;
            for (answer, texts) in answers {
                if texts.iter().any(|text| bad.contains(*text)) {
                    let message = answer.unwrap_err().to_string();
                    assert!(texts.iter().any(|text| message.contains(&format!("`{text}`"))));
                } else {
                    let own: Vec<Vector> = texts.iter().map(|text| vector(text)).collect();
                    assert_eq!(vectors(&answer), own);
                    billed += answer.unwrap().usage.unwrap().input_tokens;
                }
            }
            let refused = |texts: &Vec<String>| texts.iter().any(|text| bad.contains(text));
            let answered = bench.asked().iter().filter(|texts| !refused(texts)).count() as u64;
            assert_eq!(billed, answered * 1_000);
            bench.stop().now_or_never().expect("everything is over");
        });
    }
}
