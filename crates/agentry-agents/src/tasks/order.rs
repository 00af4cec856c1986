//! What comes before what. Each task is two moments, its begin and its end; parts lie between those of their whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Plan, Status};

/// The longest chain of tasks that are not completed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CriticalPath {
    /// Tasks without parts, in their order.
    pub tasks: Vec<String>,
    /// What is left of their effort, together.
    pub effort: u64,
}

/// Moments by number: twice a task's place in the plan is its begin, one more its end.
struct Moments<'a> {
    names: Vec<&'a str>,
    /// What follows directly.
    after: Vec<Vec<usize>>,
    /// How long it takes from a task's begin to its end.
    effort: Vec<u64>,
}

impl<'a> Moments<'a> {
    fn of(plan: &'a Plan) -> Self {
        let names: Vec<&str> = plan.tasks.keys().map(String::as_str).collect();
        let numbers: BTreeMap<&str, usize> =
            names.iter().enumerate().map(|(number, name)| (*name, number)).collect();
        let mut after = vec![Vec::new(); names.len() * 2];
        let mut effort = vec![0; names.len()];
        let mut follow =
            |from: usize, to: usize| after.get_mut(from).map(|all: &mut Vec<_>| all.push(to));
        for (number, task) in plan.tasks.values().enumerate() {
            follow(number * 2, number * 2 + 1);
            for needs in task.planned.needs.iter().filter_map(|needs| numbers.get(needs.as_str())) {
                follow(needs * 2 + 1, number * 2);
            }
            let parent = task.planned.parent.as_deref().and_then(|parent| numbers.get(parent));
            if let Some(parent) = parent {
                follow(parent * 2, number * 2);
                follow(number * 2 + 1, parent * 2 + 1);
            }
            let left = u64::from(task.planned.effort) * u64::from(100 - task.progress.min(100));
            let counts = task.status != Status::Completed && !plan.has_parts(&task.planned.id);
            if let Some(effort) = effort.get_mut(number) {
                *effort = if counts { left.div_ceil(100) } else { 0 };
            }
        }
        Self { names, after, effort }
    }

    /// All moments, each behind what it follows; those that wait for each other are left out.
    fn sorted(&self) -> Vec<usize> {
        let mut waits = vec![0_usize; self.after.len()];
        for next in self.after.iter().flatten() {
            if let Some(count) = waits.get_mut(*next) {
                *count += 1;
            }
        }
        let free = |waits: &[usize]| -> Vec<usize> {
            (0..waits.len()).filter(|at| waits.get(*at) == Some(&0)).collect()
        };
        let mut open = free(&waits);
        let mut sorted = Vec::with_capacity(self.after.len());
        while let Some(moment) = open.pop() {
            sorted.push(moment);
            for next in self.after.get(moment).into_iter().flatten() {
                if let Some(count) = waits.get_mut(*next) {
                    *count -= 1;
                    if *count == 0 {
                        open.push(*next);
                    }
                }
            }
        }
        sorted
    }

    fn name(&self, moment: usize) -> &'a str {
        self.names.get(moment / 2).copied().unwrap_or_default()
    }

    /// From each moment to the end of everything: how much effort, and which way.
    fn longest(&self) -> Vec<(u64, Option<usize>)> {
        let mut longest = vec![(0, None); self.after.len()];
        for moment in self.sorted().into_iter().rev() {
            let best = self.after.get(moment).into_iter().flatten().map(|next| {
                let rest = longest.get(*next).map_or(0, |(rest, _)| *rest);
                let own = match (moment % 2, *next == moment + 1) {
                    (0, true) => self.effort.get(moment / 2).copied().unwrap_or(0),
                    _ => 0,
                };
                (rest + own, std::cmp::Reverse(*next))
            });
            if let (Some((rest, next)), Some(place)) = (best.max(), longest.get_mut(moment)) {
                *place = (rest, Some(next.0));
            }
        }
        longest
    }
}

/// Tasks that wait for each other, the first one again at the end.
pub(super) fn circle(plan: &Plan) -> Option<Vec<String>> {
    let moments = Moments::of(plan);
    let mut waiting = vec![true; moments.after.len()];
    for moment in moments.sorted() {
        if let Some(waiting) = waiting.get_mut(moment) {
            *waiting = false;
        }
    }
    let waits = |moment: &usize| waiting.get(*moment).copied().unwrap_or(false);
    // What only hangs on a circle has nothing in it behind; whoever goes back from there comes into one.
    let before = |moment: usize| {
        let mut all = 0..moments.after.len();
        all.find(|from| {
            waits(from) && moments.after.get(*from).is_some_and(|to| to.contains(&moment))
        })
    };
    let mut way = vec![(0..moments.after.len()).find(waits)?];
    loop {
        let next = before(*way.last()?)?;
        if let Some(start) = way.iter().position(|seen| *seen == next) {
            let mut names: Vec<String> = way
                .iter()
                .skip(start)
                .rev()
                .map(|moment| moments.name(*moment).to_owned())
                .collect();
            names.dedup();
            let first = names.first().cloned();
            if names.len() == 1 || names.last() != first.as_ref() {
                names.extend(first);
            }
            return Some(names);
        }
        way.push(next);
    }
}

/// For each task: the effort from its begin to the end of everything.
pub(super) fn behind(plan: &Plan) -> BTreeMap<&str, u64> {
    let moments = Moments::of(plan);
    let longest = moments.longest();
    let behind =
        moments.names.iter().enumerate().map(|(number, name)| {
            (*name, longest.get(number * 2).map_or(0, |(effort, _)| *effort))
        });
    behind.collect()
}

pub(super) fn critical_path(plan: &Plan) -> CriticalPath {
    let moments = Moments::of(plan);
    let longest = moments.longest();
    let starts =
        longest.iter().enumerate().map(|(at, (effort, _))| (*effort, std::cmp::Reverse(at)));
    let Some((effort, std::cmp::Reverse(start))) = starts.max() else {
        return CriticalPath::default();
    };
    let (mut tasks, mut at) = (Vec::new(), start);
    while let Some(next) = longest.get(at).and_then(|(_, next)| *next) {
        let counts = moments.effort.get(at / 2).is_some_and(|effort| *effort > 0);
        if at % 2 == 0 && next == at + 1 && counts {
            tasks.push(moments.name(at).to_owned());
        }
        at = next;
    }
    CriticalPath { tasks, effort }
}
