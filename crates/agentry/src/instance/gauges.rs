//! Counts, every few seconds, what is going on: for `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::store;
use agentry_core::thread::RunStatus;
use agentry_core::threads::{RunQuery, Threads};
use agentry_incident::handling::GRAPH;
use agentry_server::Metrics;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::wiring::counting;

const EVERY: Duration = Duration::from_secs(5);
/// More than this many at once are shown as this many.
const COUNT_MAX: usize = 1_000;

pub(super) struct Gauges {
    pub(super) archive: Arc<dyn Threads>,
    pub(super) metrics: Arc<Metrics>,
}

impl Gauges {
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let (archive, metrics) = (Arc::clone(&self.archive), Arc::clone(&self.metrics));
        tokio::join!(
            self.incidents(shutdown.clone()),
            counting::look(archive, metrics, shutdown.clone())
        );
    }

    async fn incidents(self, shutdown: CancellationToken) {
        loop {
            match self.count().await {
                Ok((active, waiting)) => self.metrics.incidents_now(active, waiting),
                Err(error) => warn!(%error, "incidents could not be counted"),
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn count(&self) -> Result<(usize, usize), store::Error> {
        let of = |status| RunQuery {
            graph: Some(GRAPH.to_owned()),
            status: Some(status),
            max: COUNT_MAX,
            ..RunQuery::default()
        };
        let mut active = 0;
        for status in [RunStatus::Pending, RunStatus::Running, RunStatus::Interrupted] {
            active += self.archive.runs(of(status)).await?.len();
        }
        Ok((active, self.archive.questions(None, COUNT_MAX).await?.len()))
    }
}
