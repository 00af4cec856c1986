//! Batches, and the answers that are kept for idempotency keys.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::Clock;
use agentry_core::batches::Batches;
use agentry_core::idempotency::Idempotency;
use agentry_core::keys::UserData;
use agentry_core::store::Error;
use agentry_gateway::Gateway;
use agentry_gateway::batches::{Service, Settings};
use agentry_identity::KeyRing;
use agentry_server::{App, BatchCalls, Batching};
use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::SystemClock;
use crate::config;

/// What they are made of.
pub(crate) struct Parts {
    pub(crate) requests: Arc<dyn Idempotency>,
    pub(crate) batches: Arc<dyn Batches>,
    pub(crate) settings: config::Batches,
    /// Names this instance, also after a restart.
    pub(crate) instance: String,
}

/// What must run for them.
pub(crate) struct Running {
    requests: Arc<dyn Idempotency>,
    service: Service,
}

impl Parts {
    /// Opens the faces; `keys` says what those who made a batch may do now.
    pub(crate) fn open(
        self,
        app: App,
        gateway: Arc<Gateway>,
        keys: Option<Arc<KeyRing>>,
    ) -> (App, Running) {
        let Self { requests, batches, settings, instance } = self;
        let config::Batches { concurrency, settings } = settings;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let calls = BatchCalls::new(gateway, Arc::clone(&clock), Arc::clone(&requests), keys);
        let service = Settings { concurrency, ..Settings::new(instance) };
        let service = Service::new(Arc::clone(&batches), Arc::new(calls), clock, service);
        let face = Batching { store: batches, handle: service.handle(), settings };
        let app = app.idempotency(Arc::clone(&requests)).batches(face);
        (app, Running { requests, service })
    }

    pub(crate) fn user_data(&self) -> [Arc<dyn UserData>; 2] {
        [
            Arc::new(OfUsers(Arc::clone(&self.batches))),
            Arc::new(AnswersOfUsers(Arc::clone(&self.requests))),
        ]
    }
}

/// How often answers are removed that were kept long enough.
const FORGET_EVERY: Duration = Duration::from_secs(600);

impl Running {
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let Self { requests, service } = self;
        let forgetting = async {
            let over = || shutdown.is_cancelled();
            while !over() {
                if let Err(problem) = requests.forget_expired(SystemClock.now()).await {
                    warn!(%problem, "old answers cannot be removed at the moment");
                }
                shutdown.run_until_cancelled(tokio::time::sleep(FORGET_EVERY)).await;
            }
        };
        tokio::join!(service.run(shutdown.clone()), forgetting);
    }
}

struct OfUsers(Arc<dyn Batches>);

#[async_trait]
impl UserData for OfUsers {
    fn name(&self) -> &str {
        "batches"
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        self.0.forget_user(tenant, user).await
    }
}

struct AnswersOfUsers(Arc<dyn Idempotency>);

#[async_trait]
impl UserData for AnswersOfUsers {
    fn name(&self) -> &str {
        "kept_answers"
    }

    async fn forget_user(&self, tenant: &str, user: &str) -> Result<u64, Error> {
        self.0.forget_user(tenant, user).await
    }
}
