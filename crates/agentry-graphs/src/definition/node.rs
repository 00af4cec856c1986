//! One node of a definition.

use std::time::Duration;

use agentry_notation::reader::nearest;
use agentry_notation::tree::Value as Written;
use agentry_notation::{At, Place, Problem, Reader, Unreadable, value};

use super::read::{Source, argument, check_key, json, names, template};
use super::{
    Agent, Escalation, Given, Graph, Header, Http, Human, Kind, Map, Node, OnError, Policy, Prompt,
    Secret, Spot, Tool,
};
use crate::argument::Argument;
use crate::expression::Expression;
use crate::schema::Schema;

/// More attempts only hide what is wrong.
const ATTEMPTS_MAX: u32 = 100;
/// Items that one map may go through, if it does not say less.
const ITEMS_MAX: u32 = 10_000;
const ITEMS_USUAL: u32 = 100;
const CONCURRENCY_MAX: u32 = 256;
const CONCURRENCY_USUAL: u32 = 8;
const RESPONSE_BYTES: usize = 1 << 20;
const RESPONSE_BYTES_MAX: usize = 16 << 20;
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// What a node stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outer {
    Graph,
    /// It is run for each item: where its results go is for the map to say.
    Map,
}

pub(super) fn read(mut table: Reader<'_>, source: &Source<'_>, outer: Outer) -> Option<Node> {
    let place = table.place().clone();
    let kind = table.required("kind", "\"prompt\"", kind);
    let Some(At { value: word, .. }) = kind else {
        // Which keys it may have, only the kind tells.
        return None;
    };
    let into = match outer {
        Outer::Graph if word != "set" => table.read("into", value::text),
        Outer::Graph | Outer::Map => None,
    };
    let kind = match word {
        "prompt" => prompt(&mut table, source).map(Kind::Prompt),
        "agent" => agent(&mut table, source).map(Kind::Agent),
        "tool" => tool(&mut table, source).map(Kind::Tool),
        "http" => http(&mut table, source).map(Kind::Http),
        "map" => map(&mut table, source, outer).map(|map| Kind::Map(Box::new(map))),
        "human" => human(&mut table, source).map(Kind::Human),
        "graph" => graph(&mut table, source).map(Kind::Graph),
        _ => set(&mut table, source, outer).map(Kind::Set),
    };
    let policy = policy(&mut table, word, outer);
    table.finish();
    Some(Node { place, kind: kind?, into, policy })
}

fn kind(written: &Written) -> Result<&'static str, Unreadable> {
    let word = value::text(written)?;
    if let Some(kind) = Kind::NAMES.iter().find(|kind| **kind == word) {
        return Ok(*kind);
    }
    let help = match nearest(&word, &Kind::NAMES) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", Kind::NAMES.join(", ")),
    };
    Err(Unreadable::new(format!("is \"{word}\", which is no kind of node")).help(help))
}

fn policy(table: &mut Reader<'_>, kind: &str, outer: Outer) -> Policy {
    let notes = table.notes();
    let usual = match kind {
        "map" | "graph" => None,
        "prompt" => Some(120),
        "agent" => Some(300),
        "human" | "set" => Some(10),
        _ => Some(60),
    };
    let mut policy = Policy {
        timeout: usual.map(Duration::from_secs),
        attempts: 1,
        backoff: Duration::from_millis(500),
        backoff_max: Duration::from_secs(60),
        cache: None,
        on_error: OnError::Fail,
    };
    if kind == "set" {
        return policy;
    }
    if kind != "human" {
        if let Some(at) = table.read("timeout", value::duration) {
            policy.timeout = Some(at.value);
        }
        if let Some(mut retry) = table.table("retry") {
            policy.attempts = retry.or("attempts", 3, |value| match value::at_least_one(value)? {
                attempts if attempts <= ATTEMPTS_MAX => Ok(attempts),
                _ => Err(Unreadable::new(format!("must be at most {ATTEMPTS_MAX}"))),
            });
            policy.backoff = retry.or("backoff", policy.backoff, value::duration);
            policy.backoff_max = retry.or("backoff_max", policy.backoff_max, value::duration);
            retry.finish();
        }
    }
    if ["prompt", "agent", "tool", "http"].contains(&kind) {
        policy.cache = table.read("cache", value::duration);
    }
    let required = table.read("required", value::flag);
    let on_error = on_error(table, outer);
    policy.on_error = match (on_error, required) {
        (Some(_), Some(At { place, value: false })) => {
            let message = "`required` and `on_error` exclude each other";
            notes.report(
                Problem::new(place, message).help("`required = false` is on_error = \"skip\""),
            );
            OnError::Skip
        }
        (Some(on_error), _) => on_error,
        (None, Some(At { value: false, .. })) => OnError::Skip,
        (None, _) => OnError::Fail,
    };
    policy
}

