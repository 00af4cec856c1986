//! From a failure's code to an HTTP status: the only place that knows.

use agentry_core::{Code, Fault};
use http::StatusCode;

pub(super) fn of(code: Code, fault: Fault) -> StatusCode {
    match code.0 {
        "model_request_invalid" | "tool_arguments_invalid" => StatusCode::BAD_REQUEST,
        "model_not_found" if fault == Fault::Caller => StatusCode::NOT_FOUND,
        // Our configuration names a model that the upstream does not have.
        "model_not_found" => StatusCode::BAD_GATEWAY,
        "answer_unfit" => StatusCode::UNPROCESSABLE_ENTITY,
        "too_many_alerts" => StatusCode::PAYLOAD_TOO_LARGE,
        "model_rate_limited"
        | "requests_limited"
        | "tokens_limited"
        | "concurrency_limited"
        | "thread_queue_full" => StatusCode::TOO_MANY_REQUESTS,
        // Clients repeat a 429 by themselves, which would not bring more money.
        "budget_exceeded" => StatusCode::PAYMENT_REQUIRED,
        "config_invalid" => StatusCode::UNPROCESSABLE_ENTITY,
        "key_missing" | "key_invalid" | "key_expired" | "key_revoked" => StatusCode::UNAUTHORIZED,
        "key_attempts_exceeded" => StatusCode::TOO_MANY_REQUESTS,
        "key_not_found" | "graph_unknown" | "thread_unknown" | "checkpoint_unknown" => {
            StatusCode::NOT_FOUND
        }
        "thread_busy" | "key_name_taken" | "key_over" | "key_configured" => StatusCode::CONFLICT,
        "tool_refused" | "scope_missing" | "model_forbidden" | "address_forbidden" => {
            StatusCode::FORBIDDEN
        }
        // It is not the caller's key that was refused.
        "model_unauthorized"
        | "model_broke_off"
        | "model_truncated"
        | "model_malformed"
        | "telemetry_malformed"
        | "outbound_refused"
        | "tool_failed" => StatusCode::BAD_GATEWAY,
        "model_unavailable"
        | "model_quota_exhausted"
        | "telemetry_unavailable"
        | "outbound_unavailable"
        | "storage_unavailable"
        | "storage_overloaded"
        | "intake_full"
        | "overloaded"
        | "usage_overloaded"
        | "budget_unavailable"
        | "shutting_down" => StatusCode::SERVICE_UNAVAILABLE,
        "model_timed_out" | "telemetry_timed_out" | "outbound_ambiguous" | "tool_timed_out" => {
            StatusCode::GATEWAY_TIMEOUT
        }
        _ => match fault {
            Fault::Caller => StatusCode::BAD_REQUEST,
            Fault::Upstream => StatusCode::BAD_GATEWAY,
            Fault::Ours => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}
