//! The same node for each item of a list, several at a time; what they come to keeps the order of the items.

use std::sync::Arc;

use agentry_engine::NodeError;
use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::Value;

use super::{Came, Visit, Work, fatal};
use crate::definition::Spot;
use crate::expression::Expression;
use crate::step::{Attempted, Step};
use crate::view::View;

pub(crate) struct MapWork {
    pub(crate) over: Spot<Expression>,
    pub(crate) item: String,
    pub(crate) step: Arc<Step>,
    pub(crate) concurrency: usize,
    pub(crate) items_max: usize,
}

#[async_trait]
impl Work for MapWork {
    async fn run(&self, visit: &Visit<'_>, view: &View<'_>) -> Result<Came, NodeError> {
        let items = match view.evaluate(&self.over).map_err(fatal)? {
            Value::Array(items) => items,
            other => {
                let of = crate::types::Type::of(&other);
                return Err(fatal(format!("a map goes over a list, not {of}")));
            }
        };
        if items.len() > self.items_max {
            let (count, most) = (items.len(), self.items_max);
            return Err(fatal(format!("the list has {count} items, at most {most} are allowed")));
        }
        let mut visits = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let inner = visit.inner(&index.to_string());
            let view = View { item: Some((&self.item, index, item)), ..*view };
            visits.push(async move { self.step.attempt(&inner, &view).await }.boxed());
        }
        let mut visits = stream::iter(visits).buffered(self.concurrency.max(1));
        let (mut results, mut asks) = (Vec::with_capacity(items.len()), None);
        while let Some(attempted) = visits.next().await {
            match attempted? {
                Attempted::Came(Came::To(value)) => results.push(value),
                Attempted::Came(Came::Asks(ask)) => asks = asks.or(Some(ask)),
                Attempted::Came(Came::Writes(_)) => {}
                Attempted::GivenUp { instead, .. } => results.extend(instead),
            }
        }
        Ok(asks.map_or_else(|| Came::To(Value::Array(results)), Came::Asks))
    }
}
