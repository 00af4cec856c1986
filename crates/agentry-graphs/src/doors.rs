//! How graphs inside of nodes are handed what they begin with, and what their nodes come to.

use std::sync::Arc;

use agentry_core::run::Values;
use agentry_engine::{Around, Door, NodeError};
use serde_json::{Value, json};

use crate::compile::Body;
use crate::definition::{Given, Spot};
use crate::ending::{Ending, ITEMS, Puts, RESULTS, STARTED};
use crate::expression::Expression;
use crate::types::Type;
use crate::view::{CONFIG, INPUT, Shape, View};
use crate::work::fatal;

/// What the engine sends for an item of a list.
pub(crate) fn sent(item: &Value, index: usize) -> Value {
    json!({ "item": item, "index": index })
}

/// The item that was sent, and its number.
pub(crate) fn item(sent: &Value) -> (usize, &Value) {
    let index = sent.get("index").and_then(Value::as_u64);
    let index = index.and_then(|index| usize::try_from(index).ok()).unwrap_or_default();
    (index, sent.get("item").unwrap_or(&Value::Null))
}

/// The state that a node's templates and expressions see: for an item of a list the one around the map.
pub(crate) fn view<'a>(
    shape: &'a Shape,
    (state, above): (&'a Values, Option<&'a Values>),
    (name, sent): (Option<&'a str>, Option<&'a Value>),
) -> View<'a> {
    match (name, sent) {
        (Some(name), Some(sent)) => {
            let (index, item) = item(sent);
            View { shape, values: above.unwrap_or(state), item: Some((name, index, item)) }
        }
        _ => View::new(shape, state),
    }
}

/// To another graph of the project.
pub(crate) struct ToGraph {
    pub(crate) inner: Arc<Body>,
    /// Of the graph around it.
    pub(crate) shape: Arc<Shape>,
    pub(crate) input: Option<Given>,
    /// What the item is called, inside of a map.
    pub(crate) item: Option<String>,
    pub(crate) ending: Ending,
}

impl ToGraph {
    fn view<'a>(&'a self, around: &Around<'a>) -> View<'a> {
        let item = (self.item.as_deref(), around.sent);
        view(&self.shape, (around.state, around.above), item)
    }
}

fn index(view: &View<'_>) -> usize {
    view.item.map_or(0, |(_, index, _)| index)
}

impl Door for ToGraph {
    fn enter(&self, around: Around<'_>) -> Result<Values, NodeError> {
        let view = self.view(&around);
        let input = match &self.input {
            Some(given) => given.value.value(&|name: &str| view.get(name)).map_err(fatal)?,
            None => view.get(INPUT).unwrap_or_default(),
        };
        let mut values = self.inner.begin(input).map_err(fatal)?;
        // What the run goes by is the same in all of it.
        if let Some(config) = view.values.get(CONFIG) {
            let given = config.as_object().cloned().unwrap_or_default();
            self.inner.check_config(&given, true).map_err(fatal)?;
            values.insert(CONFIG.to_owned(), config.clone());
        }
        Ok(values)
    }

    fn leave(&self, around: Around<'_>, inner: &Values) -> Result<Puts, NodeError> {
        let view = self.view(&around);
        let output = self.inner.output(inner).map_err(fatal)?;
        Ok(self.ending.came(&self.shape, index(&view), output))
    }

    fn mend(&self, around: Around<'_>, message: &str) -> Option<Puts> {
        let view = self.view(&around);
        self.ending.failed(&self.shape, index(&view), message)
    }
}

/// To the items of a list.
pub(crate) struct ToItems {
    pub(crate) over: Spot<Expression>,
    pub(crate) shape: Arc<Shape>,
    pub(crate) concurrency: usize,
    pub(crate) items_max: usize,
    pub(crate) ending: Ending,
}

impl Door for ToItems {
    fn enter(&self, around: Around<'_>) -> Result<Values, NodeError> {
        let view = View::new(&self.shape, around.state);
        let items = match view.evaluate(&self.over).map_err(fatal)? {
            Value::Array(items) => items,
            other => {
                let of = Type::of(&other);
                return Err(fatal(format!("a map goes over a list, not {of}")));
            }
        };
        if items.len() > self.items_max {
            let (count, most) = (items.len(), self.items_max);
            return Err(fatal(format!("the list has {count} items, at most {most} are allowed")));
        }
        let first = items.len().min(self.concurrency.max(1));
        let values = [(STARTED, first.into()), (ITEMS, Value::Array(items))];
        Ok(values.map(|(name, value)| (name.to_owned(), value)).into())
    }

    fn leave(&self, _: Around<'_>, inner: &Values) -> Result<Puts, NodeError> {
        let results = inner.get(RESULTS).and_then(Value::as_array);
        let place = |result: &&Value| result.get("index").and_then(Value::as_u64);
        let mut results: Vec<&Value> = results.into_iter().flatten().collect();
        results.sort_by_key(place);
        let results = results.into_iter().filter_map(|result| result.get("value").cloned());
        Ok(self.ending.came(&self.shape, 0, Value::Array(results.collect())))
    }

    fn mend(&self, _: Around<'_>, message: &str) -> Option<Puts> {
        self.ending.failed(&self.shape, 0, message)
    }
}
