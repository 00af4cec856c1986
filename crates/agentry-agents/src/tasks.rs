//! Tasks that depend on each other and have parts: what can be done now, what waits, and what it all hangs on.
//!
//! A task with parts is done when they are, and begins with the first of them; what it needs, each of its parts needs.
//! Everything here is data and pure transitions: whoever works on tasks stores a [`Plan`] like any other value.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

mod order;

pub use order::CriticalPath;

/// Nobody oversees more.
pub const TASKS_MAX: usize = 1_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    #[default]
    Pending,
    InProgress,
    Completed,
    /// It came to nothing; [`Plan::retry`] makes it pending again.
    Failed,
    /// It needs somebody who may decide more than whoever works on it.
    Escalated,
}

/// A task as it is planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTask {
    pub id: String,
    #[serde(default)]
    pub title: String,
    /// The task that this one is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Tasks that must be completed before this one begins.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub needs: BTreeSet<String>,
    /// In whatever unit the plan counts. Of a task with parts only theirs count.
    #[serde(default = "one")]
    pub effort: u32,
}

fn one() -> u32 {
    1
}

impl NewTask {
    #[must_use]
    pub fn new(id: &str, effort: u32) -> Self {
        let (id, title) = (id.to_owned(), String::new());
        Self { id, title, parent: None, needs: BTreeSet::new(), effort }
    }

    #[must_use]
    pub fn part_of(mut self, parent: &str) -> Self {
        self.parent = Some(parent.to_owned());
        self
    }

    #[must_use]
    pub fn needs<'a>(mut self, needs: impl IntoIterator<Item = &'a str>) -> Self {
        self.needs.extend(needs.into_iter().map(str::to_owned));
        self
    }
}

/// A task, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    #[serde(flatten)]
    pub planned: NewTask,
    pub status: Status,
    /// Of a hundred.
    pub progress: u8,
    /// How often it was begun.
    pub attempts: u32,
    /// Why it failed or was escalated; what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Tasks that fit together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Plan {
    tasks: BTreeMap<String, Task>,
}

/// What is stored is held to the same rules as what is planned.
#[derive(Serialize, Deserialize)]
struct Stored {
    tasks: Vec<Task>,
}

impl From<Plan> for Stored {
    fn from(plan: Plan) -> Self {
        Self { tasks: plan.tasks.into_values().collect() }
    }
}

impl TryFrom<Stored> for Plan {
    type Error = Problem;

    fn try_from(stored: Stored) -> Result<Self, Problem> {
        let planned = stored.tasks.iter().map(|task| task.planned.clone()).collect();
        let mut plan = Self::new(planned)
            .map_err(|problems| problems.into_iter().next().unwrap_or(Problem::TooMany))?;
        for task in stored.tasks {
            plan.tasks.insert(task.planned.id.clone(), task);
        }
        Ok(plan)
    }
}

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("two tasks are called `{0}`")]
    Duplicate(String),
    #[error("`{task}` needs `{needs}`, which does not exist")]
    UnknownNeed { task: String, needs: String },
    #[error("`{task}` is a part of `{parent}`, which does not exist")]
    UnknownParent { task: String, parent: String },
    #[error("these wait for each other: {}", .0.join(" → "))]
    Circle(Vec<String>),
    #[error("a plan has at most {TASKS_MAX} tasks")]
    TooMany,
}

/// Why a task cannot change like that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no task `{0}`")]
    Unknown(String),
    #[error("`{0}` has parts: change those")]
    HasParts(String),
    #[error("`{task}` waits for {}", .needs.join(", "))]
    Waits { task: String, needs: Vec<String> },
    #[error("`{task}` is {}", word(*.status))]
    Status { task: String, status: Status },
    #[error("progress goes from 0 to 99; complete the task instead")]
    Progress,
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Pending => "not begun",
        Status::InProgress => "in progress already",
        Status::Completed => "completed already",
        Status::Failed => "failed: retry it first",
        Status::Escalated => "escalated: retry it first",
    }
}

/// How the whole plan stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Tasks without parts.
    pub pending: usize,
    pub in_progress: usize,
    pub completed: usize,
    pub failed: usize,
    pub escalated: usize,
    /// Of a hundred, weighed by effort.
    pub progress: u8,
    /// Nothing runs and nothing can begin, though not everything is completed.
    pub stuck: bool,
}

