//! Which path belongs to which face.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Extension, Router, middleware};
use http::StatusCode;

use crate::{
    App, Refusal, approvals, assistants, batches, calls, crons, edge, embeddings, files, identity,
    incidents, info, models, operate, recommend, reload, status, store_items, threads, usage,
};

/// All faces behind what every request goes through. A new face is one line here and one in `faces`.
pub fn router(app: Arc<App>) -> Router {
    let reading = app.reading();
    Router::new()
        .merge(calls::routes())
        .merge(embeddings::routes())
        .merge(batches::routes())
        .merge(files::routes())
        .merge(models::routes())
        .merge(incidents::routes())
        .merge(approvals::routes())
        .merge(operate::routes())
        .merge(recommend::routes())
        .merge(reload::routes())
        .merge(status::routes())
        .merge(usage::routes())
        .merge(identity::routes())
        .merge(info::routes())
        .merge(assistants::routes())
        .merge(threads::routes())
        .merge(crons::routes())
        .merge(store_items::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(Extension(reading))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), edge::guard))
        .with_state(app)
}

fn paths() -> impl Iterator<Item = &'static str> {
    [
        calls::PATHS,
        embeddings::PATHS,
        batches::PATHS,
        files::PATHS,
        models::PATHS,
        incidents::PATHS,
        approvals::PATHS,
        operate::PATHS,
        recommend::PATHS,
        reload::PATHS,
        status::PATHS,
        usage::PATHS,
        identity::PATHS,
        info::PATHS,
        assistants::PATHS,
        threads::PATHS,
        threads::upkeep::PATHS,
        crons::PATHS,
        store_items::PATHS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

async fn unknown_path(State(_): State<Arc<App>>, request: Request) -> Refusal {
    let path = request.uri().path();
    let trimmed = path.trim_end_matches('/');
    let meant = paths().find(|known| {
        *known == trimmed || known.strip_prefix("/v1") == Some(trimmed) || {
            let doubled = trimmed.strip_prefix("/v1");
            doubled == Some(*known)
        }
    });
    let shown: String = path.chars().take(120).collect();
    let hint = match meant {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("there are {}", paths().collect::<Vec<_>>().join(", ")),
    };
    Refusal::not_found("path_unknown", format!("there is nothing at {shown}: {hint}"))
}

async fn wrong_method(request: Request) -> Refusal {
    let method: String = request.method().as_str().chars().take(20).collect();
    let path = request.uri().path();
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{method} is not possible at {path}: the allow header says what is"),
    )
}
