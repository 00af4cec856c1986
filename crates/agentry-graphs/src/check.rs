//! What is wrong with a definition, found before anything runs: all of it, each at its place.

use std::collections::{BTreeMap, BTreeSet};

use agentry_engine::Reducer;
use agentry_notation::reader::nearest;
use agentry_notation::{At, Notes, Place, Problem};

use crate::definition::{Definition, Given, Kind, Map, Node, OnError, Spot};
use crate::expression::Expression;
use crate::ports::{Catalogue, MODEL};
use crate::template::Template;
use crate::types::{Fields, Type};
use crate::view::{ANSWER, CONFIG, INDEX, Shape};

mod secrets;
mod ways;

/// How deep graphs may run inside of each other.
pub(crate) const DEPTH_MAX: usize = 8;

/// Everything that a definition is held against.
pub(crate) struct Around<'a> {
    /// All graphs, by name.
    pub(crate) graphs: &'a BTreeMap<String, Definition>,
    pub(crate) catalogue: &'a Catalogue,
    /// Whether a graph that is not there cannot be in a file that could not be read.
    pub(crate) complete: bool,
}

pub(crate) fn check(definition: &Definition, around: &Around<'_>, notes: &Notes<'_>) {
    let shape = Shape::of(definition);
    let check = Check { definition, around, notes, scope: shape.scope(), shape };
    for (name, node) in &definition.nodes {
        check.node(name, node);
    }
    if let Some(output) = &definition.output {
        check.expression(output, &check.scope);
    }
    check.conditions();
    ways::check(definition, notes);
    check.recursion();
}

struct Check<'a> {
    definition: &'a Definition,
    around: &'a Around<'a>,
    notes: &'a Notes<'a>,
    shape: Shape,
    scope: BTreeMap<String, Type>,
}

