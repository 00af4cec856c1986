//! Agents as data: who they are, what they may use, and where they stop.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::path::Path;
use std::time::Duration;

use agentry_core::schema::Schema;
use agentry_core::tool::Toolbox;
use agentry_notation::reader::nearest;
use agentry_notation::tree::{self, Value as Written};
use agentry_notation::{At, Notes, Place, Problem, Problems, Reader, Unreadable, value};

/// More steps only hide that an agent does not come to an end.
const STEPS_MAX: u32 = 100;
const STEPS_USUAL: u32 = 10;
const TIMEOUT: Duration = Duration::from_secs(300);
const NAME_LETTERS_MAX: usize = 64;
/// A longer file is no agent.
const FILE_BYTES_MAX: usize = 1 << 20;
/// The model of agents that name none.
pub const MODEL: &str = "default";

/// An agent, checked.
#[derive(Debug, Clone)]
pub struct Definition {
    pub name: String,
    pub description: Option<String>,
    /// What the model is told before everything else.
    pub persona: Option<String>,
    pub model: String,
    pub temperature: Option<f64>,
    pub reasoning: Reasoning,
    /// By their names, those with a star already resolved.
    pub tools: Vec<String>,
    /// Its answer is JSON that fits this.
    pub schema: Option<Schema>,
    pub limits: Limits,
}

/// How it comes to an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reasoning {
    /// The model is asked once.
    Direct,
    /// The model calls tools until it has an answer.
    #[default]
    React,
}

/// Where it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls of the model.
    pub steps_max: u32,
    /// Over all of them.
    pub tokens_max: Option<u64>,
    pub timeout: Duration,
}

/// A file as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File<'a> {
    /// As problems name it. What ends with `.json` is JSON, everything else TOML.
    pub name: &'a str,
    pub text: &'a str,
}

/// What agents are held against.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// Nothing where it is not known which models there are.
    pub models: Option<&'a BTreeSet<String>>,
    pub tools: &'a Toolbox,
}

/// Reads and checks all files together. What is wrong with them comes back file by file.
pub fn read(
    files: &[File<'_>],
    around: Around<'_>,
) -> Result<BTreeMap<String, Definition>, Vec<Problems>> {
    let mut agents = BTreeMap::new();
    let mut wrong = Vec::new();
    for file in files {
        let mut problems = Vec::new();
        if let Some((place, definition)) = read_one(file, around, &mut problems) {
            match agents.entry(definition.name.clone()) {
                Entry::Vacant(free) => {
                    free.insert(definition);
                }
                Entry::Occupied(taken) => {
                    let message = format!("another file has an agent `{}` too", taken.key());
                    problems.push(Problem::new(place, message).help("give it another name"));
                }
            }
        }
        if !problems.is_empty() {
            wrong.push(Problems::new(file.name, file.name, file.text, problems));
        }
    }
    if wrong.is_empty() { Ok(agents) } else { Err(wrong) }
}

fn read_one(
    file: &File<'_>,
    around: Around<'_>,
    problems: &mut Vec<Problem>,
) -> Option<(Place, Definition)> {
    if file.text.len() > FILE_BYTES_MAX {
        let message = format!("an agent has at most {FILE_BYTES_MAX} bytes");
        problems.push(Problem::new(Place::Nowhere, message));
        return None;
    }
    let path = Path::new(file.name);
    let is_json = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let (table, bad) = if is_json { tree::parse_json(file.text) } else { tree::parse(file.text) };
    if !bad.is_empty() {
        problems.extend(bad);
        return None;
    }
    let environment = BTreeMap::new();
    let notes =
        Notes { problems: RefCell::default(), environment: &environment, folder: Path::new("") };
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let read = definition(Reader::root(table, &notes), stem, around);
    problems.extend(notes.problems.into_inner());
    read
}

fn definition(mut root: Reader<'_>, stem: &str, around: Around<'_>) -> Option<(Place, Definition)> {
    let notes = root.notes();
    let name = root.read("name", value::text);
    let At { place, value: name } =
        name.unwrap_or_else(|| At { place: Place::Nowhere, value: stem.to_owned() });
    check_name(notes, &place, &name);
    let description = root.read("description", value::text).map(|at| at.value);
    let persona = root.read("persona", value::text).map(|at| at.value);
    let model = model(&mut root, around.models);
    let temperature = root.read("temperature", temperature).map(|at| at.value);
    let reasoning = root.read("reasoning", reasoning);
    let tools = root.list("tools", value::text);
    let reasoning = match (reasoning, &tools) {
        (Some(At { place, value: Reasoning::Direct }), Some(tools)) if !tools.value.is_empty() => {
            let message = "an agent that is asked once calls no tools";
            let help = "say reasoning = \"react\", or leave `tools` out";
            notes.report(Problem::new(place, message).help(help));
            Reasoning::Direct
        }
        (reasoning, _) => reasoning.map_or_else(Reasoning::default, |at| at.value),
    };
    let tools = tools.map(|tools| chosen(notes, &tools.value, around.tools)).unwrap_or_default();
    let schema = root.read("schema", json).and_then(|At { place, value }| {
        let problem = |text: String| notes.report(Problem::new(place.clone(), text));
        Schema::parse(value).map_err(|all| all.into_iter().for_each(problem)).ok()
    });
    let limits = limits(root.table("limits"));
    let later = "leave it out; the agent then remembers what its messages say";
    root.not_yet(&["memory"], later);
    root.not_yet(&["escalate_below"], "ask a person with a `human` node behind the agent");
    root.finish();
    let definition = Definition {
        name,
        description,
        persona,
        model,
        temperature,
        reasoning,
        tools,
        schema,
        limits,
    };
    Some((place, definition))
}

fn check_name(notes: &Notes<'_>, place: &Place, name: &str) {
    let mut letters = name.chars();
    let good = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || "_-".contains(letter))
        && name.len() <= NAME_LETTERS_MAX;
    if !good {
        let message = format!("`{name}` cannot name an agent");
        let help = "letters, digits, `_` and `-`, at most 64, the first one a letter";
        notes.report(Problem::new(place.clone(), message).help(help));
    }
}

