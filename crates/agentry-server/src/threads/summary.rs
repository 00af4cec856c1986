//! What a run was like: where its time went, what it wrote, what it cost.

use agentry_core::ledger::{By, ReportQuery, Spent};
use agentry_core::thread::Run;
use axum::Json;
use axum::extract::Path;
use serde_json::{Map, Value, json};

use super::{Face, no_run, show};
use crate::{Refusal, usage};

/// Models that one run has asked.
const MODELS_MAX: usize = 100;

pub(crate) async fn show(
    face: Face,
    Path((id, run)): Path<(String, String)>,
) -> Result<Json<Value>, Refusal> {
    let run = face.run(&id, &run).await?;
    let Value::Object(summary) = face.threading.engine.summary(run.id).await?.ok_or_else(no_run)?
    else {
        return Err(no_run());
    };
    let mut shown = Map::from_iter([
        ("run_id".to_owned(), json!(run.id)),
        ("thread_id".to_owned(), json!(run.thread)),
        ("graph_id".to_owned(), json!(run.program.graph)),
        ("status".to_owned(), show::run_status(run.status).into()),
    ]);
    shown.extend(summary);
    shown.insert("usage".to_owned(), billed(&face, &run).await?);
    Ok(Json(shown.into()))
}

/// By model, as the ledger has settled it: what was cut off is in it, and what is still under way is not. Null without a
/// ledger.
async fn billed(face: &Face, run: &Run) -> Result<Value, Refusal> {
    let Some(ledger) = &face.app.ledger else { return Ok(Value::Null) };
    let now = face.clock().now();
    let query = ReportQuery {
        tenant: Some(run.tenant.clone()),
        run: Some(run.id.to_string()),
        rows_max: MODELS_MAX,
        // A record is as old as the end of its call, and clocks differ a little.
        ..ReportQuery::between(run.created.minus(CLOCKS_DIFFER), now.plus(CLOCKS_DIFFER))
    };
    let spent: Vec<Spent> = ledger.spending(query, By::Model).await?;
    Ok(spent.iter().map(usage::of_group).collect())
}

const CLOCKS_DIFFER: std::time::Duration = std::time::Duration::from_secs(60);
