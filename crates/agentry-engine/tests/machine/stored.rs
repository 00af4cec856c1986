//! What is stored stays readable for ever: logs and snapshots as they were written, by each format that there has been.
//!
//! `tests/checkpoints/N.json` is never changed. Where what is written changes, the newest one is what today's program writes
//! no more: then there is a further file, made with `AGENTRY_FIXTURE=N`.

use std::path::PathBuf;
use std::sync::Arc;

use agentry_core::run::{Fence, Seq};
use agentry_core::thread::{Entry, Line, Snapshot};
use agentry_core::{Clock, ThreadId, Timestamp};
use agentry_engine::graph::{Memory, Returns};
use agentry_engine::machine::{Home, Update};
use agentry_engine::node::from_fn;
use agentry_engine::{
    Ask, Command, END, Goto, Graph, Local, Machine, Node, NodeError, NodeOutput, NodeSettings,
    Program, Reducer, Request, Resume, START,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_700_000_000)
    }
}

/// One thread, as it was stored.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Fixture {
    entries: Vec<Entry>,
    /// The thread whole, while somebody was asked.
    snapshot: Snapshot,
    /// What loading all of it gives.
    image: Value,
    /// What loading gave while somebody was asked.
    values: Value,
}

/// Everything that a thread does leaves its words in the log: what was sent and joined, failures and who mended them,
/// breakpoints, graphs in nodes that remember or not, questions, updates from outside. It must stay as it is.
fn program() -> Program {
    let asking = from_fn(|cx, _| {
        Box::pin(async move {
            let Some(reply) = cx.answer("ok") else {
                return Ok(NodeOutput::ask(Ask::question("ok", json!({ "really": true }))));
            };
            Ok(NodeOutput::done().set("answer", reply.value.clone()))
        })
    });
    let inner = Graph::builder("inner")
        .channel("log", Reducer::Append)
        .channel("answer", Reducer::Last)
        .node("note", says("inner"))
        .node("ask", asking)
        .edge(START, "note")
        .edge("note", "ask")
        .edge("ask", END);
    let memory = Graph::builder("memory")
        .channel("log", Reducer::Append)
        .channel("visits", Reducer::Sum)
        .node(
            "count",
            from_fn(|_, _| Box::pin(async { Ok(NodeOutput::done().update("visits", 1)) })),
        )
        .edge(START, "count")
        .edge("count", END);
    let fails = from_fn(|_, _| Box::pin(async { Err(NodeError::fatal("it is broken")) }));
    let plan = from_fn(|_, _| {
        Box::pin(async {
            let send = |arg| Goto::Send { node: "work".to_owned(), arg };
            Ok(NodeOutput::done().goto(send(json!({ "n": 1 }))).goto(send(json!({ "n": 2 }))))
        })
    });
    let kept = (memory.build().unwrap(), Memory::Thread, Returns::Added);
    Graph::builder("g")
        .channel_from("log", Reducer::Append, json!([]))
        .channel("answer", Reducer::Last)
        .channel("total", Reducer::Sum)
        .node("plan", plan)
        .node("work", from_fn(|_, _| Box::pin(async { Ok(NodeOutput::done().update("total", 3)) })))
        .node("left", says("left"))
        .node_with("right", NodeSettings::default().on_error("mend"), fails)
        .node("mend", says("mended"))
        .node("both", says("both"))
        .node_with("late", NodeSettings::default().deferred(), says("late"))
        .subgraph("inside", inner.build().unwrap())
        .subgraph_with("keeps", NodeSettings::default(), kept)
        .edge(START, "plan")
        .fan_out("plan", ["left", "right", "late"])
        .join(["left", "mend"], "both")
        .edge("both", "inside")
        .edge("inside", "keeps")
        .edge("keeps", END)
        .edge("late", END)
        .edge("work", END)
        .stop_before(["keeps"])
        .open_ended()
        .build()
        .unwrap()
}

fn says(word: &'static str) -> impl Node {
    from_fn(move |_, _| {
        Box::pin(async move { Ok(NodeOutput::done().update("log", json!([word]))) })
    })
}

/// The thread, as it would be stored today.
async fn today() -> Fixture {
    let mut local = Local::recording(program(), Arc::new(Still));
    let input = json!({ "log": ["begin"] }).as_object().unwrap().clone();
    local.run(Request::Input(input)).await.unwrap();
    let (snapshot, values) = (local.machine().snapshot(), json!(local.machine().values()));
    let resume = Some(Resume::One(json!("yes")));
    local.run(Request::Command(Command { resume, ..Command::default() })).await.unwrap();
    local.run(Request::GoOn).await.unwrap();
    let changed = json!({ "log": ["changed"] }).as_object().unwrap().clone();
    let update = Update { values: Some(changed), as_node: Some("work".to_owned()) };
    local.update(vec![update]).unwrap();
    let entries = local.log().iter().map(|logged| logged.entry.clone()).collect();
    Fixture { entries, snapshot, image: local.machine().image(), values }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints")
}

fn fixtures() -> Vec<Fixture> {
    let numbers = (1..).map(|number| folder().join(format!("{number}.json")));
    let texts = numbers.map_while(|path| std::fs::read_to_string(path).ok());
    texts.map(|text| serde_json::from_str(&text).unwrap()).collect()
}

fn load(line: &Line) -> Machine {
    let home = Home { thread: ThreadId::from_bytes([7; 16]), fence: Fence(1), head: Seq(0) };
    Machine::load(program(), home, agentry_engine::machine::Record::Nothing, line).unwrap()
}

#[test]
fn every_format_that_there_has_been_is_read() {
    let all = fixtures();
    assert!(!all.is_empty());
    for Fixture { entries, snapshot, image, values } in all {
        let whole = load(&Line { snapshot: None, entries: entries.clone() });
        assert_eq!(whole.image(), image);
        let (before, later): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.seq <= snapshot.seq);
        let asked = load(&Line { snapshot: None, entries: before });
        assert_eq!((json!(asked.values()), asked.image()), (values, json!(snapshot)));
        let since = load(&Line { snapshot: Some(snapshot), entries: later });
        assert_eq!(since.image(), image, "from the snapshot");
    }
}

#[tokio::test]
async fn what_is_written_today_is_the_newest_format() {
    let today = today().await;
    if let Some(number) = std::env::var_os("AGENTRY_FIXTURE") {
        let text = serde_json::to_string_pretty(&today).unwrap();
        std::fs::write(folder().join(format!("{}.json", number.display())), text + "\n").unwrap();
    }
    let newest = fixtures().pop().unwrap();
    let (today, newest) = (json!(today), json!(newest));
    let difference =
        "what is written has changed: keep the files there are and add one with AGENTRY_FIXTURE=N";
    assert_eq!(today["entries"], newest["entries"], "{difference}");
    assert_eq!(today, newest, "{difference}");
}

/// Each kind of move is somewhere in the files.
#[test]
fn every_word_is_in_a_file() {
    let text = fixtures().iter().map(|it| json!(it.entries).to_string()).collect::<String>();
    let words =
        ["run", "over", "writes", "wrote", "turn", "task", "open", "seed", "close", "halt", "mark"];
    for word in words {
        let (object, plain) = (format!("{{\"{word}\":"), format!("\"{word}\""));
        assert!(text.contains(&object) || text.contains(&plain), "{word}");
    }
}