fn on_error(table: &mut Reader<'_>, outer: Outer) -> Option<OnError> {
    let notes = table.notes();
    let At { place, value: written } = table.read("on_error", |value| Ok(value.clone()))?;
    let wrong = |place: Place, message: &str| {
        let help = "write \"fail\", \"skip\", { use = VALUE } or { goto = \"NODE\" }";
        notes.report(Problem::new(place, message).help(help));
        None
    };
    match written {
        Written::Text(word) if word == "fail" => Some(OnError::Fail),
        Written::Text(word) if word == "skip" => Some(OnError::Skip),
        Written::Table(inner) if inner.entries.len() == 1 => {
            let (key, entry) = inner.entries.into_iter().next()?;
            let place = entry.node.place;
            match (key.as_str(), &entry.node.value, outer) {
                ("use", written, _) => match json(written) {
                    Ok(value) => Some(OnError::Use(At { place, value })),
                    Err(_) => wrong(place, "this is a value that JSON lacks"),
                },
                ("goto", Written::Text(node), Outer::Graph) => {
                    Some(OnError::Goto(At { place, value: node.clone() }))
                }
                ("goto", _, Outer::Map) => wrong(place, "a node inside of a map has nowhere to go"),
                _ => wrong(entry.key, "this says nothing about failures"),
            }
        }
        _ => wrong(place, "this says nothing about failures"),
    }
}

fn prompt(table: &mut Reader<'_>, source: &Source<'_>) -> Option<Prompt> {
    let model = table.read("model", value::text);
    let system = template(table, source, "system");
    needs(table, "prompt", "\"Write about {{ input.topic }}.\"");
    let prompt = template(table, source, "prompt");
    let temperature = table.read("temperature", |written| match written {
        Written::Float(number) if (0.0..=2.0).contains(number) => Ok(*number),
        Written::Integer(number) if (0..=2).contains(number) => Ok(*number as f64),
        _ => Err(Unreadable::new("must be a number from 0 to 2")),
    });
    let tokens_max = table.read("tokens_max", value::at_least_one);
    let schema = schema(table);
    Some(Prompt {
        model,
        system,
        prompt: prompt?,
        temperature: temperature.map(|at| at.value),
        tokens_max: tokens_max.map(|at| u64::from(at.value)),
        schema,
    })
}

fn schema(table: &mut Reader<'_>) -> Option<At<Schema>> {
    schema_at(table, "schema")
}

pub(crate) fn schema_at(table: &mut Reader<'_>, key: &'static str) -> Option<At<Schema>> {
    let notes = table.notes();
    let At { place, value } = table.read(key, json)?;
    match Schema::parse(value) {
        Ok(value) => Some(At { place, value }),
        Err(problems) => {
            for problem in problems {
                notes.report(Problem::new(place.clone(), problem));
            }
            None
        }
    }
}

/// Notes a key that is missing; reading it follows.
fn needs(table: &Reader<'_>, key: &str, example: &str) {
    if !table.has(key) {
        let message = format!("`{}` needs `{key}`", table.key());
        let problem = Problem::new(table.place().clone(), message);
        table.notes().report(problem.help(format!("add {key} = {example}")));
    }
}

fn given(table: &mut Reader<'_>, source: &Source<'_>, key: &'static str) -> Option<Given> {
    let notes = table.notes();
    let at = table.read(key, |value| Ok(value.clone()))?;
    argument(notes, source, &at)
}

