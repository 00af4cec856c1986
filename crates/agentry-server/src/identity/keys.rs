//! Keys over HTTP: made, replaced, withdrawn, listed. A secret is shown once.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_identity::{Caller, Issued, Wish, admin};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{actor, ring};
use crate::parameters::Parameters;
use crate::{App, Body, Refusal};

/// A week.
const OVERLAP_MAX: u64 = 7 * 24 * 3_600;

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
) -> Result<Json<Value>, Refusal> {
    let now = app.clock.now();
    let keys = admin::list(ring(&app)?, &actor(&caller));
    let data: Vec<Value> = keys.iter().map(|key| admin::shown(key, now)).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Body(wish): Body<Wish>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let now = app.clock.now();
    let issued = admin::create(ring(&app)?, &actor(&caller), &wish, now).await.map_err(refuse)?;
    Ok((StatusCode::CREATED, Json(once(&issued, now))))
}

pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let now = app.clock.now();
    let key = admin::revoke(ring(&app)?, &actor(&caller), &id, now).await.map_err(refuse)?;
    Ok(Json(admin::shown(&key, now)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Overlap {
    #[serde(default)]
    overlap_seconds: u64,
}

pub(super) async fn rotate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
    Parameters(Overlap { overlap_seconds }): Parameters<Overlap>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    if overlap_seconds > OVERLAP_MAX {
        let message = format!("the old key may live at most {OVERLAP_MAX} more seconds, a week");
        return Err(Refusal::bad_request("parameters_invalid", message).param("overlap_seconds"));
    }
    let now = app.clock.now();
    let overlap = Duration::from_secs(overlap_seconds);
    let rotated = admin::rotate(ring(&app)?, &actor(&caller), (&id, overlap), now).await;
    Ok((StatusCode::CREATED, Json(once(&rotated.map_err(refuse)?, now))))
}

fn once(issued: &Issued, now: Timestamp) -> Value {
    let mut shown = admin::shown(&issued.key, now);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("secret".to_owned(), issued.secret.expose().into());
    }
    shown
}

fn refuse(error: admin::Error) -> Refusal {
    let refusal = Refusal::of(&error);
    match error {
        admin::Error::Wish(bad) => refusal.param(bad.param),
        _ => refusal,
    }
}
