use super::*;
use crate::money::catalogue::Catalogue;

const MODELS: &str = r#"
[a."small"]
input = 0.1
output = 0.4
context = 100000
output_max = 8000
can = { tools = true }
strengths = ["speed", "cost"]
[a."large"]
input = 3
output = 15
context = 1000000
output_max = 64000
can = { tools = true, images = true, json_schema = true, reasoning = true }
strengths = ["coding", "reasoning"]
[a."middle"]
input = 1
output = 5
context = 200000
output_max = 32000
can = { tools = true, images = true }
strengths = ["coding"]
"#;

fn names(query: &Query, measured: &[(&str, u64)]) -> (Vec<String>, Vec<String>) {
    let catalogue = Catalogue::parse(MODELS).unwrap();
    let models: Vec<_> = catalogue.models().collect();
    let measured = |name: &str| {
        let (_, millis) = measured.iter().find(|(known, _)| *known == name)?;
        Some(Measured { latency_p50: Duration::from_millis(*millis), successes: 990 })
    };
    let candidates: Vec<_> = models
        .iter()
        .map(|(name, model)| Candidate { name, model, measured: measured(name) })
        .collect();
    let Recommendation { ranked, unfit } = recommend(query, &candidates);
    let ranked = ranked.into_iter().map(|it| format!("{} {}", it.name, it.reasons.join("; ")));
    (ranked.collect(), unfit.into_iter().map(|(name, why)| format!("{name} {why}")).collect())
}

fn query() -> Query {
    Query {
        input_tokens: 1_000,
        output_tokens: 500,
        needs: Can { tools: true, ..Can::default() },
        strengths: BTreeSet::new(),
        weights: Weights::default(),
    }
}

#[test]
fn the_cheapest_wins_when_nothing_else_is_asked_for() {
    let (ranked, unfit) = names(&query(), &[]);
    assert_eq!(
        ranked,
        [
            "a/small the cheapest: 0.000300 USD a call; its latency was not measured yet",
            "a/middle 0.003500 USD a call; its latency was not measured yet",
            "a/large 0.010500 USD a call; its latency was not measured yet",
        ]
    );
    assert!(unfit.is_empty());
}

#[test]
fn a_model_that_cannot_do_it_is_not_recommended() {
    let images = Can { images: true, ..Can::default() };
    let long = Query { input_tokens: 150_000, needs: images, ..query() };
    let (ranked, unfit) = names(&long, &[]);
    assert_eq!(ranked.len(), 2);
    assert_eq!(unfit, ["a/small it cannot do images"]);
    let longer = Query { input_tokens: 150_000, output_tokens: 60_000, ..query() };
    let (ranked, unfit) = names(&longer, &[]);
    assert!(ranked[0].starts_with("a/large"));
    assert_eq!(
        unfit,
        ["a/middle it writes at most 32000 tokens", "a/small it writes at most 8000 tokens"]
    );
    let (_, unfit) = names(&Query { input_tokens: 99_999, ..query() }, &[]);
    assert_eq!(unfit, ["a/small its context is 100000 tokens"]);
}

#[test]
fn what_matters_decides() {
    let first = |query: &Query, measured: &[(&str, u64)]| {
        names(query, measured).0[0].split(' ').next().unwrap().to_owned()
    };
    let weights = Weights { cost: 1, latency: 0, context: 0, strengths: 9 };
    let strengths: BTreeSet<String> = ["coding", "reasoning"].map(str::to_owned).into();
    assert_eq!(first(&Query { strengths: strengths.clone(), weights, ..query() }, &[]), "a/large");
    let weights = Weights { cost: 9, latency: 0, context: 0, strengths: 1 };
    assert_eq!(first(&Query { strengths, weights, ..query() }, &[]), "a/small");
    let weights = Weights { cost: 1, latency: 9, context: 0, strengths: 0 };
    let measured = [("a/small", 900), ("a/middle", 100), ("a/large", 2_000)];
    assert_eq!(first(&Query { weights, ..query() }, &measured), "a/middle");
    let weights = Weights { cost: 0, latency: 0, context: 0, strengths: 0 };
    assert_eq!(first(&Query { weights, ..query() }, &measured), "a/small", "then the cheapest");
}
