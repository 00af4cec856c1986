//! From a checked definition to a program of the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::{Delta, Values};
use agentry_engine::node::Goto;
use agentry_engine::{
    END, Graph, GraphBuilder, Node, NodeContext, NodeError, NodeOutput, NodeSettings, Program,
    Reducer, START,
};
use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::check::{DEPTH_MAX, inner_graphs};
use crate::definition::{self, Definition, Field, Kind, Spot};
use crate::expression::Expression;
use crate::ports::Ports;
use crate::routes::Routes;
use crate::step::{Outcome, Step, Write};
use crate::types::Type;
use crate::view::{ERRORS, INPUT, Shape, View};
use crate::work::{
    AgentWork, GraphWork, HttpWork, HumanWork, MapWork, PromptWork, SetWork, ToolWork, Visit, Work,
    fatal,
};

/// How long a node may go on after its time, to come to terms with that.
const GRACE: Duration = Duration::from_secs(5);

/// Everything that running a graph takes, but for the outside.
pub(crate) struct Body {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) steps: BTreeMap<String, Arc<Step>>,
    pub(crate) routes: Routes,
    pub(crate) starts: Vec<String>,
    pub(crate) steps_max: u32,
    input: Option<BTreeMap<String, Field>>,
    output: Option<Spot<Expression>>,
}

impl Body {
    pub(crate) fn new(
        definition: &Definition,
        graphs: &BTreeMap<String, Definition>,
        depth: usize,
    ) -> Result<Self, Error> {
        let shape = Shape::of(definition);
        let mut steps = BTreeMap::new();
        for (name, node) in &definition.nodes {
            let step = step(name, node, &shape, &Inner { graphs, depth })?;
            steps.insert(name.clone(), Arc::new(step));
        }
        Ok(Self {
            name: definition.name.value.clone(),
            shape,
            steps,
            routes: Routes::of(definition),
            starts: definition.starts(),
            steps_max: definition.steps_max,
            input: definition.input.clone(),
            output: definition.output.clone(),
        })
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
            for (name, field) in fields {
                match given.get(name) {
                    Some(value) if !field.of.fits(value) => {
                        let of = Type::of(value);
                        return Err(format!("the input `{name}` is {of}, not {}", field.of));
                    }
                    None if field.required => {
                        return Err(format!("the input `{name}` is missing"));
                    }
                    Some(_) | None => {}
                }
            }
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

struct Inner<'a> {
    graphs: &'a BTreeMap<String, Definition>,
    depth: usize,
}

fn step(
    name: &str,
    node: &definition::Node,
    shape: &Shape,
    inner: &Inner<'_>,
) -> Result<Step, Error> {
    let human = matches!(node.kind, Kind::Human(_)).then(|| crate::view::ANSWER.to_owned());
    let into = node.into.as_ref().map(|into| into.value.clone()).or(human);
    let appends = |key: &String| {
        shape.keys.get(key).is_some_and(|channel| channel.reducer == Reducer::Append)
    };
    let spreads = matches!(node.kind, Kind::Map(_)) && into.as_ref().is_some_and(appends);
    let work = work(name, &node.kind, shape, inner)?;
    Ok(Step { name: name.to_owned(), work, into, spreads, policy: node.policy.clone() })
}

fn work(name: &str, kind: &Kind, shape: &Shape, inner: &Inner<'_>) -> Result<Box<dyn Work>, Error> {
    Ok(match kind {
        Kind::Prompt(prompt) => {
            Box::new(PromptWork { prompt: prompt.clone(), node: name.to_owned() })
        }
        Kind::Agent(agent) => Box::new(AgentWork { agent: agent.clone() }),
        Kind::Tool(tool) => Box::new(ToolWork { tool: tool.clone() }),
        Kind::Http(http) => Box::new(HttpWork { http: http.clone() }),
        Kind::Human(human) => Box::new(HumanWork { human: human.clone() }),
        Kind::Map(map) => Box::new(MapWork {
            over: map.over.clone(),
            item: map.item.clone(),
            step: Arc::new(step(name, &map.node, shape, inner)?),
            concurrency: map.concurrency,
            items_max: map.items_max,
        }),
        Kind::Graph(graph) => {
            let name = &graph.graph.value;
            let definition = inner.graphs.get(name);
            let definition = definition.ok_or_else(|| Error::Unknown(name.clone()))?;
            if inner.depth >= DEPTH_MAX {
                return Err(Error::Deep(name.clone()));
            }
            let body = Arc::new(Body::new(definition, inner.graphs, inner.depth + 1)?);
            Box::new(GraphWork { body, input: graph.input.clone() })
        }
        Kind::Set(values) => {
            let values = values.iter().map(|(key, value)| (key.value.clone(), value.clone()));
            Box::new(SetWork { values: values.collect() })
        }
    })
}

/// A node of the engine.
struct Visited {
    step: Arc<Step>,
    body: Arc<Body>,
    ports: Arc<Ports>,
}

#[async_trait]
impl Node for Visited {
    async fn run(&self, cx: &NodeContext, state: &Values) -> Result<NodeOutput, NodeError> {
        let visit = Visit::new(cx, &self.ports, self.step.policy.timeout);
        let view = View::new(&self.body.shape, state);
        Ok(match self.step.visit(&visit, &view).await? {
            Outcome::Asks(ask) => NodeOutput::ask(*ask),
            Outcome::Writes(writes) => {
                writes.into_iter().fold(NodeOutput::done(), |output, (key, write)| match write {
                    Write::Value(value) => output.set(&key, value),
                    Write::Items(items) => output.write(&key, Delta::Append(items)),
                })
            }
        })
    }
}

pub(crate) fn program(
    definition: &Definition,
    graphs: &BTreeMap<String, Definition>,
    ports: &Arc<Ports>,
) -> Result<Program, Error> {
    let body = Arc::new(Body::new(definition, graphs, 0)?);
    let mut builder = Graph::builder(&body.name)
        .revision(revision(definition, graphs))
        .steps_max(body.steps_max)
        .channel(INPUT, Reducer::Last);
    for (name, channel) in &body.shape.keys {
        builder = match channel.initial.clone() {
            Some(initial) => builder.channel_from(name, channel.reducer.clone(), initial),
            None => builder.channel(name, channel.reducer.clone()),
        };
    }
    for (name, step) in &body.steps {
        let policy = &step.policy;
        let mut settings = NodeSettings::default()
            .deadline(policy.timeout.saturating_add(GRACE))
            .attempts(policy.attempts, policy.backoff);
        settings.backoff_max_ms = u64::try_from(policy.backoff_max.as_millis()).unwrap_or(u64::MAX);
        let (step, body, ports) = (Arc::clone(step), Arc::clone(&body), Arc::clone(ports));
        builder = builder.node_with(name, settings, Visited { step, body, ports });
    }
    Ok(edges(builder, &body).build()?)
}

fn edges(mut builder: GraphBuilder, body: &Arc<Body>) -> GraphBuilder {
    for start in &body.starts {
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
            builder = builder.branch(name, &way.shown(), all, move |values| {
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
    let mut open = vec![definition];
    let mut seen = Vec::new();
    while let Some(definition) = open.pop() {
        let name = &definition.name.value;
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        digest.update(definition.written.to_string());
        open.extend(
            inner_graphs(definition).iter().filter_map(|(_, name)| graphs.get(&name.value)),
        );
    }
    digest.finalize().iter().take(4).fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}
