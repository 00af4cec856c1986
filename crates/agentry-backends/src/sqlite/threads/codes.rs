//! Closed sets as the small numbers that the tables hold.

use agentry_core::run::Closing;
use agentry_core::thread::{Multitask, Priority, Rest, RunStatus, Status};

pub(super) const IDLE: i64 = 0;
pub(super) const READY: i64 = 1;
pub(super) const WAITING: i64 = 2;
pub(super) const INTERRUPTED: i64 = 3;
pub(super) const FAILED: i64 = 4;

pub(super) const PENDING: i64 = 0;

/// From the highest to the lowest.
pub(super) const PRIORITIES: [i64; 3] = [2, 1, 0];

pub(super) fn status(status: Status) -> i64 {
    match status {
        Status::Idle => IDLE,
        Status::Ready => READY,
        Status::Waiting => WAITING,
        Status::Interrupted => INTERRUPTED,
        Status::Failed => FAILED,
    }
}

/// The inverse of [`status`]; what no version of this schema writes counts as failed.
pub(super) fn to_status(code: i64) -> Status {
    match code {
        IDLE => Status::Idle,
        READY => Status::Ready,
        WAITING => Status::Waiting,
        INTERRUPTED => Status::Interrupted,
        _ => Status::Failed,
    }
}

pub(super) fn rest(rest: Rest) -> i64 {
    match rest {
        Rest::Idle => IDLE,
        Rest::Waiting => WAITING,
        Rest::Interrupted => INTERRUPTED,
        Rest::Failed => FAILED,
    }
}

pub(super) fn run_status(status: RunStatus) -> i64 {
    match status {
        RunStatus::Pending => PENDING,
        RunStatus::Running => 1,
        RunStatus::Interrupted => 2,
        RunStatus::Success => 3,
        RunStatus::Error => 4,
        RunStatus::Timeout => 5,
        RunStatus::Cancelled => 6,
        RunStatus::RolledBack => 7,
    }
}

/// The inverse of [`run_status`]; what no version of this schema writes counts as an error.
pub(super) fn to_run_status(code: i64) -> RunStatus {
    match code {
        PENDING => RunStatus::Pending,
        1 => RunStatus::Running,
        2 => RunStatus::Interrupted,
        3 => RunStatus::Success,
        5 => RunStatus::Timeout,
        6 => RunStatus::Cancelled,
        7 => RunStatus::RolledBack,
        _ => RunStatus::Error,
    }
}

pub(super) fn priority(priority: Priority) -> i64 {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
    }
}

pub(super) fn to_priority(code: i64) -> Priority {
    match code {
        0 => Priority::Low,
        2 => Priority::High,
        _ => Priority::Normal,
    }
}

pub(super) fn multitask(multitask: Multitask) -> i64 {
    match multitask {
        Multitask::Reject => 0,
        Multitask::Enqueue => 1,
        Multitask::Interrupt => 2,
        Multitask::Rollback => 3,
    }
}

pub(super) fn to_multitask(code: i64) -> Multitask {
    match code {
        0 => Multitask::Reject,
        2 => Multitask::Interrupt,
        3 => Multitask::Rollback,
        _ => Multitask::Enqueue,
    }
}

pub(super) fn closing(closing: Closing) -> &'static str {
    match closing {
        Closing::Answered => "answered",
        Closing::Expired => "expired",
        Closing::Replaced => "replaced",
        Closing::Withdrawn => "withdrawn",
    }
}
