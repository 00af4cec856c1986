//! From written values to a [`Definition`], with everything that is wrong about each by itself.

use std::collections::BTreeMap;
use std::ops::Range;

use agentry_engine::{END, Reducer, START};
use agentry_notation::reader::nearest;
use agentry_notation::tree::Value as Written;
use agentry_notation::{At, Notes, Place, Problem, Reader, Unreadable, value};
use serde_json::Value;

use super::{Definition, Edge, Field, Given, Key, Spot, When, node};
use crate::argument::Argument;
use crate::evolve;
use crate::expression::Expression;
use crate::template::{Bad, Template};
use crate::types::Type;

/// Names that a key of the state cannot have: they mean something else, or nothing can refer to them.
const TAKEN: [&str; 35] = [
    "input",
    "config",
    "errors",
    "true",
    "false",
    "null",
    "none",
    "in",
    "as",
    "is",
    "not",
    "and",
    "or",
    "if",
    "else",
    "for",
    "let",
    "var",
    "loop",
    "while",
    "break",
    "const",
    "continue",
    "function",
    "import",
    "package",
    "namespace",
    "return",
    "void",
    "self",
    "size",
    "int",
    "string",
    "double",
    "bool",
];
const STEPS_MAX: u32 = 1_000;
const NAME_LETTERS_MAX: usize = 64;
/// More nodes than this nobody can oversee, and drawing them takes long.
const NODES_MAX: usize = 1_000;

/// A file's text, to find places in.
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
}

impl Source<'_> {
    /// Parses a text in `at`, and says where it is wrong.
    pub(crate) fn parse<T>(
        &self,
        notes: &Notes<'_>,
        at: &At<String>,
        parse: impl FnOnce(&str) -> Result<T, Bad>,
    ) -> Option<Spot<T>> {
        let verbatim = self.verbatim(&at.place, &at.value);
        match parse(&at.value) {
            Ok(value) => {
                Some(Spot { place: at.place.clone(), verbatim, text: at.value.clone(), value })
            }
            Err(Bad { message, range }) => {
                let place = inside(&at.place, verbatim, range);
                notes.report(Problem::new(place, message));
                None
            }
        }
    }

    fn verbatim(&self, place: &Place, text: &str) -> Option<usize> {
        let Place::File(span) = place else { return None };
        let found = self.text.get(span.clone())?.find(text)?;
        Some(span.start + found)
    }
}

fn inside(place: &Place, verbatim: Option<usize>, range: Option<Range<usize>>) -> Place {
    match (verbatim, range) {
        (Some(start), Some(range)) => Place::File(start + range.start..start + range.end),
        _ => place.clone(),
    }
}

impl<T> Spot<T> {
    /// Where a part of the text stands.
    pub(crate) fn part(&self, range: Option<Range<usize>>) -> Place {
        inside(&self.place, self.verbatim, range)
    }

    /// Where a name is first used.
    pub(crate) fn word(&self, name: &str) -> Place {
        let is_part = |letter: Option<char>| {
            letter.is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        };
        let mut found = self.text.match_indices(name).map(|(at, _)| at..at + name.len());
        let found = found.find(|range| {
            let before = self.text.get(..range.start).and_then(|text| text.chars().last());
            let after = self.text.get(range.end..).and_then(|text| text.chars().next());
            !is_part(before) && !is_part(after) && before != Some('.')
        });
        self.part(found)
    }
}

/// Reads a file that is called `stem` if it does not say otherwise.
pub(crate) fn read(
    mut root: Reader<'_>,
    stem: &str,
    source: &Source<'_>,
    written: Value,
) -> Definition {
    let notes = root.notes();
    let name = root.read("name", value::text);
    let name = name.unwrap_or_else(|| At { place: Place::Nowhere, value: stem.to_owned() });
    check_name(notes, &name, "a graph");
    let input = root.table("input").map(fields);
    let config = root.table("config").map(fields);
    let state = root.table("state").map(keys).unwrap_or_default();
    let (mut nodes, mut unread) = (BTreeMap::new(), Vec::new());
    for table in root.table("nodes").map(Reader::tables).unwrap_or_default() {
        let at = At { place: table.place().clone(), value: table.key().to_owned() };
        check_node_name(notes, &at);
        match node::read(table, source, node::Outer::Graph) {
            Some(node) => {
                nodes.insert(at.value, node);
            }
            None => unread.push(at.value),
        }
    }
    if nodes.len() > NODES_MAX {
        root.report(format!("there are more than {NODES_MAX} nodes"));
    }
    let tables = root.each("edges");
    let count = tables.len();
    let mut edges: Vec<Edge> = tables.into_iter().filter_map(|table| edge(table, source)).collect();
    let incomplete = edges.len() < count;
    if let Some(chain) = root.list("chain", value::text) {
        edges.extend(chain.value.windows(2).filter_map(|pair| {
            let [from, to] = pair else { return None };
            Some(Edge {
                place: to.place.clone(),
                from: vec![from.clone()],
                to: vec![to.clone()],
                when: When::Always,
            })
        }));
    }
    let output = root.read("output", value::text);
    let definition = Definition {
        name,
        description: root.read("description", value::text).map(|at| at.value),
        start: names(&mut root, "start"),
        steps_max: root.or("steps_max", STEPS_MAX, value::at_least_one),
        input,
        config,
        state,
        nodes,
        edges,
        evolution: evolve::read(&mut root, source),
        output: output.and_then(|at| source.parse(notes, &at, Expression::parse)),
        written,
        unread,
        incomplete,
    };
    root.finish();
    definition
}

