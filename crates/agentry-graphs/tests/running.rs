//! What the kinds of nodes do when they run: over the engine, with tools and services that count.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentry_backends::memory::MemoryShared;
use agentry_core::model::ChatModel;
use agentry_core::tool::{Effect, Risks, Tool, ToolContext, ToolError, ToolOutput, ToolSpec};
use agentry_core::{Caller, Clock, RunId, Timestamp, outbound};
use agentry_engine::machine::Mail;
use agentry_engine::{self as engine, Command, Local, Rests, Resume};
use agentry_graphs::{
    Catalogue, File, Graphs, HeaderValue, Http, Payers, Ports, Request, Response,
};
use agentry_llm::scripted::{Script, Scripted};
use agentry_testkit::FakeClock;
use async_trait::async_trait;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// What people do while a run waits.
enum Say {
    Answer(Value),
    /// Nothing, for this long.
    Wait(Duration),
}

/// Remembers how it was used.
#[derive(Default)]
struct Probe {
    calls: Mutex<Vec<Value>>,
    running: AtomicUsize,
    most: AtomicUsize,
    /// So many calls fail first.
    failures: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    statuses: Mutex<Vec<u16>>,
}

struct ProbeTool {
    spec: ToolSpec,
    probe: Arc<Probe>,
}

#[async_trait]
impl Tool for ProbeTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, _: &ToolContext, arguments: Value) -> Result<ToolOutput, ToolError> {
        let running = self.probe.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.probe.most.fetch_max(running, Ordering::SeqCst);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.probe.running.fetch_sub(1, Ordering::SeqCst);
        self.probe.calls.lock().unwrap().push(arguments.clone());
        let left = self.probe.failures.load(Ordering::SeqCst);
        if left > 0 {
            self.probe.failures.store(left - 1, Ordering::SeqCst);
            return Err(ToolError::Failed { reason: "not yet".to_owned() });
        }
        Ok(ToolOutput(json!({ "got": arguments })))
    }
}

