//! Scenarios with what another engine did, and what ours does where it is better on purpose.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::play::play;

fn read(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/scenarios/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn by_name(list: Vec<Value>) -> BTreeMap<String, Value> {
    list.into_iter().map(|one| (one["name"].as_str().unwrap().to_owned(), one)).collect()
}

#[tokio::test]
async fn every_scenario_goes_as_it_was_recorded_or_better() {
    let recorded = by_name(read("recorded.json"));
    let better = by_name(read("better.json"));
    for scenario in read("scenarios.json") {
        let name = scenario["name"].as_str().unwrap();
        let expected = better.get(name).or_else(|| recorded.get(name));
        let played = play(&scenario).await.unwrap();
        assert_eq!(Some(&played), expected, "{name}");
    }
}
