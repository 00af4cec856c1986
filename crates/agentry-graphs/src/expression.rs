//! Expressions in CEL: conditions of edges, values that are set, lists that are mapped over.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr, MapExpr, StructExpr};
use cel::objects::{Key, Map};
use cel::{Context, Env, Program};
use serde_json::{Number, Value};

use crate::template::Bad;
use crate::types::Type;

mod infer;
mod meter;

use meter::Meter;

/// A longer expression is refused.
pub const EXPRESSION_BYTES_MAX: usize = 4 << 10;
/// How deep brackets may be nested.
const BRACKETS_MAX: usize = 32;
/// What is deeper is evaluated on a stack of its own, and so is what is longer read.
const DEPTH_USUAL: usize = 12;
const BYTES_USUAL: usize = 256;
const STACK_BYTES: usize = 32 << 20;
/// How deep `all`, `exists`, `map` and `filter` may be nested.
const LOOPS_MAX: usize = 2;
/// How deep its parts may be inside of each other, as the sums are in `a + b + c`.
const DEPTH_MAX: usize = 100;
/// What a value may come to, in bytes of text and a few more for each part.
const RESULT_BYTES_MAX: usize = 4 << 20;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    // It fails when a name is declared twice; what is missing then is reported as an unknown function.
    let _ = environment.add_extension(cel::extensions::strings);
    Arc::new(environment)
});

/// Parsed once; evaluating it is bounded.
#[derive(Clone)]
pub struct Expression {
    text: String,
    program: Arc<Program>,
    /// The same, with a meter in it.
    metered: Arc<IdedExpr>,
    is_deep: bool,
    names: BTreeSet<String>,
}

impl Expression {
    pub fn parse(text: &str) -> Result<Self, Bad> {
        let bad = |message: String, range| Err(Bad { message, range });
        if text.len() > EXPRESSION_BYTES_MAX {
            let message = format!("this expression has more than {EXPRESSION_BYTES_MAX} bytes");
            return bad(message, None);
        }
        if brackets(text) > BRACKETS_MAX {
            return bad("the brackets are nested too deeply".to_owned(), None);
        }
        let program = match text.len() > BYTES_USUAL {
            false => compile(text),
            true => on_a_large_stack(|| compile(text))
                .unwrap_or_else(|message| Err(Bad { message, range: None })),
        }?;
        let metered = Arc::new(meter::metered(program.expression()));
        let is_deep = is_deeper_than(DEPTH_USUAL, program.expression());
        let mut walk = Walk::default();
        walk.visit(program.expression(), 0);
        let Walk { names, loops, .. } = walk;
        if loops > LOOPS_MAX {
            return bad(format!("more than {LOOPS_MAX} loops are nested"), None);
        }
        Ok(Self { text: text.to_owned(), program: Arc::new(program), metered, is_deep, names })
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names that must be given from outside.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The value; `given` tells what a name stands for. What it does not know is null.
    pub fn evaluate(&self, given: impl Fn(&str) -> (Value, Type)) -> Result<Value, String> {
        let given = self.names.iter().map(|name| {
            let (value, of) = given(name);
            (name.as_str(), into_cel(value, &of))
        });
        let given: Vec<(&str, cel::Value)> = given.collect();
        let value = match self.is_deep {
            false => self.resolve(given),
            true => on_a_large_stack(|| self.resolve(given)).and_then(|value| value),
        }?;
        let mut left = RESULT_BYTES_MAX;
        into_json(&value, &mut left).map_err(|error| format!("`{}` {error}", self.text))
    }

    fn resolve(&self, given: Vec<(&str, cel::Value)>) -> Result<cel::Value, String> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for (name, value) in given {
            context.add_variable_from_value(name, value);
        }
        let meter = Meter::in_context(&mut context);
        let value = cel::Value::resolve(&self.metered, &context);
        if meter.is_spent() {
            return Err(format!("`{}`: it takes too long: give it less to go through", self.text));
        }
        value.map_err(|error| format!("`{}`: {}", self.text, explain(&error)))
    }

