//! Counts, every few seconds, what is going on: for `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::run::Status;
use agentry_core::store::{self, RunQuery, RunStore};
use agentry_incident::handling::GRAPH;
use agentry_server::Metrics;
use tokio_util::sync::CancellationToken;
use tracing::warn;

const EVERY: Duration = Duration::from_secs(5);
/// More than this many at once are shown as this many.
const COUNT_MAX: usize = 1_000;

pub(super) struct Gauges {
    pub(super) store: Arc<dyn RunStore>,
    pub(super) metrics: Arc<Metrics>,
}

impl Gauges {
    pub(super) async fn run(self, shutdown: CancellationToken) {
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
            runs_max: COUNT_MAX,
            ..RunQuery::default()
        };
        let ready = self.store.runs(of(Status::Ready)).await?.len();
        let parked = self.store.runs(of(Status::Parked)).await?.len();
        Ok((ready + parked, self.store.questions(COUNT_MAX).await?.len()))
    }
}
