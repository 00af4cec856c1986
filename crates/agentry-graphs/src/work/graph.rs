//! Another graph, run inside of the node.

use std::sync::Arc;

use agentry_engine::NodeError;
use async_trait::async_trait;

use super::{Came, Visit, Work, fatal};
use crate::compile::Body;
use crate::definition::Given;
use crate::view::{INPUT, View};

pub(crate) struct GraphWork {
    pub(crate) body: Arc<Body>,
    pub(crate) input: Option<Given>,
}

#[async_trait]
impl Work for GraphWork {
    async fn run(&self, visit: &Visit<'_>, view: &View<'_>) -> Result<Came, NodeError> {
        let input = match &self.input {
            Some(given) => given.value.value(&|name: &str| view.get(name)).map_err(fatal)?,
            None => view.get(INPUT).unwrap_or_default(),
        };
        crate::inner::run(&self.body, visit, input).await
    }
}
