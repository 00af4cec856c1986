//! From a checked definition to a program of the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::Values;
use agentry_engine::graph::Pace;
use agentry_engine::node::Goto;
use agentry_engine::{
    END, Graph, GraphBuilder, Node, NodeContext, NodeError, NodeOutput, NodeSettings, Program,
    Reducer, START,
};
use async_trait::async_trait;
use serde_json::{Map as Object, Value};
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::check::{DEPTH_MAX, inner_graphs};
use crate::definition::{self, Definition, Field, Kind, Map, Policy, Spot};
use crate::doors::{self, ToGraph, ToItems};
use crate::ending::{Ending, ITEMS, RESULTS, STARTED, To};
use crate::expression::Expression;
use crate::ports::Ports;
use crate::routes::Routes;
use crate::step::{Outcome, Step};
use crate::types::Type;
use crate::view::{ANSWER, CONFIG, ERRORS, INPUT, Shape, View};
use crate::work::{
    AgentWork, HttpWork, HumanWork, PromptWork, SetWork, ToolWork, Visit, Work, fatal,
};

/// How long a node may go on after its time, to come to terms with that.
const GRACE: Duration = Duration::from_secs(5);
/// The node of a map's own graph.
const ITEM: &str = "item";

/// What a graph is beside its nodes.
pub(crate) struct Body {
    pub(crate) name: String,
    pub(crate) shape: Arc<Shape>,
    pub(crate) routes: Routes,
    input: Option<BTreeMap<String, Field>>,
    config: Option<BTreeMap<String, Field>>,
    output: Option<Spot<Expression>>,
}

impl Body {
    pub(crate) fn new(definition: &Definition) -> Self {
        Self {
            name: definition.name.value.clone(),
            shape: Arc::new(Shape::of(definition)),
            routes: Routes::of(definition),
            input: definition.input.clone(),
            config: definition.config.clone(),
            output: definition.output.clone(),
        }
    }

    /// What of the state a run is given, or why that is not good enough. What keys hold initially is not in it.
    pub(crate) fn begin(&self, input: Value) -> Result<Values, String> {
        let mut values = Values::new();
        if let Some(fields) = &self.input {
            let Value::Object(given) = &input else {
                return Err(format!(
                    "`{}` is given {}, not an object",
                    self.name,
                    Type::of(&input)
                ));
            };
            fit(fields, given, ("input", true))?;
            let unknown = |name: &&String| {
                !fields.contains_key(*name) && !self.shape.keys.contains_key(*name)
            };
            if let Some(name) = given.keys().find(unknown) {
                let known: Vec<&str> = fields.keys().map(String::as_str).collect();
                return Err(format!("there is no input `{name}`; there are {}", known.join(", ")));
            }
        }
        for name in self.shape.keys.keys().filter(|name| *name != ERRORS) {
            if let Some(value) = input.get(name) {
                values.insert(name.clone(), value.clone());
            }
        }
        values.insert(INPUT.to_owned(), input);
        Ok(values)
    }

    /// Whether a run can go by this, or what of it is not good enough. A run that goes on need not say everything again.
    pub(crate) fn check_config(
        &self,
        given: &Object<String, Value>,
        is_whole: bool,
    ) -> Result<(), String> {
        match &self.config {
            Some(fields) => fit(fields, given, ("setting", is_whole)),
            None => Ok(()),
        }
    }

    pub(crate) fn output(&self, values: &Values) -> Result<Value, String> {
        let view = View::new(&self.shape, values);
        if let Some(output) = &self.output {
            return view.evaluate(output);
        }
        let keys = self.shape.keys.keys().filter(|name| name.as_str() != ERRORS);
        let keys = keys.filter_map(|name| Some((name.clone(), view.get(name)?)));
        Ok(Value::Object(keys.collect()))
    }
}

