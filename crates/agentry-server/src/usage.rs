//! What was used and what it cost: `/v1/usage`.

use std::sync::Arc;
use std::time::Duration;

use agentry_core::Timestamp;
use agentry_core::ledger::{By, ReportQuery, Spent, Sums};
use agentry_identity::{Caller, Scope};
use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::parameters::Parameters;
use crate::{App, Refusal};

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/usage", get(usage))
}

pub(crate) const PATHS: &[&str] = &["/v1/usage"];

/// Without a beginning, so much before the end.
const USUAL_SPAN: Duration = Duration::from_secs(30 * 86_400);
const ROWS_USUAL: usize = 100;
const ROWS_MAX: usize = 10_000;
/// Stands for every tenant.
const EVERYBODY: &str = "*";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    from: Option<String>,
    to: Option<String>,
    by: Option<String>,
    tenant: Option<String>,
    key: Option<String>,
    user: Option<String>,
    team: Option<String>,
    session: Option<String>,
    run: Option<String>,
    model: Option<String>,
    limit: Option<usize>,
}

async fn usage(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Parameters(asked): Parameters<Asked>,
) -> Result<Json<Value>, Refusal> {
    let Some(ledger) = &app.ledger else {
        return Err(Refusal::not_found("usage_off", "this instance keeps no account of usage"));
    };
    let (query, by) = asked.read(&caller, app.clock.now())?;
    let mut rows = ledger.spending(query.clone(), by).await?;
    let totals = ledger.report(ReportQuery { rows_max: 0, ..query.clone() }).await?.totals;
    if by == By::Day {
        rows.sort_by(|left, right| left.name.cmp(&right.name));
    }
    Ok(Json(json!({
        "object": "usage",
        "from": query.from,
        "to": query.to,
        "tenant": query.tenant,
        "by": by.as_str(),
        "rows": rows.iter().map(of_group).collect::<Vec<_>>(),
        "totals": of_sums(&totals),
    })))
}

impl Asked {
    fn read(self, caller: &Caller, now: Timestamp) -> Result<(ReportQuery, By), Refusal> {
        let Self { from, to, by, tenant, key, user, team, session, run, model, limit } = self;
        let to = to.map(|text| moment("to", &text)).transpose()?.unwrap_or(now);
        let from = from.map(|text| moment("from", &text)).transpose()?;
        let from = from.unwrap_or_else(|| to.minus(USUAL_SPAN));
        if from >= to {
            return Err(wrong("from", "the beginning is not before the end".to_owned()));
        }
        let by = match by {
            Some(text) => text.parse::<By>().map_err(|error| wrong("by", error.to_string()))?,
            None => By::Model,
        };
        let rows_max = limit.unwrap_or(ROWS_USUAL);
        if !(1..=ROWS_MAX).contains(&rows_max) {
            return Err(wrong("limit", format!("ask for 1 to {ROWS_MAX} rows")));
        }
        let tenant = match tenant.as_deref() {
            None => Some(caller.tenant.to_string()),
            Some(EVERYBODY) if caller.scopes.has(Scope::Operator) => None,
            Some(tenant) if caller.sees(tenant) => Some(tenant.to_owned()),
            Some(_) => {
                return Err(Refusal::new(
                    StatusCode::FORBIDDEN,
                    "scope_missing",
                    "only an operator may see what other tenants use",
                )
                .param("tenant"));
            }
        };
        let query = ReportQuery {
            tenant,
            key,
            user,
            team,
            session,
            run,
            model,
            rows_max,
            ..ReportQuery::between(from, to)
        };
        Ok((query, by))
    }
}

/// `2026-01-31T08:00:00Z`, or a day: its beginning in UTC.
fn moment(name: &'static str, text: &str) -> Result<Timestamp, Refusal> {
    let day = || format!("{text}T00:00:00Z").parse().ok();
    let read = text.parse().ok().or_else(day);
    read.ok_or_else(|| {
        wrong(name, format!("`{text}` is neither a day such as 2026-01-31 nor a time"))
    })
}

fn wrong(name: &'static str, message: String) -> Refusal {
    Refusal::bad_request("parameters_invalid", message).param(name)
}

pub(crate) fn of_group(group: &Spent) -> Value {
    let Spent { name, sums } = group;
    let mut row = of_sums(sums);
    if let Some(row) = row.as_object_mut() {
        row.insert("name".to_owned(), json!(name));
    }
    row
}

fn of_sums(sums: &Sums) -> Value {
    let Sums { calls, failed, from_cache, tokens, cost, estimated, saved } = sums;
    json!({
        "calls": calls,
        "failed": failed,
        "from_cache": from_cache,
        "tokens": tokens,
        "cost_usd": cost.0 as f64 / 1e6,
        "estimated_usd": estimated.0 as f64 / 1e6,
        "saved_usd": saved.0 as f64 / 1e6,
    })
}