fn agent(table: &mut Reader<'_>, source: &Source<'_>) -> Option<Agent> {
    let agent = table.required("agent", "\"researcher\"", value::text);
    needs(table, "input", "\"${input}\"");
    let input = given(table, source, "input");
    Some(Agent { agent: agent?, input: input? })
}

fn tool(table: &mut Reader<'_>, source: &Source<'_>) -> Option<Tool> {
    let tool = table.required("tool", "\"calculator\"", value::text);
    let place = table.place().clone();
    let is_there = table.has("arguments");
    let arguments = given(table, source, "arguments");
    let nothing = || {
        let value = Argument::Object(Vec::new());
        Given { place, value, leaves: Vec::new() }
    };
    let arguments = if is_there { arguments? } else { nothing() };
    Some(Tool { tool: tool?, arguments })
}

pub(crate) fn http(table: &mut Reader<'_>, source: &Source<'_>) -> Option<Http> {
    let method = table.or("method", "GET".to_owned(), |written| {
        let word = value::text(written)?;
        match METHODS.contains(&word.as_str()) {
            true => Ok(word),
            false => Err(Unreadable::new(format!("must be one of {}", METHODS.join(", ")))),
        }
    });
    needs(table, "url", "\"https://example.com/items/${id}\"");
    let url = given(table, source, "url");
    let notes = table.notes();
    let headers =
        table.table("headers").map_or_else(Vec::new, |headers| headers_of(headers, source));
    let body = given(table, source, "body");
    let expect = table.list("expect", |written| {
        let status = value::count(written)?;
        match u16::try_from(status) {
            Ok(status) if (100..=599).contains(&status) => Ok(status),
            _ => Err(Unreadable::new("must be a status from 100 to 599")),
        }
    });
    let safe = method != "POST" && method != "PATCH";
    let idempotent = table.or("idempotent", safe, value::flag);
    let bytes_max = table.or("bytes_max", RESPONSE_BYTES, |written| match value::size(written)? {
        bytes if bytes <= RESPONSE_BYTES_MAX => Ok(bytes),
        _ => Err(Unreadable::new("must be at most 16MiB")),
    });
    if let Some(body) = body.as_ref().filter(|_| ["GET", "HEAD"].contains(&method.as_str())) {
        let problem = Problem::new(body.place.clone(), format!("a {method} has no body"));
        notes.report(problem.help("say method = \"POST\", or remove the body"));
    }
    let expect = expect.map(|all| all.value).unwrap_or_default();
    let expect = expect.into_iter().map(|status| status.value).collect();
    Some(Http { method, url: url?, headers, body, expect, idempotent, bytes_max })
}

fn headers_of(table: Reader<'_>, source: &Source<'_>) -> Vec<(At<String>, Header)> {
    enum Found {
        Text(String),
        Secret(Secret),
    }
    let notes = table.notes();
    let headers = table.all_or_tables(
        |written| value::text(written).map(Found::Text),
        |mut table| {
            let name = table.required("secret", "\"env:NAME\"", |written| {
                let name = value::text(written)?;
                match name.split_once(':') {
                    Some(("env" | "file", rest)) if !rest.is_empty() => Ok(name),
                    _ => Err(value::exposed()),
                }
            });
            let prefix = table.or("prefix", String::new(), value::text);
            table.finish();
            Some(Found::Secret(Secret { name: name?.value, prefix }))
        },
    );
    let headers = headers.into_iter().filter_map(|(name, At { place, value })| {
        let header = match value {
            Found::Secret(secret) => Header::Secret(secret),
            Found::Text(value) => {
                let leaf = source.parse(notes, &At { place, value }, Argument::text)?;
                let (place, value) = (leaf.place.clone(), leaf.value.clone());
                Header::Text(Given { place, value, leaves: vec![leaf] })
            }
        };
        Some((name, header))
    });
    headers.collect()
}