#[async_trait]
impl Http for Probe {
    async fn send(&self, request: &Request, _: Duration) -> Result<Response, outbound::Error> {
        self.requests.lock().unwrap().push(request.clone());
        let status = self.statuses.lock().unwrap().pop().unwrap_or(200);
        Ok(Response { status, body: br#"{"ok":true}"#.to_vec() })
    }
}

/// Somewhat later each time that somebody looks, so that what pauses goes on.
#[derive(Default)]
struct Moving {
    clock: FakeClock,
    looks: AtomicUsize,
}

impl Clock for Moving {
    fn now(&self) -> Timestamp {
        let looks = self.looks.fetch_add(1, Ordering::SeqCst);
        self.clock.now().plus(Duration::from_millis(looks.try_into().unwrap()))
    }
}

/// A project of graphs and everything around it.
struct World {
    graphs: Graphs,
    ports: Arc<Ports>,
    probe: Arc<Probe>,
    clock: Arc<Moving>,
}

impl World {
    fn new(texts: &[&str]) -> Self {
        let files: Vec<File> = texts
            .iter()
            .enumerate()
            .map(|(at, text)| File { name: format!("graph{at}.toml"), text: (*text).to_owned() })
            .collect();
        let graphs = Graphs::read(&files, &Catalogue::default()).unwrap_or_else(|wrong| {
            panic!("{}", wrong.iter().map(ToString::to_string).collect::<String>())
        });
        let script = "[[rules]]\nanswer = { text = \"hello\" }\n";
        let model: Arc<dyn ChatModel> = Arc::new(Scripted::new(Script::from_toml(script).unwrap()));
        let probe = Arc::new(Probe::default());
        let mut ports = Ports::new(model);
        for (name, effect) in [("read", Effect::Read), ("once", Effect::Once)] {
            let (parameters, risks) = (json!({ "type": "object" }), Risks::default());
            let (name, description) = (name.to_owned(), String::new());
            let spec = ToolSpec { name, description, parameters, effect, risks };
            ports = ports.tool(Arc::new(ProbeTool { spec, probe: Arc::clone(&probe) }));
        }
        ports.http = Some(Arc::clone(&probe) as _);
        let clock: Arc<Moving> = Arc::default();
        ports.cache = Some(Arc::new(MemoryShared::new(Arc::clone(&clock) as _, 1 << 20)));
        Self { graphs, ports: Arc::new(ports), probe, clock }
    }

    /// Runs the graph `main` to its end: its output, or why it failed.
    async fn run(&self, input: Value, says: Vec<Say>) -> Result<Value, String> {
        self.configured(json!({}), input, says).await
    }

    /// The same with settings.
    async fn configured(
        &self,
        config: Value,
        input: Value,
        says: Vec<Say>,
    ) -> Result<Value, String> {
        let program = self.graphs.program("main", &self.ports).unwrap();
        let input = self.graphs.begin("main", input).map_err(|error| error.to_string())?;
        let thread = Local::new(program, Arc::clone(&self.clock) as _);
        let mut thread = thread.configured(config.as_object().unwrap().clone());
        let mut says = says.into_iter();
        let running = async {
            thread.run(engine::Request::Input(input.into_iter().collect())).await.unwrap();
            loop {
                match thread.machine().rests() {
                    Rests::Idle => {
                        let values = thread.machine().values();
                        return Ok(self.graphs.output("main", values).unwrap());
                    }
                    Rests::Interrupted => match says.next() {
                        Some(Say::Answer(value)) => {
                            let resume = Some(Resume::One(value));
                            let command = Command { resume, ..Command::default() };
                            // What does not fit is refused, and the question stands.
                            let _ = thread.run(engine::Request::Command(command)).await;
                        }
                        Some(Say::Wait(span)) => {
                            self.clock.clock.advance(span);
                            thread.tell(Mail::default()).await;
                        }
                        None => return Err("it asks and nobody answers".to_owned()),
                    },
                    Rests::Failed(failed) => return Err(failed.to_string()),
                    other => return Err(format!("{other:?}")),
                }
            }
        };
        tokio::time::timeout(PATIENCE, running).await.unwrap()
    }

    fn calls(&self) -> usize {
        self.probe.calls.lock().unwrap().len()
    }
}

const MAP: &str = r#"
name = "main"
output = "all"
[state]
all = { reducer = "append" }
[nodes.each]
kind = "map"
over = "input.items"
as = "one"
into = "all"
concurrency = 3
items_max = 8
node = { kind = "tool", tool = "read", arguments = { n = "${one}", at = "${index}" }, retry = { attempts = 3, backoff = "1ms" } }
"#;

#[tokio::test]
async fn a_map_keeps_the_order_and_its_bounds() {
    let world = World::new(&[MAP]);
    let items: Vec<i64> = (10..18).collect();
    let all = world.run(json!({ "items": items }), Vec::new()).await.unwrap();
    let seen: Vec<&Value> = all.as_array().unwrap().iter().map(|one| &one["got"]["n"]).collect();
    assert_eq!(json!(seen), json!(items));
    assert_eq!(world.probe.most.load(Ordering::SeqCst), 3, "three at a time, no more");

    let nine = world.run(json!({ "items": [0, 1, 2, 3, 4, 5, 6, 7, 8] }), Vec::new()).await;
    let error = nine.unwrap_err();
    assert!(error.contains("9 items, at most 8"), "{error}");
    let none = world.run(json!({ "items": [] }), Vec::new()).await;
    assert_eq!(none, Ok(json!([])));

    let world = World::new(&[MAP]);
    world.probe.failures.store(2, Ordering::SeqCst);
    assert_eq!(world.run(json!({ "items": [1] }), Vec::new()).await.unwrap()[0]["got"]["n"], 1);
    assert_eq!(world.calls(), 3, "an inner node is tried again like any other");
}

#[tokio::test]
async fn another_attempt_at_a_map_repeats_only_what_failed() {
    let map = |more: &str| {
        format!(
            "name = \"main\"\noutput = \"all\"\n[state]\nall = \"append\"\n[nodes.each]\nkind = \"map\"\n\
             over = \"input.items\"\ninto = \"all\"\n{more}\n\
             node = {{ kind = \"tool\", tool = \"read\", arguments = {{ n = \"${{item}}\" }} }}\n"
        )
    };
    let world = World::new(&[&map("retry = { attempts = 3, backoff = \"1ms\" }")]);
    world.probe.failures.store(2, Ordering::SeqCst);
    let all = world.run(json!({ "items": [1, 2, 3] }), Vec::new()).await.unwrap();
    let seen: Vec<&Value> = all.as_array().unwrap().iter().map(|one| &one["got"]["n"]).collect();
    assert_eq!((json!(seen), world.calls()), (json!([1, 2, 3]), 5));

    let world = World::new(&[&map("")]);
    world.probe.failures.store(1, Ordering::SeqCst);
    let error = world.run(json!({ "items": [1, 2, 3] }), Vec::new()).await.unwrap_err();
    assert!(error.contains("not yet"), "{error}");
    assert_eq!(world.calls(), 3);
}

#[tokio::test]
async fn a_graph_in_a_node_is_given_up_after_its_time() {
    let outer = |more: &str| {
        format!(
            "name = \"main\"\noutput = \"result\"\n[state]\nresult = \"last\"\n[nodes.inner]\nkind = \"graph\"\n\
             graph = \"ask\"\ninput = {{}}\ninto = \"result\"\ntimeout = \"1h\"\n{more}\n"
        )
    };
    let inner = "name = \"ask\"\noutput = \"answer.value\"\n[nodes.ask]\nkind = \"human\"\nquestion = \"well?\"\n";
    let hour = || Say::Wait(Duration::from_secs(3_601));
    let world = World::new(&[&outer("on_error = { use = \"nobody\" }"), inner]);
    assert_eq!(world.run(json!({}), vec![hour()]).await, Ok(json!("nobody")));
    let world = World::new(&[&outer("retry = { attempts = 2, backoff = \"1ms\" }"), inner]);
    let says = vec![hour(), Say::Answer(json!("yes"))];
    assert_eq!(world.run(json!({}), says).await, Ok(json!("yes")));
    let error = world.run(json!({}), vec![hour(), hour()]).await.unwrap_err();
    assert!(error.contains("took longer than 3600000 ms"), "{error}");
}

#[tokio::test]
async fn what_was_done_before_an_answer_is_not_done_again() {
    let outer = r#"
name = "main"
output = "result"
[state]
result = "last"
[nodes.inner]
kind = "graph"
graph = "ask"
input = { topic = "rain" }
into = "result"
"#;
    let inner = r#"
name = "ask"
chain = ["act", "ask", "end"]
output = "{'answer': answer.value, 'got': got, 'expired': answer.expired}"
[input]
topic = "string"
[state]
got = "last"
[nodes.act]
kind = "tool"
tool = "once"
arguments = { about = "${input.topic}" }
into = "got"
[nodes.ask]
kind = "human"
question = "What of {{ input.topic }}?"
deadline = "1h"
on_timeout = "nothing"
[nodes.ask.schema]
type = "string"
maxLength = 10
[nodes.end]
kind = "tool"
tool = "read"
arguments = { said = "${answer.value}" }
"#;
    let world = World::new(&[outer, inner]);
    let says = vec![Say::Answer(json!("far too long an answer")), Say::Answer(json!("it falls"))];
    let ended = world.run(json!({}), says).await;
    let got = json!({ "got": { "about": "rain" } });
    assert_eq!(ended, Ok(json!({ "answer": "it falls", "expired": false, "got": got })));
    assert_eq!(world.calls(), 2, "one before the question, one behind it");

    let ended = world.run(json!({}), vec![Say::Wait(Duration::from_secs(3_601))]).await;
    assert_eq!(ended, Ok(json!({ "answer": "nothing", "expired": true, "got": got })));
}

#[tokio::test]
async fn a_question_is_handed_on_before_it_expires() {
    let graph = r#"
name = "main"
output = "[answer.value, answer.expired]"
[nodes.ask]
kind = "human"
question = "ok?"
deadline = "1h"
escalate = [{ to = "ops-lead", within = "2h" }]
on_timeout = "no"
"#;
    let world = World::new(&[graph]);
    let hour = Duration::from_secs(3_601);
    let says = vec![Say::Wait(hour), Say::Answer(json!("yes"))];
    assert_eq!(world.run(json!({}), says).await, Ok(json!(["yes", false])));
    let says = vec![Say::Wait(hour), Say::Wait(hour * 2)];
    assert_eq!(world.run(json!({}), says).await, Ok(json!(["no", true])));
}

#[tokio::test]
async fn a_service_is_called_as_the_definition_says() {
    let graph = r#"
name = "main"
output = "reply"
[state]
reply = "last"
[nodes.call]
kind = "http"
method = "POST"
url = "https://example.com/items/${input.id}"
headers = { Authorization = { secret = "env:TOKEN", prefix = "Bearer " }, x-topic = "${input.topic}" }
body = { topic = "${input.topic}", id = "${input.id}" }
retry = { attempts = 3, backoff = "1ms" }
into = "reply"
"#;
    let world = World::new(&[graph]);
    let reply = world.run(json!({ "id": 7, "topic": "rain" }), Vec::new()).await;
    assert_eq!(reply, Ok(json!({ "status": 200, "body": { "ok": true } })));
    let request = world.probe.requests.lock().unwrap().pop().unwrap();
    assert_eq!(
        (request.method.as_str(), request.url.as_str()),
        ("POST", "https://example.com/items/7")
    );
    assert_eq!(request.body.as_deref(), Some(r#"{"id":7,"topic":"rain"}"#));
    assert!(request.idempotency_key.is_some());
    let headers: BTreeMap<_, _> = request.headers.into_iter().collect();
    assert_eq!(headers["x-topic"], HeaderValue::Text("rain".to_owned()));
    assert!(matches!(&headers["authorization"], HeaderValue::Secret(of) if of.name == "env:TOKEN"));

    let check = async |status: u16, expected: &str, requests: usize| {
        let world = World::new(&[graph]);
        world.probe.statuses.lock().unwrap().push(status);
        let error = world.run(json!({ "id": 7, "topic": "rain" }), Vec::new()).await.unwrap_err();
        assert!(error.contains(expected), "{status}: {error}");
        assert_eq!(world.probe.requests.lock().unwrap().len(), requests, "{status}");
    };
    check(404, "the service answered 404", 1).await;
    check(500, "may or may not have happened", 1).await;
    let world = World::new(&[graph]);
    let split = world.run(json!({ "id": 7, "topic": "rain\r\nx-evil: 1" }), Vec::new()).await;
    assert!(split.unwrap_err().contains("more than one line"));
}

#[tokio::test]
async fn what_is_cached_is_not_asked_for_again() {
    let graph = r#"
name = "main"
output = "got"
[state]
got = "last"
[nodes.read]
kind = "tool"
tool = "read"
arguments = { id = "${input.id}" }
cache = "1h"
into = "got"
"#;
    let world = World::new(&[graph]);
    for (id, calls) in [(1, 1), (1, 1), (2, 2)] {
        let got = world.run(json!({ "id": id }), Vec::new()).await.unwrap();
        assert_eq!((got["got"]["id"].clone(), world.calls()), (json!(id), calls));
    }
}

/// Every run is for the one that is next in the list.
struct Turns(Mutex<Vec<&'static str>>);

#[async_trait]
impl Payers for Turns {
    async fn payer(&self, _: RunId) -> Result<Option<Arc<Caller>>, engine::NodeError> {
        let tenant = self.0.lock().unwrap().pop();
        Ok(tenant.map(|tenant| Arc::new(Caller { tenant: tenant.into(), ..Caller::named("x") })))
    }
}

#[tokio::test]
async fn what_is_cached_for_one_tenant_is_not_there_for_another() {
    let graph = r#"
name = "main"
output = "got"
[state]
got = "last"
[nodes.ask]
kind = "http"
url = "https://example.org/"
cache = "1h"
into = "got"
"#;
    let mut world = World::new(&[graph]);
    let turns = vec!["a", "b", "b", "a"];
    let ports = Ports { payers: Some(Arc::new(Turns(turns.into()))), ..(*world.ports).clone() };
    world.ports = Arc::new(ports);
    for requests in [1, 2, 2, 2] {
        world.run(json!({}), Vec::new()).await.unwrap();
        assert_eq!(world.probe.requests.lock().unwrap().len(), requests);
    }
}

#[tokio::test]
async fn what_nobody_could_know_beforehand_fails_with_a_reason() {
    let check = async |text: &str, input: Value, expected: &str| {
        let world = World::new(&[&format!("name = \"main\"\n{text}")]);
        let error = world.run(input, Vec::new()).await.unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    };
    let nodes = "[nodes.a]\nkind = \"set\"\nvalues = {}\n[nodes.b]\nkind = \"set\"\nvalues = {}\n";
    let edge = "[[edges]]\nfrom = \"a\"\nto = \"b\"\nwhen = \"input.score > 3\"\n";
    check(&format!("{nodes}{edge}"), json!({}), "there is no `score`").await;
    check(&format!("{nodes}{edge}"), json!({ "score": [] }), "input.score > 3").await;
    let declared = format!("[input]\nscore = \"integer\"\n{nodes}{edge}");
    check(&declared, json!({ "score": "x" }), "`score` is a string, not an integer").await;
    check(&declared, json!({}), "the input `score` is missing").await;
    check(&declared, json!({ "score": 1, "scoer": 2 }), "there is no input `scoer`").await;
    let prompt =
        "[state]\nx = \"last\"\n[nodes.a]\nkind = \"prompt\"\nprompt = \"{{ x }}\"\ninto = \"x\"\n";
    check(prompt, json!({}), "`x` has no value here").await;
    let loops = "start = \"a\"\nsteps_max = 7\n[nodes.a]\nkind = \"set\"\nvalues = {}\n[[edges]]\nfrom = \"a\"\nto = \"a\"\nwhen = \"true\"\n";
    check(loops, json!({}), "7").await;
}

#[tokio::test]
async fn what_a_run_goes_by_is_read_everywhere() {
    let outer = r#"
name = "main"
output = "seen"
start = "begin"
[config]
tone = { type = "string", default = "dry" }
times = { type = "list", default = [1] }
[state]
seen = "append"
[nodes.begin]
kind = "set"
values = { seen = "config.tone" }
[nodes.each]
kind = "map"
over = "config.times"
into = "seen"
node = { kind = "tool", tool = "read", arguments = { said = "${config.tone} {{ config.tone|upper }} ${item}" } }
[nodes.inner]
kind = "graph"
graph = "inner"
into = "seen"
[nodes.wet]
kind = "set"
values = { seen = "'wet indeed'" }
[[edges]]
from = "begin"
to = "each"
[[edges]]
from = "each"
to = "inner"
[[edges]]
from = "inner"
to = "wet"
when = "config.tone == 'wet'"
"#;
    let inner = r#"
name = "inner"
output = "said"
[config]
tone = { type = "string", default = "calm" }
[state]
said = "last"
[nodes.a]
kind = "set"
values = { said = "'inside: ' + config.tone" }
"#;
    let world = World::new(&[outer, inner]);
    let seen = async |config: Value| world.configured(config, json!({}), Vec::new()).await.unwrap();
    let got = |said: &str| json!({ "got": { "said": said } });
    let dry = json!(["dry", got("dry DRY 1"), "inside: calm"]);
    assert_eq!(seen(json!({})).await, dry, "each graph has usual settings of its own");
    let wet = json!(["wet", got("wet WET 7"), "inside: wet", "wet indeed"]);
    assert_eq!(seen(json!({ "tone": "wet", "times": [7] })).await, wet);
}