impl Check<'_> {
    fn report(&self, place: &Place, message: impl Into<String>) {
        self.notes.report(Problem::new(place.clone(), message));
    }

    fn report_with(&self, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.notes.report(Problem::new(place.clone(), message).help(help));
    }

    fn node(&self, name: &str, node: &Node) {
        let result = self.kind(node, &self.scope);
        match &node.into {
            Some(into) => self.into(into, node, &result),
            None => match &node.kind {
                Kind::Prompt(_) | Kind::Map(_) => {
                    let message = format!("`{name}` needs `into`");
                    let help = "name the key of the state that takes what it comes to";
                    self.report_with(&node.place, message, help);
                }
                Kind::Human(_) => {
                    let into = At { place: node.place.clone(), value: ANSWER.to_owned() };
                    self.into(&into, node, &result);
                }
                _ => {}
            },
        }
        if let OnError::Goto(target) = &node.policy.on_error {
            let names = self.definition.nodes.keys().chain(&self.definition.unread);
            let names: Vec<&str> = names.map(String::as_str).collect();
            if !names.contains(&target.value.as_str()) {
                let message = format!("there is no node `{}`", target.value);
                self.unknown(&target.place, message, &target.value, &names);
            }
        }
        if let OnError::Use(At { place, .. }) = &node.policy.on_error
            && node.into.is_none()
            && !matches!(node.kind, Kind::Human(_))
        {
            self.report(place, format!("`{name}` has no `into` that could take this"));
        }
    }

    fn unknown(&self, place: &Place, message: String, name: &str, known: &[&str]) {
        let help = match nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "there are none".to_owned(),
            None => format!("there are {}", known.join(", ")),
        };
        self.report_with(place, message, help);
    }

    /// Checks what is inside of a node, and tells what it comes to.
    fn kind(&self, node: &Node, scope: &BTreeMap<String, Type>) -> Type {
        match &node.kind {
            Kind::Prompt(prompt) => {
                let model = prompt.model.as_ref();
                let place = model.map_or(&node.place, |model| &model.place);
                let name = model.map_or(MODEL, |model| model.value.as_str());
                self.known(place, ("model", name), self.around.catalogue.models.as_ref());
                for template in prompt.system.iter().chain([&prompt.prompt]) {
                    self.template(template, scope);
                }
            }
            Kind::Agent(agent) => {
                let known = self.around.catalogue.agents.as_ref();
                let known = known.map(|agents| agents.keys().cloned().collect());
                self.known(&agent.agent.place, ("agent", &agent.agent.value), known.as_ref());
                self.given(&agent.input, scope);
            }
            Kind::Tool(tool) => {
                let of = self.given(&tool.arguments, scope);
                self.tool(&tool.tool, &tool.arguments, &of);
            }
            Kind::Http(http) => {
                let texts = http.headers.iter().filter_map(|(_, header)| header.text());
                for given in texts.chain([&http.url]).chain(&http.body) {
                    self.given(given, scope);
                }
                secrets::check(http, self.notes);
            }
            Kind::Map(map) => return self.map(map, scope),
            Kind::Human(human) => {
                self.template(&human.question, scope);
                for key in human.show.iter().filter(|key| !scope.contains_key(&key.value)) {
                    self.no_key(&key.place, &key.value, scope);
                }
                self.timeout(human);
            }
            Kind::Graph(graph) => self.graph(graph, scope),
            Kind::Set(values) => {
                for (key, expression) in values {
                    let of = self.expression(expression, scope);
                    self.write(key, &of, &expression.place);
                }
            }
        }
        self.result(node, 0)
    }

    fn known(&self, place: &Place, (what, name): (&str, &str), known: Option<&BTreeSet<String>>) {
        let Some(known) = known.filter(|known| !known.contains(name)) else { return };
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        self.unknown(place, format!("there is no {what} `{name}`"), name, &known);
    }

    fn tool(&self, tool: &At<String>, arguments: &Given, of: &Type) {
        let Some(tools) = &self.around.catalogue.tools else { return };
        let Some(spec) = tools.get(&tool.value) else {
            let known: Vec<&str> = tools.keys().map(String::as_str).collect();
            let message = format!("there is no tool `{}`", tool.value);
            return self.unknown(&tool.place, message, &tool.value, &known);
        };
        let Type::Object(given) = of else {
            return self.report(&arguments.place, format!("arguments are an object, not {of}"));
        };
        let named = |word: &str| spec.parameters.get(word).and_then(|value| value.as_array());
        let required = named("required").into_iter().flatten().filter_map(|name| name.as_str());
        for name in required.filter(|name| !given.known.contains_key(*name)) {
            let message = format!("the tool `{}` needs `{name}`", tool.value);
            self.report_with(&arguments.place, message, format!("add {name} = ..."));
        }
        let Type::Object(wanted) = Type::of_schema(&spec.parameters) else { return };
        for (name, of) in &given.known {
            match wanted.known.get(name) {
                Some(wanted) if of.is_never(wanted) => {
                    let message = format!("`{name}` is {of}, but the tool takes {wanted}");
                    self.report(&arguments.place, message);
                }
                None if !wanted.open => {
                    let message = format!("the tool `{}` has no `{name}`", tool.value);
                    let known: Vec<&str> = wanted.known.keys().map(String::as_str).collect();
                    self.unknown(&arguments.place, message, name, &known);
                }
                Some(_) | None => {}
            }
        }
    }

    fn map(&self, map: &Map, scope: &BTreeMap<String, Type>) -> Type {
        let item = match self.expression(&map.over, scope) {
            Type::List(item) => *item,
            Type::Any => Type::Any,
            other => {
                self.report(&map.over.place, format!("a map goes over a list, not {other}"));
                Type::Any
            }
        };
        let mut inner = scope.clone();
        inner.insert(map.item.clone(), item);
        inner.insert(INDEX.to_owned(), Type::Integer);
        Type::list(self.kind(&map.node, &inner))
    }

    fn timeout(&self, human: &crate::definition::Human) {
        let Some(At { place, value }) = &human.on_timeout else { return };
        if let Some(schema) = &human.schema {
            for complaint in schema.value.complaints(value) {
                self.report(
                    place,
                    format!("the answer that counts then does not fit: {complaint}"),
                );
            }
        }
        let said = value.as_str().or_else(|| value.get("decision")?.as_str());
        if let Some(said) = said.filter(|said| !human.options.iter().any(|option| option == said))
            && !human.options.is_empty()
        {
            let known: Vec<&str> = human.options.iter().map(String::as_str).collect();
            let message = format!("`{said}` is none of the options");
            self.unknown(place, message, said, &known);
        }
    }

    fn graph(&self, graph: &crate::definition::Graph, scope: &BTreeMap<String, Type>) {
        let name = &graph.graph;
        let given = graph.input.as_ref().map(|input| (input, self.given(input, scope)));
        let Some(inner) = self.around.graphs.get(&name.value) else {
            if !self.around.complete {
                return;
            }
            let known: Vec<&str> = self.around.graphs.keys().map(String::as_str).collect();
            let message = format!("there is no graph `{}`", name.value);
            return self.unknown(&name.place, message, &name.value, &known);
        };
        let Some(fields) = &inner.input else { return };
        let (place, known) = match &given {
            Some((input, Type::Object(Fields { known, open: false }))) => (&input.place, known),
            Some(_) => return,
            None => (&name.place, &BTreeMap::new()),
        };
        for (field, _) in fields.iter().filter(|(_, field)| field.required) {
            if !known.contains_key(field) {
                let message = format!("the graph `{}` needs `{field}`", name.value);
                self.report_with(place, message, format!("add {field} = ... to its input"));
            }
        }
        for (given, of) in known {
            match fields.get(given) {
                None => {
                    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
                    let message = format!("the graph `{}` takes no `{given}`", name.value);
                    self.unknown(place, message, given, &names);
                }
                Some(field) if of.is_never(&field.of) => {
                    let message = format!("`{given}` is {of}, but the graph takes {}", field.of);
                    self.report(place, message);
                }
                Some(_) => {}
            }
        }
    }

    fn template(&self, template: &Spot<Template>, scope: &BTreeMap<String, Type>) {
        for name in template.value.names().iter().filter(|name| !scope.contains_key(*name)) {
            self.no_key(&template.word(name), name, scope);
        }
        for path in template.value.paths() {
            self.path(template, path, scope);
        }
    }

    /// A field that a template looks at.
    fn path(&self, template: &Spot<Template>, path: &str, scope: &BTreeMap<String, Type>) {
        let mut parts = path.split('.');
        let Some(mut at) = parts.next().and_then(|name| scope.get(name)) else { return };
        for part in parts {
            let Type::Object(Fields { known, open }) = at else {
                if matches!(at, Type::Text | Type::Integer | Type::Number | Type::Bool) {
                    let message = format!("`{path}` leads into {at}");
                    self.report(&template.word(path), message);
                }
                return;
            };
            match known.get(part) {
                Some(of) => at = of,
                None if *open => return,
                None => {
                    let known: Vec<&str> = known.keys().map(String::as_str).collect();
                    let message = format!("`{path}`: there is no `{part}`");
                    return self.unknown(&template.word(path), message, part, &known);
                }
            }
        }
    }

    fn no_key(&self, place: &Place, name: &str, scope: &BTreeMap<String, Type>) {
        let known: Vec<&str> = scope.keys().map(String::as_str).collect();
        if name == CONFIG {
            let message = "this graph declares nothing that runs go by";
            return self.report_with(place, message, "declare it: [config] with NAME = \"TYPE\"");
        }
        let message = format!("there is no `{name}` in the state");
        let help = match nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it under [state]; there are {}", known.join(", ")),
        };
        self.report_with(place, message, help);
    }

    fn expression(&self, expression: &Spot<Expression>, scope: &BTreeMap<String, Type>) -> Type {
        let (of, bad) = expression.value.infer(scope);
        let unknown: Vec<&str> =
            expression.value.names().filter(|name| !scope.contains_key(*name)).collect();
        for bad in bad {
            let place = expression.part(bad.range.clone());
            match unknown
                .iter()
                .find(|name| bad.message.contains(&format!("no `{name}` in the state")))
            {
                Some(name) => self.no_key(&place, name, scope),
                None => self.report(&place, bad.message),
            }
        }
        of
    }

    fn given(&self, given: &Given, scope: &BTreeMap<String, Type>) -> Type {
        let known = |name: &str| scope.get(name).cloned();
        for leaf in &given.leaves {
            let mut bad = Vec::new();
            leaf.value.infer(&known, &mut bad);
            for problem in bad {
                self.report(&leaf.place, problem);
            }
            let mut unknown: Vec<&str> = leaf.value.names();
            unknown.retain(|name| !scope.contains_key(*name));
            unknown.dedup();
            for name in unknown {
                self.no_key(&leaf.word(name), name, scope);
            }
        }
        given.value.infer(&known, &mut Vec::new())
    }

    /// What a node comes to, as far as its definition tells.
    fn result(&self, node: &Node, depth: usize) -> Type {
        let result = match &node.kind {
            Kind::Prompt(prompt) => prompt
                .schema
                .as_ref()
                .map_or(Type::Text, |schema| Type::of_schema(schema.value.source())),
            Kind::Agent(agent) => {
                let agents = self.around.catalogue.agents.as_ref();
                agents.and_then(|all| all.get(&agent.agent.value)).cloned().unwrap_or_default()
            }
            Kind::Tool(_) | Kind::Set(_) => Type::Any,
            Kind::Http(_) => {
                let known = [("status", Type::Integer), ("body", Type::Any)];
                let known = known.map(|(name, of)| (name.to_owned(), of));
                Type::Object(Fields { known: known.into(), open: false })
            }
            Kind::Map(map) => Type::list(self.result(&map.node, depth)),
            Kind::Human(human) => crate::work::human::answer_type(human),
            Kind::Graph(graph) => match self.around.graphs.get(&graph.graph.value) {
                Some(inner) if depth < DEPTH_MAX => {
                    let shape = Shape::of(inner);
                    match &inner.output {
                        Some(output) => output.value.infer(&shape.scope()).0,
                        None => {
                            let known = shape.keys.into_iter().map(|(name, key)| (name, key.of));
                            Type::Object(Fields { known: known.collect(), open: true })
                        }
                    }
                }
                Some(_) | None => Type::Any,
            },
        };
        match &node.policy.on_error {
            OnError::Use(At { value, .. }) => result.join(Type::of(value)),
            OnError::Fail | OnError::Skip | OnError::Goto(_) => result,
        }
    }

    fn into(&self, into: &At<String>, node: &Node, result: &Type) {
        // A map's results are appended one by one.
        let appends =
            |key: &str| self.shape.keys.get(key).is_some_and(|key| key.reducer == Reducer::Append);
        match (&node.kind, result) {
            (Kind::Map(_), Type::List(item)) if appends(&into.value) => {
                self.write(into, item, &into.place);
            }
            _ => self.write(into, result, &into.place),
        }
    }

    fn write(&self, key: &At<String>, of: &Type, place: &Place) {
        let Some(channel) = self.shape.keys.get(&key.value) else {
            let known: Vec<&str> = self.definition.state.keys().map(String::as_str).collect();
            let message = format!("there is no `{}` in the state", key.value);
            let help = match nearest(&key.value, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("declare it under [state], as in {} = \"last\"", key.value),
            };
            return self.report_with(&key.place, message, help);
        };
        let wanted = match (&channel.reducer, &channel.of) {
            // A text is a message too, and so are several of them at once.
            (Reducer::Messages, _) if matches!(of, Type::Text | Type::List(_)) => return,
            (Reducer::Append | Reducer::Messages, Type::List(item)) => item.as_ref(),
            _ => &channel.of,
        };
        if of.is_never(wanted) {
            let message = format!("`{}` takes {wanted}, and this is {of}", key.value);
            self.report(place, message);
        }
    }

    fn conditions(&self) {
        for edge in &self.definition.edges {
            let crate::definition::When::Holds(condition) = &edge.when else { continue };
            let of = self.expression(condition, &self.scope);
            if of.is_never(&Type::Bool) {
                let message = format!("a condition is true or false, and this is {of}");
                self.report(&condition.place, message);
            }
        }
    }

    /// Graphs that run inside of each other must come to an end.
    fn recursion(&self) {
        for (_, name) in inner_graphs(self.definition) {
            let mut path = vec![self.definition.name.value.clone()];
            self.descend(&name.value, &name.place, &mut path);
        }
    }

    fn descend(&self, name: &str, place: &Place, path: &mut Vec<String>) {
        if path.iter().any(|outer| outer == name) {
            if path.first().is_some_and(|first| first == name) {
                let way = format!("{} → {name}", path.join(" → "));
                let help = "graphs are not recursive: loop with an edge instead";
                self.report_with(place, format!("this graph runs inside of itself: {way}"), help);
            }
            return;
        }
        if path.len() > DEPTH_MAX {
            let message = format!("graphs are nested more than {DEPTH_MAX} deep");
            return self.report(place, message);
        }
        path.push(name.to_owned());
        for (_, inner) in self.around.graphs.get(name).into_iter().flat_map(inner_graphs) {
            self.descend(&inner.value, place, path);
        }
        path.pop();
    }
}

/// The nodes that run other graphs.
pub(crate) fn inner_graphs(definition: &Definition) -> Vec<(&str, &At<String>)> {
    let nodes = definition.nodes.iter();
    let found = nodes.filter_map(|(name, node)| {
        let node = match &node.kind {
            Kind::Map(map) => &map.node,
            _ => node,
        };
        match &node.kind {
            Kind::Graph(graph) => Some((name.as_str(), &graph.graph)),
            _ => None,
        }
    });
    found.collect()
}

#[cfg(test)]
mod tests;