fn check_name(notes: &Notes<'_>, name: &At<String>, what: &str) {
    let mut letters = name.value.chars();
    let good = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || "_-".contains(letter))
        && name.value.len() <= NAME_LETTERS_MAX;
    if !good {
        let message = format!("`{}` cannot name {what}", name.value);
        let help = "letters, digits, `_` and `-`, at most 64, the first one a letter";
        notes.report(Problem::new(name.place.clone(), message).help(help));
    }
}

fn check_node_name(notes: &Notes<'_>, name: &At<String>) {
    check_name(notes, name, "a node");
    if [START, END].contains(&name.value.as_str()) {
        let message = format!("`{}` is where every graph begins or ends", name.value);
        notes.report(Problem::new(name.place.clone(), message).help("give the node another name"));
    }
}

/// A name that templates and expressions can refer to.
pub(super) fn check_key(notes: &Notes<'_>, place: &Place, name: &str) {
    let mut letters = name.chars();
    let good = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        && name.len() <= NAME_LETTERS_MAX;
    if !good {
        let message = format!("`{name}` cannot name a key of the state");
        let help = "letters, digits and `_`, at most 64, the first one a letter";
        notes.report(Problem::new(place.clone(), message).help(help));
    } else if TAKEN.contains(&name) {
        let message = format!("`{name}` means something else already");
        notes.report(Problem::new(place.clone(), message).help("choose another name"));
    }
}

/// One name, or a list of them.
pub(super) fn names(table: &mut Reader<'_>, key: &'static str) -> Option<Vec<At<String>>> {
    match table.is_list(key) {
        true => table.list(key, value::text).map(|names| names.value),
        false => table.read(key, value::text).map(|name| vec![name]),
    }
}

fn keys(table: Reader<'_>) -> BTreeMap<String, Key> {
    let notes = table.notes();
    let keys = table.all_or_tables(
        |written| {
            let reducer = reducer(written)?;
            Ok(Key { place: Place::Nowhere, of: usual_type(&reducer), reducer, default: None })
        },
        |mut table| {
            let reducer = table.read("reducer", reducer).map_or(Reducer::Last, |at| at.value);
            let of = table.read("type", named_type);
            let place = table.place().clone();
            let default = default(&mut table);
            if let Some(of) = &of {
                check_reducer(notes, &reducer, of);
            }
            let of = of.map_or_else(|| usual_type(&reducer), |at| at.value);
            let whole = match reducer {
                Reducer::Append | Reducer::Messages => Type::list(of.clone()),
                _ => of.clone(),
            };
            check_default(notes, default.as_ref(), &whole);
            table.finish();
            Some(Key { place, reducer, of, default: default.map(|at| at.value) })
        },
    );
    let keys = keys.into_iter().map(|(At { place, value: name }, key)| {
        check_key(notes, &place, &name);
        (name, Key { place, ..key.value })
    });
    keys.collect()
}

/// The words of the engine, but for reducers that are functions.
fn reducer(written: &Written) -> Result<Reducer, Unreadable> {
    let names = ["last", "append", "sum", "max", "merge", "messages"];
    let name = value::text(written)?;
    Ok(match name.as_str() {
        "last" => Reducer::Last,
        "append" => Reducer::Append,
        "sum" => Reducer::Sum,
        "max" => Reducer::Max,
        "merge" => Reducer::Merge,
        "messages" => Reducer::Messages,
        other => {
            let help = match nearest(other, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", names.join(", ")),
            };
            return Err(Unreadable::new(format!("is \"{other}\", which is no reducer")).help(help));
        }
    })
}

fn usual_type(reducer: &Reducer) -> Type {
    match reducer {
        Reducer::Sum | Reducer::Max => Type::Number,
        Reducer::Merge | Reducer::Messages => Type::object(),
        _ => Type::Any,
    }
}

fn check_reducer(notes: &Notes<'_>, reducer: &Reducer, of: &At<Type>) {
    let (word, wanted) = match reducer {
        Reducer::Sum => ("sum", Type::Number),
        Reducer::Max => ("max", Type::Number),
        Reducer::Merge => ("merge", Type::object()),
        Reducer::Messages => ("messages", Type::object()),
        _ => return,
    };
    if of.value.is_never(&wanted) || of.value == Type::Any {
        let message = format!("`{word}` is for {wanted}, not for {}", of.value);
        notes
            .report(Problem::new(of.place.clone(), message).help("choose another reducer or type"));
    }
}

