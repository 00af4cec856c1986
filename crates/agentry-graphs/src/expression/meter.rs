//! What evaluating an expression may cost. Each value that a part of it is given is paid for by its size, before anything is
//! made of it: what it does in time and memory stays within a factor of what was paid.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cel::common::ast::operators as op;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, ListExpr, MapEntryExpr,
    MapExpr, SelectExpr,
};
use cel::common::types::{CelBytes, CelList, CelMap, CelMapKey, CelString};
use cel::common::value::{CowVal, Val};
use cel::{Context, ExecutionError, FunctionContext};
use regex::{Regex, RegexBuilder};

/// What one evaluation may cost: a part of a list or an object is 1, and so are eight bytes of text.
const FUEL: u64 = 1 << 20;
/// What is made of such a text is so much larger than it, or takes so much longer.
const WIDE: u64 = 4;
/// The same of a list that is put together to one text.
const JOINED: u64 = 4;
/// A longer text is not looked for.
const NEEDLE_BYTES_MAX: usize = 1 << 10;
/// A longer text is not put between others.
const SEPARATOR_BYTES_MAX: usize = 64;
/// How large a compiled pattern may be, and what making it costs.
const PATTERN_BYTES_MAX: usize = 256 << 10;
const PATTERN_COST: u64 = 8 << 10;

const WHOLE: &str = "@whole";
const FLAT: &str = "@flat";
const TEXT: &str = "@text";
const NEEDLE: &str = "@needle";
const LIST: &str = "@list";
const SEPARATOR: &str = "@separator";
const MATCHES: &str = "@matches";

/// What is left to one evaluation.
pub(super) struct Meter {
    left: AtomicU64,
    patterns: Mutex<HashMap<String, Regex>>,
}

type Function = Box<
    dyn for<'c, 'v> Fn(&mut FunctionContext<'c, 'v>) -> Result<CowVal<'c, 'v>, ExecutionError>
        + Send
        + Sync,
>;
type Price = fn(&dyn Val) -> Result<u64, ExecutionError>;

impl Meter {
    /// Counts what is evaluated in `context`.
    pub(super) fn in_context(context: &mut Context<'_, '_>) -> Arc<Self> {
        let (left, patterns) = (AtomicU64::new(FUEL), Mutex::default());
        let meter = Arc::new(Self { left, patterns });
        let prices: [(&str, Price); 6] = [
            (WHOLE, |value| Ok(whole(value, FUEL))),
            (FLAT, |value| Ok(flat(value))),
            (TEXT, |value| Ok(flat(value).saturating_mul(WIDE))),
            (NEEDLE, |value| short(value, NEEDLE_BYTES_MAX)),
            (LIST, |value| Ok(whole(value, FUEL).saturating_mul(JOINED))),
            (SEPARATOR, |value| short(value, SEPARATOR_BYTES_MAX)),
        ];
        for (name, price) in prices {
            let meter = Arc::clone(&meter);
            let function: Function = Box::new(move |call| {
                let value =
                    call.args.pop().ok_or_else(ExecutionError::missing_argument_or_target)?;
                meter.pay(price(value.as_ref())?)?;
                Ok(value)
            });
            // It fails for names that are taken, and nobody else has such names.
            let _ = context.add_function(name, function);
        }
        let counting = Arc::clone(&meter);
        let matches: Function = Box::new(move |call| match call.args.as_slice() {
            [text, pattern] => counting.matches(text.as_ref(), pattern.as_ref()),
            other => Err(ExecutionError::invalid_argument_count(2, other.len())),
        });
        let _ = context.add_function(MATCHES, matches);
        meter
    }

    /// Whether there was too little. What stands beside `||` may have gone on without it.
    pub(super) fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn pay(&self, price: u64) -> Result<(), ExecutionError> {
        let left = self.left.load(Ordering::Relaxed).saturating_sub(price);
        self.left.store(left, Ordering::Relaxed);
        match left {
            0 => Err(ExecutionError::function_error("fuel", "it takes too long")),
            _ => Ok(()),
        }
    }

    fn matches<'b, 'v>(
        &self,
        text: &dyn Val,
        pattern: &dyn Val,
    ) -> Result<CowVal<'b, 'v>, ExecutionError> {
        let both =
            text.downcast_ref::<CelString<'_>>().zip(pattern.downcast_ref::<CelString<'_>>());
        let Some((text, pattern)) = both else {
            let kinds =
                vec![text.get_type().name().to_owned(), pattern.get_type().name().to_owned()];
            return Err(ExecutionError::no_such_member_overload("matches", kinds));
        };
        self.pay(flat(text).saturating_mul(WIDE))?;
        let mut patterns = self.patterns.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match patterns.get(pattern.inner()) {
            Some(found) => found.is_match(text.inner()),
            None => {
                self.pay(PATTERN_COST)?;
                let mut building = RegexBuilder::new(pattern.inner());
                let made = building.size_limit(PATTERN_BYTES_MAX).build().map_err(|error| {
                    let message = format!("'{}' not a valid regex:\n{error}", pattern.inner());
                    ExecutionError::function_error("matches", message)
                })?;
                let found = made.is_match(text.inner());
                patterns.insert(pattern.inner().to_owned(), made);
                found
            }
        };
        Ok(CowVal::owned(cel::common::types::CelBool::from(found)))
    }
}

/// What a value is without what is inside of it.
fn flat(value: &dyn Val) -> u64 {
    let bytes = match (value.downcast_ref::<CelString<'_>>(), value.downcast_ref::<CelBytes<'_>>())
    {
        (Some(text), _) => text.inner().len(),
        (None, Some(bytes)) => bytes.inner().len(),
        (None, None) => 0,
    };
    1 + bytes as u64 / 8
}