fn model(root: &mut Reader<'_>, models: Option<&BTreeSet<String>>) -> String {
    let notes = root.notes();
    let (place, name) = match root.read("model", value::text) {
        Some(At { place, value }) => (place, value),
        None => (Place::Nowhere, MODEL.to_owned()),
    };
    if let Some(models) = models.filter(|models| !models.contains(&name)) {
        let known: Vec<&str> = models.iter().map(String::as_str).collect();
        let problem = Problem::new(place, format!("there is no model `{name}`"));
        notes.report(problem.help(meant(&name, &known)));
    }
    name
}

fn meant(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("there are {}", known.join(", ")),
    }
}

fn chosen(notes: &Notes<'_>, wanted: &[At<String>], tools: &Toolbox) -> Vec<String> {
    let mut names = BTreeSet::new();
    for At { place, value } in wanted {
        match tools.choose([value.as_str()]) {
            Ok(chosen) => names.extend(chosen.names().map(str::to_owned)),
            Err(name) => {
                let known: Vec<&str> = tools.names().collect();
                let problem = Problem::new(place.clone(), format!("there is no tool `{name}`"));
                notes.report(problem.help(meant(name, &known)));
            }
        }
    }
    names.into_iter().collect()
}

fn temperature(written: &Written) -> Result<f64, Unreadable> {
    match written {
        Written::Float(number) if (0.0..=2.0).contains(number) => Ok(*number),
        Written::Integer(number) if (0..=2).contains(number) => Ok(*number as f64),
        _ => Err(Unreadable::new("must be a number from 0 to 2")),
    }
}

fn reasoning(written: &Written) -> Result<Reasoning, Unreadable> {
    Ok(match value::text(written)?.as_str() {
        "direct" => Reasoning::Direct,
        "react" => Reasoning::React,
        word @ ("chain_of_thought" | "tree_of_thoughts" | "reflexion") => {
            let message = format!("is \"{word}\", which is not available yet in this version");
            return Err(Unreadable::new(message).help("there are direct and react"));
        }
        word => {
            let help = match nearest(word, &["direct", "react"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "there are direct and react".to_owned(),
            };
            let message = format!("is \"{word}\", which is no way of reasoning");
            return Err(Unreadable::new(message).help(help));
        }
    })
}

fn json(written: &Written) -> Result<serde_json::Value, Unreadable> {
    let help = "write dates as strings";
    written.json().ok_or_else(|| Unreadable::new("has a value that JSON lacks").help(help))
}

fn limits(table: Option<Reader<'_>>) -> Limits {
    let mut limits = Limits { steps_max: STEPS_USUAL, tokens_max: None, timeout: TIMEOUT };
    let Some(mut table) = table else { return limits };
    limits.steps_max =
        table.or("steps_max", STEPS_USUAL, |written| match value::at_least_one(written)? {
            steps if steps <= STEPS_MAX => Ok(steps),
            _ => Err(Unreadable::new(format!("must be at most {STEPS_MAX}"))),
        });
    let tokens = table.read("tokens_max", value::at_least_one);
    limits.tokens_max = tokens.map(|at| u64::from(at.value));
    limits.timeout = table.or("timeout", TIMEOUT, value::duration);
    table.not_yet(&["cost_usd_max"], "say tokens_max, or give the caller's key a budget");
    table.finish();
    limits
}

#[cfg(test)]
mod tests;
