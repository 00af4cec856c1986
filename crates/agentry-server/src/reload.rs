//! The configuration, read again while calls are under way: `POST /v1/config/reload`.

use std::sync::Arc;

use agentry_core::{Code, Failure, Fault, Retry, store};
use agentry_identity::Caller;
use async_trait::async_trait;
use axum::extract::State;
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde_json::{Value, json};

use crate::{App, Refusal};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/config/reload", post(reload))
}

pub(crate) const PATHS: &[&str] = &["/v1/config/reload"];

/// Reads the configuration again and puts it in force, all of what can be or nothing.
#[async_trait]
pub trait Reload: Send + Sync {
    /// On behalf of `actor`, as the audit log names it. It goes on to its end when nobody waits for it any more.
    async fn reload(&self, actor: &str) -> Result<Reloaded, NotReloaded>;
}

/// What has come of it, by the tables of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// In force from now on.
    pub changed: Vec<String>,
    /// These are other than before, too, and count from the next start.
    pub restart: Vec<String>,
}

/// What was in force still is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReloaded {
    /// All that is wrong, with its place.
    #[error("nothing was changed: {0}")]
    Wrong(String),
    #[error("nothing was changed: {0}")]
    Store(#[from] store::Error),
}

impl Failure for NotReloaded {
    fn code(&self) -> Code {
        match self {
            Self::Wrong(_) => Code("config_invalid"),
            Self::Store(problem) => problem.code(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Wrong(_) => Fault::Caller,
            Self::Store(problem) => problem.fault(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Wrong(_) => Retry::Never,
            Self::Store(problem) => problem.retry(),
        }
    }
}

async fn reload(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
) -> Result<Json<Value>, Refusal> {
    let Some(reload) = &app.reload else {
        let message = "this instance was not started from a configuration that can be read again";
        return Err(Refusal::not_found("reload_off", message));
    };
    let Reloaded { changed, restart } = reload.reload(&caller.actor()).await?;
    Ok(Json(json!({ "object": "reload", "changed": changed, "restart": restart })))
}
