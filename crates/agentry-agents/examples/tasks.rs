//! Works off a plan with two hands: whatever is ready and most hangs on comes first, and what fails is tried once more.

use std::collections::VecDeque;
use std::io::Write as _;

use agentry_agents::tasks::{NewTask, Plan};

const HANDS: usize = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tasks = vec![
        NewTask::new("release", 1),
        NewTask::new("write", 5).part_of("release"),
        NewTask::new("check", 2).part_of("release").needs(["write"]),
        NewTask::new("logo", 3),
        NewTask::new("announce", 1).needs(["release", "logo"]),
    ];
    let mut plan = Plan::new(tasks).map_err(|problems| format!("{problems:?}"))?;
    let mut out = std::io::stdout().lock();
    let path = plan.critical_path();
    writeln!(out, "at least {} units: {}", path.effort, path.tasks.join(" → "))?;
    let mut working: VecDeque<String> = VecDeque::new();
    let mut failed_once = false;
    loop {
        let free: Vec<String> = plan.ready().into_iter().map(str::to_owned).collect();
        for id in free.into_iter().take(HANDS - working.len()) {
            plan.start(&id)?;
            working.push_back(id);
        }
        let Some(id) = working.pop_front() else { break };
        if id == "check" && !failed_once {
            failed_once = true;
            plan.fail(&id, "a test failed")?;
            writeln!(out, "{id} failed; waiting for it: {}", plan.blocked().join(", "))?;
            plan.retry(&id)?;
            continue;
        }
        plan.complete(&id, None)?;
        let summary = plan.summary();
        writeln!(out, "{id} is done: {} of a hundred", summary.progress)?;
    }
    writeln!(out, "{}", serde_json::to_string(&plan.summary())?)?;
    Ok(())
}