fn named_type(written: &Written) -> Result<Type, Unreadable> {
    let name = value::text(written)?;
    Type::named(&name).ok_or_else(|| {
        let help = match nearest(&name, &Type::NAMES) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", Type::NAMES.join(", ")),
        };
        Unreadable::new(format!("is \"{name}\", which is no type")).help(help)
    })
}

fn fields(table: Reader<'_>) -> BTreeMap<String, Field> {
    let fields = table.all_or_tables(|written| named_type(written).map(plain), field);
    fields
        .into_iter()
        .map(|(name, at)| (name.value, Field { place: name.place, ..at.value }))
        .collect()
}

fn plain(of: Type) -> Field {
    Field { place: Place::Nowhere, of, required: true, default: None }
}

fn field(mut table: Reader<'_>) -> Option<Field> {
    let of = table.or("type", Type::Any, named_type);
    let default = default(&mut table);
    check_default(table.notes(), default.as_ref(), &of);
    let required = table.or("required", default.is_none(), value::flag);
    let place = table.place().clone();
    table.finish();
    Some(Field { place, of, required, default: default.map(|at| at.value) })
}

fn default(table: &mut Reader<'_>) -> Option<At<Value>> {
    table.read("default", json)
}

fn check_default(notes: &Notes<'_>, default: Option<&At<Value>>, of: &Type) {
    if let Some(At { place, value }) = default.filter(|default| !of.fits(&default.value)) {
        let message = format!("the default is {}, not {of}", Type::of(value));
        notes.report(Problem::new(place.clone(), message));
    }
}

/// Any value that JSON has too.
pub(crate) fn json(written: &Written) -> Result<Value, Unreadable> {
    let help = "write dates as strings";
    written.json().ok_or_else(|| Unreadable::new("has a value that JSON lacks").help(help))
}

fn edge(mut table: Reader<'_>, source: &Source<'_>) -> Option<Edge> {
    let notes = table.notes();
    let (has_from, has_to) = (table.has("from"), table.has("to"));
    let (from, to) = (names(&mut table, "from"), names(&mut table, "to"));
    for (missing, key) in [(!has_from, "from"), (!has_to, "to")] {
        if missing {
            table.report(format!("this edge needs `{key}`"));
        }
    }
    let when = table.read("when", value::text);
    let otherwise = table.read("otherwise", value::flag);
    let place = table.place().clone();
    let when = match (when, otherwise.map(|at| (at.value, at.place))) {
        (Some(at), None | Some((false, _))) => {
            When::Holds(source.parse(notes, &at, Expression::parse)?)
        }
        (Some(_), Some((true, place))) => {
            notes.report(Problem::new(place, "`otherwise` and `when` exclude each other"));
            return None;
        }
        (None, Some((true, _))) => When::Otherwise,
        (None, None | Some((false, _))) => When::Always,
    };
    table.finish();
    let (from, to) = (from?, to?);
    if from.len() > 1 && !matches!(when, When::Always) {
        let message = "an edge that waits for several nodes has no condition";
        let help = "let it lead to a `set` node whose edges have the conditions";
        notes.report(Problem::new(place.clone(), message).help(help));
    }
    Some(Edge { place, from, to, when })
}

/// A value with references in it.
pub(super) fn argument(notes: &Notes<'_>, source: &Source<'_>, at: &At<Written>) -> Option<Given> {
    let mut leaves = Vec::new();
    let value = convert(notes, source, (&at.place, &at.value), &mut leaves)?;
    Some(Given { place: at.place.clone(), value, leaves })
}

fn convert(
    notes: &Notes<'_>,
    source: &Source<'_>,
    (place, written): (&Place, &Written),
    leaves: &mut Vec<Spot<Argument>>,
) -> Option<Argument> {
    match written {
        Written::Text(text) => {
            let at = At { place: place.clone(), value: text.clone() };
            let leaf = source.parse(notes, &at, Argument::text)?;
            leaves.push(leaf.clone());
            Some(leaf.value)
        }
        Written::List(items) => {
            let items =
                items.iter().map(|it| convert(notes, source, (&it.place, &it.value), leaves));
            items.collect::<Option<_>>().map(Argument::List)
        }
        Written::Table(table) => {
            let fields = table.entries.iter().map(|(name, entry)| {
                let value = (&entry.node.place, &entry.node.value);
                Some((name.clone(), convert(notes, source, value, leaves)?))
            });
            fields.collect::<Option<_>>().map(Argument::Object)
        }
        other => match other.json() {
            Some(value) => Some(Argument::Fixed(value)),
            None => {
                let problem = Problem::new(place.clone(), "this is a value that JSON lacks");
                notes.report(problem.help("write dates as strings"));
                None
            }
        },
    }
}

/// A text that is a template.
pub(super) fn template(
    table: &mut Reader<'_>,
    source: &Source<'_>,
    key: &'static str,
) -> Option<Spot<Template>> {
    let notes = table.notes();
    let at = table.read(key, value::text)?;
    source.parse(notes, &at, Template::parse)
}