    /// Whether a condition holds.
    pub fn holds(&self, given: impl Fn(&str) -> (Value, Type)) -> Result<bool, String> {
        match self.evaluate(given)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("`{}` is {}, not true or false", self.text, Type::of(&other))),
        }
    }

    fn range_of(&self, expression: &IdedExpr) -> Option<Range<usize>> {
        let (start, last) = self.program.source_info().offset_for(expression.id)?;
        let range = usize::try_from(start).ok()?..usize::try_from(last).ok()?.checked_add(1)?;
        self.text.get(range.clone()).map(|_| range)
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

/// Refused here, and gone, when its parts are too deep inside of each other.
fn compile(text: &str) -> Result<Program, Bad> {
    let bad = |message: String, range| Err(Bad { message, range });
    let program = match ENVIRONMENT.compile(text) {
        Ok(program) => program,
        Err(errors) => {
            let first = errors.errors.first();
            let message = first.map_or("this is no expression", |error| error.msg.as_str());
            let message = message.trim_start_matches("Syntax error: ");
            // The list of all that could stand there helps nobody.
            let message = message.split(" expecting {").next().unwrap_or(message);
            let range = first.and_then(|error| place(text, error.pos));
            let ends = message.contains("'<EOF>'");
            let message = if ends { "the expression ends too soon" } else { message };
            return bad(message.to_owned(), range);
        }
    };
    if is_deeper_than(DEPTH_MAX, program.expression()) {
        let message = format!("more than {DEPTH_MAX} parts are inside of each other");
        return bad(message, None);
    }
    Ok(program)
}

fn on_a_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work).map_err(|error| error.to_string())?;
        thread.join().map_err(|_| "the evaluation broke off".to_owned())
    })
}

