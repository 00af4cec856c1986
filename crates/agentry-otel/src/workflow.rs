//! From an execution of a graph to its spans: one trace from claim to rest, a span below it for each attempt at a node, and
//! calls to models below that. The next execution of the thread is a trace of its own that links to this one.

use std::borrow::Cow;

use agentry_core::Trace;
use agentry_core::thread::RunStatus;
use agentry_engine::observe::{Came, End, Execution, Observer, Outcome, Task, TaskEnd};

use crate::genai::names;
use crate::otlp::{Kind, Span, Value};
use crate::tracer::{Tracer, mixed};

const OPERATION: &str = "invoke_workflow";

impl Tracer {
    /// The execution's own span, if its trace is one of those that are written down.
    fn of(&self, execution: &Execution) -> Option<Trace> {
        self.taken(execution.span())
    }

    fn taken(&self, trace: Trace) -> Option<Trace> {
        self.sampling().takes(trace.id).then_some(trace)
    }
}

impl Observer for Tracer {
    fn begins(&self, execution: &Execution, task: &Task) -> Option<Trace> {
        match self.of(execution) {
            Some(root) => Some(root.child(mixed(root.span ^ mixed(task.number)))),
            // What is below a trace that nobody wants is not wanted either.
            None => Some(Trace { is_sampled: false, ..execution.span() }),
        }
    }

    fn ended(&self, execution: &Execution, task: &Task, end: &TaskEnd<'_>) {
        let Some(trace) = task.trace.filter(|trace| trace.is_sampled) else { return };
        self.span(|| {
            let error = match end.came {
                Came::Failed(_) => Some("node_failed"),
                Came::Done | Came::Cached | Came::Asks | Came::Aborted => None,
            };
            let mut attributes = vec![
                (names::WORKFLOW, Value::from(&*execution.graph)),
                (names::NODE, Value::from(&*task.node)),
                (names::ATTEMPT, Value::from(u64::from(task.attempt))),
                (names::END, Value::from(came(end.came))),
                (names::RUN, Value::from(task.run.to_string().as_str())),
                (names::CONVERSATION, Value::from(execution.thread.to_string().as_str())),
            ];
            if !task.ns.is_empty() {
                attributes.push((names::NAMESPACE, Value::from(&*task.ns)));
            }
            attributes.extend(error.map(|error| (names::ERROR_TYPE, Value::from(error))));
            Span {
                trace,
                name: format!("node {}", task.node),
                kind: Kind::Internal,
                start: task.at,
                end: end.at,
                attributes,
                events: Vec::new(),
                links: Vec::new(),
                error: error.map(Cow::Borrowed),
            }
        });
    }

    fn let_go(&self, execution: &Execution, outcome: &Outcome) {
        let Some(trace) = self.of(execution) else { return };
        let links = execution.before().and_then(|before| self.taken(before));
        self.span(|| {
            let failed = outcome.runs.iter().find_map(|(_, status)| match status {
                RunStatus::Error => Some("run_failed"),
                RunStatus::Timeout => Some("run_timeout"),
                RunStatus::Pending
                | RunStatus::Running
                | RunStatus::Interrupted
                | RunStatus::Success
                | RunStatus::Cancelled
                | RunStatus::RolledBack => None,
            });
            let lost = (outcome.end == End::Lost).then_some("lease_lost");
            let error = failed.or(lost);
            let mut attributes = vec![
                (names::OPERATION, Value::from(OPERATION)),
                (names::WORKFLOW, Value::from(&*execution.graph)),
                (names::CONVERSATION, Value::from(execution.thread.to_string().as_str())),
                (names::TENANT, Value::from(&*execution.tenant)),
                (names::EXECUTION, Value::from(execution.fence.0)),
                (names::COMMITS, Value::from(outcome.commits)),
                (names::END, Value::from(ended(outcome.end))),
            ];
            if let Some((run, _)) = outcome.runs.last() {
                attributes.push((names::RUN, Value::from(run.to_string().as_str())));
            }
            attributes.extend(error.map(|error| (names::ERROR_TYPE, Value::from(error))));
            Span {
                trace,
                name: format!("{OPERATION} {}", execution.graph),
                kind: Kind::Internal,
                start: execution.at,
                end: outcome.at,
                attributes,
                events: Vec::new(),
                links: links.into_iter().collect(),
                error: error.map(Cow::Borrowed),
            }
        });
    }
}

fn came(came: Came<'_>) -> &'static str {
    match came {
        Came::Done => "done",
        Came::Cached => "cached",
        Came::Asks => "asks",
        Came::Failed(_) => "failed",
        Came::Aborted => "aborted",
    }
}

fn ended(end: End) -> &'static str {
    match end {
        End::Rests => "rests",
        End::GivenBack => "given_back",
        End::Lost => "lost",
        End::Changed => "changed",
    }
}