impl Plan {
    /// All tasks together, or everything that keeps them from fitting.
    pub fn new(tasks: Vec<NewTask>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut plan = Self::default();
        if tasks.len() > TASKS_MAX {
            return Err(vec![Problem::TooMany]);
        }
        for planned in tasks {
            let id = planned.id.clone();
            let status = Status::default();
            let task = Task { planned, status, progress: 0, attempts: 0, note: None };
            if plan.tasks.insert(id.clone(), task).is_some() {
                problems.push(Problem::Duplicate(id));
            }
        }
        for (id, Task { planned, .. }) in &plan.tasks {
            let known = |id: &&String| plan.tasks.contains_key(*id);
            for needs in planned.needs.iter().filter(|needs| !known(needs)) {
                let (task, needs) = (id.clone(), needs.clone());
                problems.push(Problem::UnknownNeed { task, needs });
            }
            if let Some(parent) = planned.parent.as_ref().filter(|parent| !known(parent)) {
                let (task, parent) = (id.clone(), parent.clone());
                problems.push(Problem::UnknownParent { task, parent });
            }
        }
        if problems.is_empty() {
            problems.extend(order::circle(&plan).map(Problem::Circle));
        }
        if problems.is_empty() { Ok(plan) } else { Err(problems) }
    }

    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    /// The parts of a task, or, without one, the tasks that are parts of nothing.
    pub fn parts<'a, 'of>(
        &'a self,
        of: Option<&'of str>,
    ) -> impl Iterator<Item = &'a Task> + use<'a, 'of> {
        self.tasks.values().filter(move |task| task.planned.parent.as_deref() == of)
    }

    fn has_parts(&self, id: &str) -> bool {
        self.parts(Some(id)).next().is_some()
    }

    /// How a task stands: one with parts as they do.
    #[must_use]
    pub fn status(&self, id: &str) -> Option<Status> {
        let task = self.tasks.get(id)?;
        let leaves = self.leaves(id);
        if leaves.is_empty() {
            return Some(task.status);
        }
        let any = |status| leaves.iter().any(|leaf| leaf.status == status);
        Some(if any(Status::Escalated) {
            Status::Escalated
        } else if any(Status::Failed) {
            Status::Failed
        } else if leaves.iter().all(|leaf| leaf.status == Status::Completed) {
            Status::Completed
        } else if any(Status::InProgress) || any(Status::Completed) {
            Status::InProgress
        } else {
            Status::Pending
        })
    }

    /// Of a hundred; of a task with parts theirs, weighed by effort.
    #[must_use]
    pub fn progress(&self, id: &str) -> Option<u8> {
        let task = self.tasks.get(id)?;
        let leaves = self.leaves(id);
        Some(if leaves.is_empty() { task.progress } else { weighed(&leaves) })
    }

    /// The tasks without parts that a task consists of; none when it is one itself.
    fn leaves(&self, id: &str) -> Vec<&Task> {
        let mut open: Vec<&Task> = self.parts(Some(id)).collect();
        let mut leaves = Vec::new();
        while let Some(task) = open.pop() {
            let before = open.len();
            open.extend(self.parts(Some(&task.planned.id)));
            if open.len() == before {
                leaves.push(task);
            }
        }
        leaves
    }

    /// What `id` still waits for, its parents' needs included.
    #[must_use]
    pub fn waits_for(&self, id: &str) -> Vec<String> {
        let mut waits = BTreeSet::new();
        let mut at = self.tasks.get(id);
        while let Some(task) = at {
            let open = |needs: &&String| self.status(needs) != Some(Status::Completed);
            waits.extend(task.planned.needs.iter().filter(open).cloned());
            at = task.planned.parent.as_ref().and_then(|parent| self.tasks.get(parent));
        }
        waits.into_iter().collect()
    }

    /// What can begin now; what most of the rest hangs on comes first.
    #[must_use]
    pub fn ready(&self) -> Vec<&str> {
        let behind = order::behind(self);
        let mut ready: Vec<&str> = self
            .tasks
            .values()
            .filter(|task| task.status == Status::Pending && !self.has_parts(&task.planned.id))
            .map(|task| task.planned.id.as_str())
            .filter(|id| self.waits_for(id).is_empty())
            .collect();
        ready.sort_by_key(|id| (std::cmp::Reverse(behind.get(*id).copied()), *id));
        ready
    }

    /// Pending tasks that cannot begin before somebody deals with a failed or escalated one.
    #[must_use]
    pub fn blocked(&self) -> Vec<&str> {
        let stands = |id: &String| {
            let status = self.status(id);
            status == Some(Status::Failed) || status == Some(Status::Escalated)
        };
        let mut blocked: BTreeSet<&str> = BTreeSet::new();
        loop {
            let before = blocked.len();
            for task in self.tasks.values().filter(|task| task.status == Status::Pending) {
                let id = task.planned.id.as_str();
                let waits = self.waits_for(id);
                if !self.has_parts(id)
                    && waits.iter().any(|needs| {
                        let parts = self.leaves(needs);
                        stands(needs)
                            || blocked.contains(needs.as_str())
                            || parts.iter().any(|part| blocked.contains(part.planned.id.as_str()))
                    })
                {
                    blocked.insert(id);
                }
            }
            if blocked.len() == before {
                return blocked.into_iter().collect();
            }
        }
    }

    /// The longest chain of what is not completed yet: sooner than this the plan cannot be done.
    #[must_use]
    pub fn critical_path(&self) -> CriticalPath {
        order::critical_path(self)
    }

    pub fn start(&mut self, id: &str) -> Result<(), Refused> {
        let task = self.leaf(id, &[Status::Pending])?;
        let (task, needs) = (task.planned.id.clone(), self.waits_for(id));
        if !needs.is_empty() {
            return Err(Refused::Waits { task, needs });
        }
        self.change(id, |task| {
            task.status = Status::InProgress;
            task.attempts += 1;
            task.note = None;
        })
    }

    /// `percent` never goes back.
    pub fn report(&mut self, id: &str, percent: u8) -> Result<(), Refused> {
        self.leaf(id, &[Status::InProgress])?;
        if percent > 99 {
            return Err(Refused::Progress);
        }
        self.change(id, |task| task.progress = task.progress.max(percent))
    }

    pub fn complete(&mut self, id: &str, note: Option<&str>) -> Result<(), Refused> {
        self.leaf(id, &[Status::InProgress])?;
        self.change(id, |task| {
            task.status = Status::Completed;
            task.progress = 100;
            task.note = note.map(str::to_owned);
        })
    }

    pub fn fail(&mut self, id: &str, reason: &str) -> Result<(), Refused> {
        self.leaf(id, &[Status::InProgress])?;
        self.stop(id, Status::Failed, reason)
    }

    /// Hands a task to somebody who may decide more.
    pub fn escalate(&mut self, id: &str, reason: &str) -> Result<(), Refused> {
        self.leaf(id, &[Status::Pending, Status::InProgress, Status::Failed])?;
        self.stop(id, Status::Escalated, reason)
    }

    /// Makes a failed or escalated task pending again, from the beginning.
    pub fn retry(&mut self, id: &str) -> Result<(), Refused> {
        self.leaf(id, &[Status::Failed, Status::Escalated])?;
        self.change(id, |task| {
            task.status = Status::Pending;
            task.progress = 0;
            task.note = None;
        })
    }

    fn stop(&mut self, id: &str, status: Status, reason: &str) -> Result<(), Refused> {
        self.change(id, |task| {
            task.status = status;
            task.note = Some(reason.to_owned());
        })
    }

    fn leaf(&self, id: &str, allowed: &[Status]) -> Result<&Task, Refused> {
        let task = self.tasks.get(id).ok_or_else(|| Refused::Unknown(id.to_owned()))?;
        if self.has_parts(id) {
            return Err(Refused::HasParts(id.to_owned()));
        }
        match allowed.contains(&task.status) {
            true => Ok(task),
            false => Err(Refused::Status { task: id.to_owned(), status: task.status }),
        }
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Task)) -> Result<(), Refused> {
        let task = self.tasks.get_mut(id).ok_or_else(|| Refused::Unknown(id.to_owned()))?;
        change(task);
        Ok(())
    }

    #[must_use]
    pub fn summary(&self) -> Summary {
        let leaves: Vec<&Task> =
            self.tasks.values().filter(|task| !self.has_parts(&task.planned.id)).collect();
        let count = |status| leaves.iter().filter(|task| task.status == status).count();
        let (in_progress, completed) = (count(Status::InProgress), count(Status::Completed));
        let open = completed < leaves.len();
        Summary {
            pending: count(Status::Pending),
            in_progress,
            completed,
            failed: count(Status::Failed),
            escalated: count(Status::Escalated),
            progress: weighed(&leaves),
            stuck: open && in_progress == 0 && self.ready().is_empty(),
        }
    }
}

fn weighed(leaves: &[&Task]) -> u8 {
    let whole: u64 = leaves.iter().map(|task| u64::from(task.planned.effort)).sum();
    let done = leaves.iter().map(|task| u64::from(task.planned.effort) * u64::from(task.progress));
    match (done.sum::<u64>().checked_div(whole), leaves.iter().all(|task| task.progress == 100)) {
        (_, true) => 100,
        (percent, false) => u8::try_from(percent.unwrap_or(0)).unwrap_or(99).min(99),
    }
}

#[cfg(test)]
mod tests;
