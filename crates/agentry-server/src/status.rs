//! How everything is, in one object: `/v1/status`; and the answer to an alert: somebody takes care of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentry_balance::{Cause, Circuit, Flow, LimitState, Quantiles, Snapshot};
use agentry_core::Timestamp;
use agentry_gateway::checks::{Last, State as Checked};
use agentry_gateway::money::Standing;
use agentry_gateway::status::{Kept, Model, Overview, Queue, Target};
use agentry_gateway::watchdog::Alert;
use agentry_identity::Caller;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::identity::actor;
use crate::operate::checks;
use crate::{App, Refusal};
use sight::Sight;

mod sight;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/watchdog/{id}/acknowledge", post(acknowledge))
}

pub(crate) const PATHS: &[&str] = &["/v1/status"];

/// Budgets of which so much is used are near their cap.
const NEAR_PERCENT: f64 = 80.0;

async fn status(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
) -> Json<Value> {
    let now = app.clock.now();
    let overview = app.gateway.overview();
    let (ready, beside) = tokio::join!(checks(&app.dependencies), checks(&app.companions));
    let sight = Sight(&caller);
    let near = overview.budgets.iter().filter(|budget| {
        budget.used_percent() >= NEAR_PERCENT && sight.sees_account(&budget.account)
    });
    let alerts = app.watchdog.alerts();
    let alerts = alerts.iter().filter(|alert| sight.sees_alert(alert, &overview.models));
    let Overview { models, targets, cache, usage, refuses_low, budgets: _ } = &overview;
    let known = models.iter().filter(|model| sight.sees_model(&model.name));
    Json(json!({
        "object": "status",
        "version": env!("CARGO_PKG_VERSION"),
        "started": app.started,
        "uptime_seconds": now.since(app.started).as_secs(),
        "ready": checked(&ready),
        "beside": sight.whole(checked(&beside)),
        "models": known.map(|model| of_model(model, targets, (now, sight))).collect::<Vec<_>>(),
        "cache": cache.as_ref().and_then(|cache| sight.whole(of_cache(cache))),
        "budgets_near_cap": near.map(of_budget).collect::<Vec<_>>(),
        "usage": usage.and_then(|Queue { waiting, waiting_max }| {
            sight.whole(json!({ "waiting": waiting, "waiting_max": waiting_max }))
        }),
        "pressure": { "low_priority_refused": refuses_low },
        "alerts": alerts.map(|alert| of_alert(alert, sight)).collect::<Vec<_>>(),
    }))
}

async fn acknowledge(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let sight = Sight(&caller);
    let firing = app.watchdog.alerts();
    let firing = firing.iter().find(|alert| *alert.id == *id);
    let models = || app.gateway.overview().models;
    let seen = firing.filter(|alert| sight.owns_alert(alert) || sight.sees_alert(alert, &models()));
    if seen.is_some_and(|alert| !sight.owns_alert(alert)) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "scope_missing",
            "this alert is about what all tenants share: only a key with the scope `operator` may acknowledge it",
        ));
    }
    match seen.and_then(|_| app.watchdog.acknowledge(&id, &caller.actor())) {
        Some(alert) => {
            let (now, shown) = (app.clock.now(), of_alert(&alert, sight));
            let entry = actor(&caller).entry(now, "watchdog.acknowledged", &id, shown.clone());
            app.identity.acted(entry).await?;
            Ok(Json(shown))
        }
        None => Err(Refusal::not_found(
            "alert_not_firing",
            "no such alert is firing: /v1/status lists those that are",
        )),
    }
}

fn checked(checks: &[(String, Result<String, String>)]) -> Value {
    let shown: Map<String, Value> = checks
        .iter()
        .map(|(name, result)| {
            let check = match result {
                Ok(detail) => json!({ "status": "ok", "detail": detail }),
                Err(detail) => json!({ "status": "failing", "detail": detail }),
            };
            (name.clone(), check)
        })
        .collect();
    Value::Object(shown)
}

