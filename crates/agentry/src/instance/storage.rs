//! Whether the store answers.

use std::sync::Arc;

use agentry_core::threads::{RunQuery, Threads};
use agentry_server::Dependency;
use async_trait::async_trait;

pub(super) struct Storage(pub(super) Arc<dyn Threads>);

#[async_trait]
impl Dependency for Storage {
    fn name(&self) -> &str {
        "storage"
    }

    async fn check(&self) -> Result<String, String> {
        let newest = RunQuery { max: 1, ..RunQuery::default() };
        match self.0.runs(newest).await {
            Ok(_) => Ok("answers".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}
