use agentry_engine::NodeOutput;
use agentry_engine::node::from_fn;

use super::*;
use crate::{Catalogue, File, Graphs};

#[test]
fn a_definition_is_drawn_with_its_kinds_and_conditions() {
    let text = r#"
name = "review"
[state]
draft = "last"
[nodes.write]
kind = "prompt"
prompt = "x"
into = "draft"
on_error = { goto = "ask" }
[nodes.ask]
kind = "human"
question = "?"
[nodes.end]
kind = "set"
values = {}
[[edges]]
from = "write"
to = "end"
when = "draft != \"<none>\""
[[edges]]
from = "write"
to = "ask"
otherwise = true
[[edges]]
from = ["ask", "end"]
to = "last"
[nodes.last]
kind = "graph"
graph = "review2"
"#;
    let inner = "[nodes.a]\nkind = \"set\"\nvalues = {}\n";
    let file = |name: &str, text: &str| File { name: name.to_owned(), text: text.to_owned() };
    let files = [file("review.toml", text), file("review2.toml", inner)];
    let graphs = Graphs::read(&files, &Catalogue::default()).unwrap();
    let expected = r#"flowchart TD
    n0{{"ask<br/><i>human</i>"}}
    n1("end<br/><i>set</i>")
    n2[["last<br/><i>graph</i>"]]
    n3["write<br/><i>prompt</i>"]
    n4([start])
    n5([end])
    n4 --> n3
    n3 -->|"draft != #quot;#lt;none#gt;#quot;"| n1
    n3 -->|"otherwise"| n0
    n0 ==>|"all"| n2
    n1 ==>|"all"| n2
    n2 --> n5
    n3 -.->|"failed"| n0
"#;
    assert_eq!(graphs.get("review").unwrap().mermaid(), expected);
}

#[test]
fn a_graph_of_the_engine_is_drawn_too() {
    let done = || from_fn(|_, _| Box::pin(async { Ok(NodeOutput::done()) }));
    let program = Graph::builder("g")
        .channel("n", agentry_engine::Reducer::Last)
        .node("a", done())
        .node("b", done())
        .node("c", done())
        .edge(START, "a")
        .when("a", Condition::equals("n", 3).at("/deep"), "b")
        .otherwise("a", END)
        .choose("b", "n > 1 → c; otherwise → END", ["c", END], |_| vec!["c".to_owned()])
        .edge("c", END)
        .build()
        .unwrap();
    let expected = r#"flowchart TD
    n0["a"]
    n1["b"]
    n2["c"]
    n3([start])
    n4([end])
    n3 --> n0
    n0 -->|"n.deep == 3"| n1
    n0 -->|"otherwise"| n4
    n1 -.->|"n #gt; 1"| n2
    n1 -.->|"otherwise"| n4
    n2 --> n4
"#;
    assert_eq!(mermaid(program.graph()), expected);
}
