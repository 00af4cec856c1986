//! Assigns keys of the state, each by an expression. All of them see the state as it was before.

use agentry_engine::NodeError;
use async_trait::async_trait;

use super::{Came, Visit, Work, fatal};
use crate::definition::Spot;
use crate::expression::Expression;
use crate::view::View;

pub(crate) struct SetWork {
    pub(crate) values: Vec<(String, Spot<Expression>)>,
}

#[async_trait]
impl Work for SetWork {
    async fn run(&self, _: &Visit<'_>, view: &View<'_>) -> Result<Came, NodeError> {
        let values = self
            .values
            .iter()
            .map(|(key, expression)| Ok((key.clone(), view.evaluate(expression).map_err(fatal)?)));
        Ok(Came::Writes(values.collect::<Result<_, NodeError>>()?))
    }
}