fn map(table: &mut Reader<'_>, source: &Source<'_>, outer: Outer) -> Option<Map> {
    let notes = table.notes();
    if outer == Outer::Map {
        table.report(
            "a map inside of a map is not possible: put the inner one into a graph of its own",
        );
    }
    let over = table.required("over", "\"items\"", value::text);
    let over = over.and_then(|at| source.parse(notes, &at, Expression::parse));
    let item = table.read("as", value::text);
    if let Some(At { place, value }) = &item {
        check_key(notes, place, value);
    }
    needs(table, "node", "{ kind = \"prompt\", prompt = \"Sum up {{ item }}.\" }");
    let node = table.table("node").and_then(|inner| read(inner, source, Outer::Map));
    let concurrency = table.or("concurrency", CONCURRENCY_USUAL, up_to(CONCURRENCY_MAX));
    let items_max = table.or("items_max", ITEMS_USUAL, up_to(ITEMS_MAX));
    Some(Map {
        over: over?,
        item: item.map_or_else(|| "item".to_owned(), |at| at.value),
        node: node?,
        concurrency: usize::try_from(concurrency).unwrap_or(1),
        items_max: usize::try_from(items_max).unwrap_or(1),
    })
}

fn up_to(most: u32) -> impl Fn(&Written) -> Result<u32, Unreadable> {
    move |written| match value::at_least_one(written)? {
        count if count <= most => Ok(count),
        _ => Err(Unreadable::new(format!("must be at most {most}"))),
    }
}

fn human(table: &mut Reader<'_>, source: &Source<'_>) -> Option<Human> {
    let notes = table.notes();
    needs(table, "question", "\"Publish this?\"");
    let question = template(table, source, "question");
    let options = table.list("options", value::text).map(|all| all.value).unwrap_or_default();
    let show = names(table, "show").unwrap_or_default();
    let schema = schema(table);
    let deadline = table.read("deadline", value::duration);
    let escalate = escalate(table, deadline.is_some());
    let on_timeout = table.read("on_timeout", json);
    match (&deadline, &on_timeout) {
        (Some(at), None) => {
            let message = "the deadline passes, and then? `on_timeout` is missing";
            let help = "add the answer that counts then, as in on_timeout = \"reject\"";
            notes.report(Problem::new(at.place.clone(), message).help(help));
        }
        (None, Some(at)) => {
            let message = "`on_timeout` never counts: `deadline` is missing";
            let help = "add a deadline, as in deadline = \"1h\"";
            notes.report(Problem::new(at.place.clone(), message).help(help));
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    let options = options.into_iter().map(|option| option.value).collect();
    Some(Human { question: question?, options, show, schema, deadline, escalate, on_timeout })
}

fn escalate(table: &mut Reader<'_>, timed: bool) -> Vec<Escalation> {
    let place = table.place().clone();
    let links = table.each("escalate");
    if !timed && !links.is_empty() {
        let problem = Problem::new(place, "`escalate` never happens: `deadline` is missing");
        table.notes().report(problem.help("add a deadline, as in deadline = \"1h\""));
    }
    let link = |mut link: Reader<'_>| {
        let to = link.required("to", "\"ops-lead\"", value::text);
        let within = link.required("within", "\"1h\"", value::duration);
        link.finish();
        Some(Escalation { to: to?.value, within: within?.value })
    };
    links.into_iter().filter_map(link).collect()
}

fn graph(table: &mut Reader<'_>, source: &Source<'_>) -> Option<Graph> {
    let graph = table.required("graph", "\"review\"", value::text);
    let is_there = table.has("input");
    let input = given(table, source, "input");
    if is_there && input.is_none() {
        return None;
    }
    Some(Graph { graph: graph?, input })
}

fn set(
    table: &mut Reader<'_>,
    source: &Source<'_>,
    outer: Outer,
) -> Option<Vec<(At<String>, Spot<Expression>)>> {
    let notes = table.notes();
    if outer == Outer::Map {
        table.report("a `set` inside of a map sets nothing: use CEL's own map in `over`");
    }
    needs(table, "values", "{ count = \"count + 1\" }");
    let values = table.table("values")?.all_or_tables(value::text, |inner| {
        inner.report("an expression is a string");
        None
    });
    let values = values
        .into_iter()
        .filter_map(|(key, at)| Some((key, source.parse(notes, &at, Expression::parse)?)));
    Some(values.collect())
}