/// Whether what is given is what the fields want, all of them if it is the whole.
fn fit(
    fields: &BTreeMap<String, Field>,
    given: &Object<String, Value>,
    (what, is_whole): (&str, bool),
) -> Result<(), String> {
    for (name, field) in fields {
        match given.get(name) {
            Some(value) if !field.of.fits(value) => {
                let of = Type::of(value);
                return Err(format!("the {what} `{name}` is {of}, not {}", field.of));
            }
            None if is_whole && field.required => {
                return Err(format!("the {what} `{name}` is missing"));
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

pub(crate) fn program(
    definition: &Definition,
    graphs: &BTreeMap<String, Definition>,
    ports: &Arc<Ports>,
) -> Result<Program, Error> {
    Compiler { graphs, ports, depth: 0 }.program(definition).map(|(_, program)| program)
}

struct Compiler<'a> {
    graphs: &'a BTreeMap<String, Definition>,
    ports: &'a Arc<Ports>,
    /// How many graphs are around this one.
    depth: usize,
}

/// A node on its way into a graph.
#[derive(Clone, Copy)]
struct Placed<'a> {
    name: &'a str,
    node: &'a definition::Node,
    shape: &'a Arc<Shape>,
    /// What the item is called, inside of a map.
    item: Option<&'a str>,
}

impl Compiler<'_> {
    fn program(&self, definition: &Definition) -> Result<(Arc<Body>, Program), Error> {
        let body = Arc::new(Body::new(definition));
        let mut builder = Graph::builder(&body.name)
            .revision(revision(definition, self.graphs))
            .steps_max(definition.steps_max)
            .channel(INPUT, Reducer::Last);
        if goes_by_settings(definition, self.graphs) {
            builder = builder.config_into(CONFIG);
        }
        for (name, channel) in &body.shape.keys {
            builder = match channel.initial.clone() {
                Some(initial) => builder.channel_from(name, channel.reducer.clone(), initial),
                None => builder.channel(name, channel.reducer.clone()),
            };
        }
        for (name, node) in &definition.nodes {
            let placed = Placed { name, node, shape: &body.shape, item: None };
            builder = self.node(builder, name, placed)?;
        }
        let builder = definition.evolution.evolve(builder);
        let program = edges(builder, &body, &definition.starts()).build()?;
        Ok((body, program))
    }

    fn node(
        &self,
        builder: GraphBuilder,
        called: &str,
        placed: Placed<'_>,
    ) -> Result<GraphBuilder, Error> {
        let Placed { name, node, shape, item } = placed;
        let work: Box<dyn Work> = match &node.kind {
            Kind::Map(map) => return self.map(builder, map, placed),
            Kind::Graph(graph) => {
                let (inner, program) = self.inner(&graph.graph.value)?;
                let (shape, ending) = (Arc::clone(shape), placed.ending());
                let (input, item) = (graph.input.clone(), item.map(str::to_owned));
                let door = ToGraph { inner, shape, input, item, ending };
                let settings = settings_around(&node.policy);
                return Ok(builder.subgraph_through(called, settings, (program, door)));
            }
            Kind::Prompt(prompt) => {
                Box::new(PromptWork { prompt: prompt.clone(), node: name.to_owned() })
            }
            Kind::Agent(agent) => Box::new(AgentWork { agent: agent.clone() }),
            Kind::Tool(tool) => Box::new(ToolWork { tool: tool.clone() }),
            Kind::Http(http) => Box::new(HttpWork { http: http.clone() }),
            Kind::Human(human) => Box::new(HumanWork { human: human.clone() }),
            Kind::Set(values) => {
                let values = values.iter().map(|(key, value)| (key.value.clone(), value.clone()));
                Box::new(SetWork { values: values.collect() })
            }
        };
        let step = Step { work, ending: placed.ending(), policy: node.policy.clone() };
        let visited = Visited {
            step,
            shape: Arc::clone(shape),
            ports: Arc::clone(self.ports),
            item: item.map(str::to_owned),
        };
        Ok(builder.node_with(called, settings(&node.policy), visited))
    }

    fn inner(&self, name: &str) -> Result<(Arc<Body>, Program), Error> {
        let definition = self.graphs.get(name).ok_or_else(|| Error::Unknown(name.to_owned()))?;
        if self.depth >= DEPTH_MAX {
            return Err(Error::Deep(name.to_owned()));
        }
        Self { depth: self.depth + 1, ..*self }.program(definition)
    }

    /// A graph of its own, in which an item begins as soon as another one is done.
    fn map(
        &self,
        builder: GraphBuilder,
        map: &Map,
        placed: Placed<'_>,
    ) -> Result<GraphBuilder, Error> {
        let Map { over, item, node, concurrency, items_max } = map;
        let steps = u32::try_from(*items_max).unwrap_or(u32::MAX).saturating_add(2);
        let inner = Graph::builder(placed.name)
            .steps_max(steps)
            .pace(Pace::Free)
            .channel(ITEMS, Reducer::Last)
            .channel(STARTED, Reducer::Sum)
            .channel(RESULTS, Reducer::Append);
        let one = Placed { name: placed.name, node, shape: placed.shape, item: Some(item) };
        let inner = self.node(inner, ITEM, one)?;
        let inner = inner
            .branch(START, "the first items", [ITEM, END], |values| {
                let (items, started) = progress(values);
                let first = items.iter().take(started).enumerate();
                Ok(first.map(|(index, item)| send(item, index)).collect())
            })
            .branch(ITEM, "the next item", [ITEM, END], |values| {
                let (items, started) = progress(values);
                let next =
                    started.checked_sub(1).and_then(|index| Some((items.get(index)?, index)));
                Ok(next.map(|(item, index)| send(item, index)).into_iter().collect())
            });
        let door = ToItems {
            over: over.clone(),
            shape: Arc::clone(placed.shape),
            concurrency: *concurrency,
            items_max: *items_max,
            ending: placed.ending(),
        };
        let settings = settings_around(&placed.node.policy);
        Ok(builder.subgraph_through(placed.name, settings, (inner.build()?, door)))
    }
}

/// The items of a map, and how many of them have begun.
fn progress(values: &Values) -> (&[Value], usize) {
    let items = values.get(ITEMS).and_then(Value::as_array);
    let started = values.get(STARTED).and_then(Value::as_u64);
    let started = started.and_then(|started| usize::try_from(started).ok());
    (items.map(Vec::as_slice).unwrap_or_default(), started.unwrap_or_default())
}

fn send(item: &Value, index: usize) -> Goto {
    Goto::send(ITEM, doors::sent(item, index))
}

impl Placed<'_> {
    fn ending(&self) -> Ending {
        let Self { name, node, shape, item } = self;
        let human = matches!(node.kind, Kind::Human(_)).then(|| ANSWER.to_owned());
        let into = node.into.as_ref().map(|into| into.value.clone()).or(human);
        let appends = |key: &String| {
            shape.keys.get(key).is_some_and(|channel| channel.reducer == Reducer::Append)
        };
        let spreads = matches!(node.kind, Kind::Map(_)) && into.as_ref().is_some_and(appends);
        Ending {
            name: (*name).to_owned(),
            to: if item.is_some() { To::Results } else { To::State { into, spreads } },
            speaks: matches!(node.kind, Kind::Prompt(_) | Kind::Agent(_)),
            on_error: node.policy.on_error.clone(),
        }
    }
}