/// A value and all that is inside of it, counted until it is more than `most`.
fn whole(value: &dyn Val, most: u64) -> u64 {
    let mut sum = flat(value);
    let left = |sum: u64| most.checked_sub(sum);
    if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        for item in list.inner() {
            let Some(left) = left(sum) else { break };
            sum += whole(item.as_ref(), left);
        }
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        for (key, item) in map.inner() {
            let Some(left) = left(sum) else { break };
            let name = match key {
                CelMapKey::String(name) => name.inner().len() as u64 / 8,
                _ => 0,
            };
            sum += 1 + name + whole(item.as_ref(), left);
        }
    }
    sum
}

fn short(value: &dyn Val, most: usize) -> Result<u64, ExecutionError> {
    match value.downcast_ref::<CelString<'_>>() {
        Some(text) if text.inner().len() > most => {
            let message = format!("a text of more than {most} bytes is too long here");
            Err(ExecutionError::function_error("text", message))
        }
        _ => Ok(1),
    }
}

/// The same expression, in which everything is paid for.
pub(super) fn metered(expression: &IdedExpr) -> IdedExpr {
    Metering::default().of(expression)
}

#[derive(Default)]
struct Metering {
    /// What loops collect: it grows by what was paid for, and the evaluator knows such loops by their looks.
    collected: Vec<String>,
}

impl Metering {
    fn of(&mut self, at: &IdedExpr) -> IdedExpr {
        let expr = match &at.expr {
            Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) | Expr::Struct(_) => {
                at.expr.clone()
            }
            Expr::Select(SelectExpr { operand, field, test }) => Expr::Select(SelectExpr {
                operand: Box::new(self.of(operand)),
                field: field.clone(),
                test: *test,
            }),
            Expr::List(list) => Expr::List(ListExpr {
                elements: list.elements.iter().map(|item| self.paid(WHOLE, item)).collect(),
                optional_indices: list.optional_indices.clone(),
            }),
            Expr::Map(map) => Expr::Map(MapExpr { entries: self.entries(&map.entries) }),
            Expr::Call(call) => Expr::Call(self.call(call)),
            Expr::Comprehension(inner) => Expr::Comprehension(Box::new(self.comprehension(inner))),
        };
        IdedExpr { id: at.id, expr }
    }

    /// The value, when it has been paid for.
    fn paid(&mut self, price: &str, at: &IdedExpr) -> IdedExpr {
        let inner = self.of(at);
        match &inner.expr {
            // What is in them is paid for, and the evaluator knows loops that collect by the lists that they add.
            Expr::Literal(_) | Expr::List(_) | Expr::Map(_) => inner,
            Expr::Ident(name) if self.collected.contains(name) => inner,
            _ => {
                let call =
                    CallExpr { func_name: price.to_owned(), target: None, args: vec![inner] };
                IdedExpr { id: at.id, expr: Expr::Call(call) }
            }
        }
    }

    fn entries(&mut self, entries: &[IdedEntryExpr]) -> Vec<IdedEntryExpr> {
        let of = |entry: &IdedEntryExpr| {
            let expr = match &entry.expr {
                EntryExpr::StructField(_) => entry.expr.clone(),
                EntryExpr::MapEntry(it) => EntryExpr::MapEntry(MapEntryExpr {
                    key: self.paid(WHOLE, &it.key),
                    value: self.paid(WHOLE, &it.value),
                    optional: it.optional,
                }),
            };
            IdedEntryExpr { id: entry.id, expr }
        };
        entries.iter().map(of).collect()
    }

    fn call(&mut self, call: &CallExpr) -> CallExpr {
        let CallExpr { func_name, target, args } = call;
        let name = func_name.as_str();
        if name == "matches" {
            let all = target.as_deref().into_iter().chain(args);
            let args = all.map(|inner| self.of(inner)).collect();
            return CallExpr { func_name: MATCHES.to_owned(), target: None, args };
        }
        // What its target costs, and what its other arguments.
        let (first, others) = match name {
            op::LOGICAL_AND
            | op::LOGICAL_OR
            | op::LOGICAL_NOT
            | op::CONDITIONAL
            | op::INDEX
            | op::NOT_STRICTLY_FALSE => (None, None),
            "size" | "type" | "contains" | "startsWith" | "endsWith" => (Some(FLAT), Some(FLAT)),
            "indexOf" | "lastIndexOf" => (Some(TEXT), Some(NEEDLE)),
            "split" => (Some(TEXT), Some(FLAT)),
            "join" => (Some(LIST), Some(SEPARATOR)),
            _ => (Some(WHOLE), Some(WHOLE)),
        };
        let mut priced = |price: Option<&str>, inner: &IdedExpr| match price {
            Some(price) => self.paid(price, inner),
            None => self.of(inner),
        };
        let target = target.as_deref().map(|target| Box::new(priced(first, target)));
        let args = args.iter().map(|inner| priced(others, inner)).collect();
        CallExpr { func_name: func_name.clone(), target, args }
    }

    fn comprehension(&mut self, inner: &ComprehensionExpr) -> ComprehensionExpr {
        let iter_range = self.paid(WHOLE, &inner.iter_range);
        let accu_init = self.of(&inner.accu_init);
        self.collected.push(inner.accu_var.clone());
        let [loop_cond, loop_step, result] =
            [&inner.loop_cond, &inner.loop_step, &inner.result].map(|part| self.of(part));
        self.collected.pop();
        let (iter_var, iter_var2) = (inner.iter_var.clone(), inner.iter_var2.clone());
        let accu_var = inner.accu_var.clone();
        ComprehensionExpr {
            iter_range,
            iter_var,
            iter_var2,
            accu_var,
            accu_init,
            loop_cond,
            loop_step,
            result,
        }
    }
}