fn brackets(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for letter in text.chars() {
        match letter {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// One letter at a line and column, both counted from 1.
fn place(text: &str, (line, column): (isize, isize)) -> Option<Range<usize>> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.saturating_sub(1);
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(before..)?;
    let (at, letter) = rest.char_indices().nth(column).or_else(|| rest.char_indices().last())?;
    Some(before + at..before + at + letter.len_utf8())
}

fn explain(error: &cel::ExecutionError) -> String {
    match error {
        cel::ExecutionError::NoSuchKey(key) => format!("there is no `{key}`"),
        cel::ExecutionError::FunctionError { function, message } if function == "text" => {
            message.clone()
        }
        other => {
            let mut text = other.to_string();
            if let Some((end, _)) = text.char_indices().nth(300) {
                text.truncate(end);
            }
            text
        }
    }
}

/// Without calls inside of each other, of which there may be too many.
fn is_deeper_than(most: usize, expression: &IdedExpr) -> bool {
    let mut open = vec![(expression, 0)];
    while let Some((at, depth)) = open.pop() {
        if depth > most {
            return true;
        }
        let inner: Vec<&IdedExpr> = match &at.expr {
            Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => Vec::new(),
            Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
            Expr::Select(select) => vec![&select.operand],
            Expr::List(list) => list.elements.iter().collect(),
            Expr::Map(MapExpr { entries }) | Expr::Struct(StructExpr { entries, .. }) => {
                entries.iter().flat_map(parts_of).collect()
            }
            Expr::Comprehension(it) => {
                vec![&it.iter_range, &it.accu_init, &it.loop_cond, &it.loop_step, &it.result]
            }
        };
        open.extend(inner.into_iter().map(|inner| (inner, depth + 1)));
    }
    false
}

fn parts_of(entry: &IdedEntryExpr) -> Vec<&IdedExpr> {
    match &entry.expr {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// Finds out what an expression needs.
#[derive(Default)]
struct Walk {
    names: BTreeSet<String>,
    bound: Vec<String>,
    loops: usize,
}

impl Walk {
    fn visit(&mut self, at: &IdedExpr, depth: usize) {
        match &at.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => {
                let name = name.trim_start_matches('.');
                if !name.starts_with('@') && !self.bound.iter().any(|bound| bound == name) {
                    self.names.insert(name.to_owned());
                }
            }
            Expr::Call(call) => {
                for inner in call.target.as_deref().into_iter().chain(&call.args) {
                    self.visit(inner, depth);
                }
            }
            Expr::Select(select) => self.visit(&select.operand, depth),
            Expr::List(list) => list.elements.iter().for_each(|item| self.visit(item, depth)),
            Expr::Map(map) => self.entries(&map.entries, depth),
            Expr::Struct(object) => self.entries(&object.entries, depth),
            Expr::Comprehension(inner) => {
                self.loops = self.loops.max(depth + 1);
                self.visit(&inner.iter_range, depth);
                let bound = self.bound.len();
                self.bound.push(inner.iter_var.clone());
                self.bound.extend(inner.iter_var2.clone());
                self.bound.push(inner.accu_var.clone());
                for part in [&inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result] {
                    self.visit(part, depth + 1);
                }
                self.bound.truncate(bound);
            }
        }
    }

    fn entries(&mut self, entries: &[IdedEntryExpr], depth: usize) {
        for entry in entries {
            match &entry.expr {
                EntryExpr::StructField(field) => self.visit(&field.value, depth),
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key, depth);
                    self.visit(&entry.value, depth);
                }
            }
        }
    }
}

/// A whole number is an `int`, but where it is declared as a number it counts as one with a fraction.
fn into_cel(value: Value, of: &Type) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(flag) => cel::Value::Bool(flag),
        Value::Number(number) => match (number.as_i64(), of) {
            (Some(whole), Type::Number) => cel::Value::Float(whole as f64),
            (Some(whole), _) => cel::Value::Int(whole),
            (None, _) => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => cel::Value::String(Arc::new(text)),
        Value::Array(items) => {
            let inner = match of {
                Type::List(inner) => inner.as_ref(),
                _ => &Type::Any,
            };
            let items = items.into_iter().map(|item| into_cel(item, inner));
            cel::Value::List(Arc::new(items.collect()))
        }
        Value::Object(fields) => {
            let known = |name: &str| match of {
                Type::Object(fields) => fields.known.get(name).unwrap_or(&Type::Any),
                _ => &Type::Any,
            };
            let fields = fields.into_iter().map(|(name, value)| {
                let value = into_cel(value, known(&name));
                (Key::String(Arc::new(name)), value)
            });
            cel::Value::Map(Map { map: Arc::new(fields.collect::<HashMap<_, _>>()) })
        }
    }
}

/// Fields come out in the order of their names.
fn into_json(value: &cel::Value, left: &mut usize) -> Result<Value, String> {
    let text = match value {
        cel::Value::String(text) => text.len(),
        _ => 0,
    };
    *left = left.checked_sub(text + 8).ok_or("comes to more than a few megabytes")?;
    Ok(match value {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(flag) => Value::Bool(*flag),
        cel::Value::Int(number) => (*number).into(),
        cel::Value::UInt(number) => (*number).into(),
        cel::Value::Float(number) => {
            Number::from_f64(*number).ok_or("comes to no finite number")?.into()
        }
        cel::Value::String(text) => text.as_str().into(),
        cel::Value::List(items) => {
            let items = items.iter().map(|item| into_json(item, left));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        cel::Value::Map(map) => {
            let mut fields = Vec::new();
            for (key, value) in map.map.iter() {
                fields.push((key.to_string(), into_json(value, left)?));
            }
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(fields.into_iter().collect())
        }
        other => return Err(format!("comes to a {}, which no state can hold", other.type_of())),
    })
}

#[cfg(test)]
mod tests;