fn settings(policy: &Policy) -> NodeSettings {
    let settings = NodeSettings::default().attempts(policy.attempts, policy.backoff);
    let settings = match policy.timeout {
        Some(timeout) => settings.deadline(timeout.saturating_add(GRACE)),
        None => settings,
    };
    NodeSettings { backoff_max_ms: millis(policy.backoff_max), ..settings }
}

/// Of a node with other nodes inside, which have settings of their own.
fn settings_around(policy: &Policy) -> NodeSettings {
    let mut settings = NodeSettings::default();
    if let Some(timeout) = policy.timeout {
        settings = settings.deadline(timeout);
    }
    if policy.attempts > 1 {
        settings = settings.attempts(policy.attempts, policy.backoff);
        settings.backoff_max_ms = millis(policy.backoff_max);
    }
    settings
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A node of the engine.
struct Visited {
    step: Step,
    /// Of the graph that it is written in.
    shape: Arc<Shape>,
    ports: Arc<Ports>,
    item: Option<String>,
}

#[async_trait]
impl Node for Visited {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let visit = Visit::new(cx, &self.ports, self.step.timeout());
        let item = (self.item.as_deref(), cx.arg());
        let view = doors::view(&self.shape, (state, cx.above()), item);
        Ok(match self.step.visit(&visit, &view).await? {
            Outcome::Asks(ask) => NodeOutput::ask(*ask),
            Outcome::Writes(puts) => puts
                .into_iter()
                .fold(NodeOutput::done(), |output, (key, put)| output.put(&key, put)),
        })
    }
}

fn edges(mut builder: GraphBuilder, body: &Arc<Body>, starts: &[String]) -> GraphBuilder {
    for start in starts {
        builder = builder.edge(START, start);
    }
    for (from, to) in &body.routes.joins {
        for to in to {
            builder = builder.join(from.iter().map(String::as_str), to);
        }
    }
    for (name, way) in &body.routes.ways {
        let targets = way.targets();
        let joins = body.routes.joins.iter().any(|(from, _)| from.contains(name));
        if !way.is_plain() {
            let (inner, node) = (Arc::clone(body), name.clone());
            let all = targets.iter().copied().chain([END]);
            let router = format!("{name}: {}", way.shown());
            builder = builder.branch(name, &router, all, move |values| {
                let view = View::new(&inner.shape, values);
                let next = inner.routes.after(&node, &view).map_err(fatal)?;
                Ok(next.iter().map(|next| Goto::node(next)).collect())
            });
        } else if targets.is_empty() && !joins {
            builder = builder.edge(name, END);
        } else {
            builder = builder.fan_out(name, targets);
        }
    }
    builder
}

/// Changes with everything that the graph does, inner graphs included.
fn revision(definition: &Definition, graphs: &BTreeMap<String, Definition>) -> u32 {
    let mut digest = Sha256::new();
    for definition in with_inner(definition, graphs) {
        digest.update(definition.written.to_string());
    }
    digest.finalize().iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// Whether it, or a graph inside of it, asks for what runs are given to go by.
fn goes_by_settings(definition: &Definition, graphs: &BTreeMap<String, Definition>) -> bool {
    with_inner(definition, graphs).iter().any(|definition| definition.config.is_some())
}

/// A graph and all that run inside of it, each once.
fn with_inner<'a>(
    definition: &'a Definition,
    graphs: &'a BTreeMap<String, Definition>,
) -> Vec<&'a Definition> {
    let mut open = vec![definition];
    let mut seen: Vec<&Definition> = Vec::new();
    while let Some(definition) = open.pop() {
        let name = &definition.name.value;
        if seen.iter().any(|other| other.name.value == *name) {
            continue;
        }
        seen.push(definition);
        open.extend(
            inner_graphs(definition).iter().filter_map(|(_, name)| graphs.get(&name.value)),
        );
    }
    seen
}