fn of_model(model: &Model, targets: &[Target], (now, sight): (Timestamp, Sight<'_>)) -> Value {
    let Model { name, strategy, targets: names, fallbacks, flow, in_flight } = model;
    let known: BTreeMap<&str, &Target> =
        targets.iter().map(|target| (&*target.name, target)).collect();
    let targets: Vec<Value> = names
        .iter()
        .filter_map(|name| Some(of_target(known.get(&**name)?, (now, sight))))
        .collect();
    let fallbacks: Vec<_> = fallbacks.iter().filter(|name| sight.sees_model(name)).collect();
    json!({
        "name": name,
        "strategy": strategy,
        "fallbacks": fallbacks,
        "in_flight": sight.whole(in_flight),
        "flow": sight.whole(of_flow(*flow)),
        "targets": targets,
    })
}

fn of_target(target: &Target, (now, sight): (Timestamp, Sight<'_>)) -> Value {
    let Target { name, is, check } = target;
    let Snapshot {
        condition,
        circuit,
        open_since,
        cooling,
        in_flight,
        recent_calls,
        success_rate,
        expected_first_token,
        first_token,
        total,
        flow,
        limit,
    } = is;
    let cause = match circuit {
        Circuit::Closed => None,
        Circuit::Open(cause) | Circuit::HalfOpen(cause) => Some(match cause {
            Cause::Failing => "failing",
            Cause::Outlier => "outlier",
            Cause::Credentials => "credentials",
            Cause::Check => "check",
        }),
    };
    json!({
        "name": name,
        "condition": condition.as_str(),
        "circuit": {
            "state": circuit.as_str(),
            "cause": cause,
            "since": open_since.map(|open| now.minus(open)),
        },
        "check": check.as_ref().map(|check| of_check(check, sight)),
        "cooling_seconds": cooling.map(|left| left.as_secs_f64()),
        "in_flight": sight.whole(in_flight),
        "recent_calls": sight.whole(recent_calls),
        "success_rate": success_rate,
        "expected_first_token_ms": expected_first_token.map(millis),
        "first_token": of_quantiles(*first_token, sight),
        "response": of_quantiles(*total, sight),
        "flow": sight.whole(of_flow(*flow)),
        "limit": limit.filter(|_| sight.is_whole()).map(of_limit),
    })
}

fn of_check(state: &Checked, sight: Sight<'_>) -> Value {
    let Checked { found, since, last, in_a_row, passed, failed } = state;
    let last = last.as_ref().map(|Last { at, took, problem }| {
        // It may name hosts.
        let told = sight.whole(problem);
        json!({ "at": at, "took_ms": millis(*took), "passed": problem.is_none(), "problem": told })
    });
    json!({
        "state": found.as_str(),
        "since": since,
        "last": last,
        "in_a_row": in_a_row,
        "passed": passed,
        "failed": failed,
    })
}

fn of_limit(limit: LimitState) -> Value {
    let LimitState { limit, in_use, waiting, waiting_max, shed } = limit;
    json!({
        "limit": limit,
        "in_use": in_use,
        "waiting": waiting,
        "waiting_max": waiting_max,
        "shed": shed,
    })
}

fn of_quantiles(quantiles: Quantiles, sight: Sight<'_>) -> Value {
    let Quantiles { calls, p50, p95, p99 } = quantiles;
    match calls {
        0 => Value::Null,
        calls => json!({
            "calls": sight.whole(calls),
            "p50_ms": millis(p50),
            "p95_ms": millis(p95),
            "p99_ms": millis(p99),
        }),
    }
}

/// λ, W, and L = λW.
fn of_flow(flow: Flow) -> Value {
    json!({
        "lambda_per_second": rounded(flow.per_second),
        "w_seconds": rounded(flow.mean.as_secs_f64()),
        "l": rounded(flow.in_system()),
    })
}

fn of_cache(cache: &Kept) -> Value {
    let Kept { here, shared, flights } = cache;
    json!({
        "hits": here.hits,
        "misses": here.misses,
        "joined": flights.joined,
        "entries": here.entries,
        "evictions": here.evictions,
        "bytes": here.bytes,
        "bytes_max": here.bytes_max,
        "ttl_seconds": here.ttl.as_secs(),
        "flights": flights.flights,
        "shared": shared.map(|shared| json!({
            "hits": shared.hits,
            "misses": shared.misses,
            "failures": shared.failures,
            "written": shared.written,
            "unwritten": shared.unwritten,
        })),
    })
}

fn of_budget(budget: &Standing) -> Value {
    let Standing { account, per, cap, used, resets_at } = budget;
    json!({
        "account": account,
        "per": per.as_str(),
        "cap_usd": cap.0 as f64 / 1e6,
        "used_usd": used.0 as f64 / 1e6,
        "used_percent": rounded(budget.used_percent()),
        "resets_at": resets_at,
    })
}

fn of_alert(alert: &Alert, sight: Sight<'_>) -> Value {
    let Alert { id, rule, signal, subject, value, threshold, since, acknowledged_by: _ } = alert;
    json!({
        "id": id,
        "rule": rule,
        "signal": signal.as_str(),
        "subject": subject,
        "summary": alert.to_string(),
        "value": rounded(*value),
        "threshold": threshold,
        "since": since,
        "acknowledged_by": sight.caretaker(alert),
    })
}

fn millis(span: Duration) -> f64 {
    rounded(span.as_secs_f64() * 1e3)
}

/// As exactly as anybody reads it.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
