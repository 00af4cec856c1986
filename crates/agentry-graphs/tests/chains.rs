//! Every graph of the examples comes to what it should.

#[path = "../examples/chains/offline.rs"]
mod offline;

use offline::{World, folder};

#[tokio::test]
async fn every_example_comes_to_what_it_should() {
    let world = World::open(&folder()).unwrap();
    let names: Vec<&str> = world.graphs.names().collect();
    let cases: Vec<&str> = world.cases.keys().map(String::as_str).collect();
    assert_eq!(names, cases, "each graph has its case");
    for (name, case) in &world.cases {
        let ended = world.run(name, case.input.clone(), &case.answers).await;
        let ended = ended.unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert_eq!(ended.output, case.output, "{name}");
        assert_eq!(ended.questions.len(), case.answers.len(), "{name}");
    }
}
