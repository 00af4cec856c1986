//! What a run is to do, as it is asked for and as it is stored.

use agentry_core::thread::{Absent, Multitask, NewRun, Pinned, Priority};
use agentry_core::{CheckpointId, RunId, ThreadId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::machine::{Command, Request, Resume, Submission};

/// A run's input, as it is stored; readable for ever.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "version")]
enum Stored {
    #[serde(rename = "1")]
    V1(Order),
}

/// What a run is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The checkpoint to go on from, when it is not where the thread stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<CheckpointId>,
    /// What nodes may read beside the state.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    #[serde(flatten)]
    pub submission: Submission,
}

impl Order {
    pub(crate) fn to_value(&self) -> Value {
        serde_json::to_value(Stored::V1(self.clone())).unwrap_or_default()
    }

    pub(crate) fn from_value(value: &Value) -> Result<Self, serde_json::Error> {
        let Stored::V1(order) = Stored::deserialize(value)?;
        Ok(order)
    }

    /// The interrupts that it answers.
    pub(crate) fn answers(&self) -> impl Iterator<Item = &str> {
        let resume = match &self.submission.request {
            Request::Command(Command { resume: Some(Resume::Each(each)), .. }) => Some(each),
            Request::Command(_) | Request::Input(_) | Request::GoOn => None,
        };
        resume.into_iter().flatten().map(|(interrupt, _)| interrupt.as_str())
    }
}

/// A run that somebody wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    pub run: RunId,
    pub thread: ThreadId,
    pub tenant: String,
    pub key: Option<String>,
    pub graph: String,
    pub request: Request,
    pub from: Option<CheckpointId>,
    pub config: Map<String, Value>,
    pub steps_max: Option<u32>,
    /// Nodes before which it stops; `*` for each.
    pub before: Vec<String>,
    pub after: Vec<String>,
    pub multitask: Multitask,
    pub priority: Priority,
    pub absent: Absent,
    pub metadata: Map<String, Value>,
    pub created: Timestamp,
    pub not_before: Option<Timestamp>,
    pub deadline: Option<Timestamp>,
    /// Who answers, where it brings answers.
    pub actor: String,
}

impl Wish {
    /// A run on `thread`, which is made when there is none; of the tenant `main`, waiting its turn.
    #[must_use]
    pub fn new(
        run: RunId,
        thread: ThreadId,
        graph: &str,
        request: Request,
        now: Timestamp,
    ) -> Self {
        Self {
            run,
            thread,
            tenant: "main".to_owned(),
            key: None,
            graph: graph.to_owned(),
            request,
            from: None,
            config: Map::new(),
            steps_max: None,
            before: Vec::new(),
            after: Vec::new(),
            multitask: Multitask::default(),
            priority: Priority::default(),
            absent: Absent::Create,
            metadata: Map::new(),
            created: now,
            not_before: None,
            deadline: None,
            actor: format!("run:{run}"),
        }
    }

    /// `answers` are those that it brings, by interrupt; they are part of the request then.
    pub(crate) fn into_run(self, program: Pinned, answers: Vec<(String, Value)>) -> NewRun {
        let mut request = self.request;
        if let Request::Command(Command { resume, .. }) = &mut request
            && resume.is_some()
        {
            *resume = Some(Resume::Each(answers.iter().cloned().collect()));
        }
        let submission = Submission {
            run: self.run,
            request,
            steps_max: self.steps_max,
            before: self.before,
            after: self.after,
            deadline: self.deadline,
            replay: self.from.is_some(),
            config: None,
            actor: (!answers.is_empty()).then(|| self.actor.clone()),
        };
        let order = Order { from: self.from, config: self.config, submission };
        let (actor, at) = (self.actor, self.created);
        let answers = answers.into_iter().map(|(interrupt, value)| {
            (interrupt, agentry_core::run::Answer { value, actor: actor.clone(), at })
        });
        NewRun {
            id: self.run,
            thread: self.thread,
            tenant: self.tenant,
            key: self.key,
            program,
            input: order.to_value(),
            answers: answers.collect(),
            multitask: self.multitask,
            priority: self.priority,
            absent: self.absent,
            metadata: self.metadata,
            created: at,
            not_before: self.not_before,
            deadline: self.deadline,
        }
    }
}
