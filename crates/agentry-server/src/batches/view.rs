//! A batch as OpenAI's clients read it.

use agentry_core::Timestamp;
use agentry_core::batches::{Batch, Counts, Status};
use serde_json::{Value, json};

use crate::files;

pub(super) fn batch(batch: &Batch) -> Value {
    let Batch {
        id,
        owner: _,
        endpoint,
        input_file,
        metadata,
        created,
        expires,
        keep_until: _,
        cancelled,
        finished,
        counts,
    } = batch;
    let status = batch.status();
    let when = |wanted: Status| finished.filter(|_| status == wanted).map(seconds);
    let Counts { total, completed, failed, dropped } = *counts;
    let is_over = finished.is_some();
    let hours = expires.since(*created).as_secs() / 3_600;
    json!({
        "id": id,
        "object": "batch",
        "endpoint": endpoint,
        "errors": null,
        "input_file_id": input_file,
        "completion_window": format!("{hours}h"),
        "status": word(status),
        "output_file_id": (is_over && completed > 0).then(|| files::output_of(id)),
        "error_file_id": (is_over && failed + dropped > 0).then(|| files::errors_of(id)),
        "created_at": seconds(*created),
        "in_progress_at": seconds(*created),
        "expires_at": seconds(*expires),
        "finalizing_at": null,
        "completed_at": when(Status::Completed),
        "failed_at": null,
        "expired_at": when(Status::Expired),
        "cancelling_at": cancelled.map(seconds),
        "cancelled_at": when(Status::Cancelled),
        "request_counts": { "total": total, "completed": completed, "failed": failed },
        "metadata": (!metadata.is_empty()).then_some(metadata),
    })
}

pub(crate) fn seconds(at: Timestamp) -> i64 {
    at.as_millis() / 1_000
}

fn word(status: Status) -> &'static str {
    match status {
        Status::InProgress => "in_progress",
        Status::Completed => "completed",
        Status::Cancelling => "cancelling",
        Status::Cancelled => "cancelled",
        Status::Expired => "expired",
    }
}
