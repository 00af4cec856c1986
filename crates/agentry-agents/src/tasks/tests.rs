use super::*;

fn plan(tasks: Vec<NewTask>) -> Plan {
    Plan::new(tasks).unwrap()
}

/// `ship` has the parts `write` and `check`, which needs `write`; `announce` needs all of `ship`.
fn release() -> Plan {
    plan(vec![
        NewTask::new("ship", 1),
        NewTask::new("write", 5).part_of("ship"),
        NewTask::new("check", 2).part_of("ship").needs(["write"]),
        NewTask::new("logo", 3),
        NewTask::new("announce", 1).needs(["ship", "logo"]),
    ])
}

fn finish(plan: &mut Plan, id: &str) {
    plan.start(id).unwrap();
    plan.complete(id, None).unwrap();
}

#[test]
fn what_does_not_fit_is_found_at_once() {
    let check = |tasks: Vec<NewTask>, expected: &[&str]| {
        let problems = Plan::new(tasks).unwrap_err();
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, expected);
    };
    let task = |id: &str| NewTask::new(id, 1);
    check(
        vec![task("a").needs(["x"]), task("a").needs(["x"]), task("b").part_of("y")],
        &[
            "two tasks are called `a`",
            "`a` needs `x`, which does not exist",
            "`b` is a part of `y`, which does not exist",
        ],
    );
    check(vec![task("a").needs(["a"])], &["these wait for each other: a → a"]);
    check(
        vec![
            task("a").needs(["c"]),
            task("b").needs(["a"]),
            task("c").needs(["b"]),
            task("d").needs(["a"]),
        ],
        &["these wait for each other: a → b → c → a"],
    );
    check(
        vec![task("whole"), task("part").part_of("whole").needs(["whole"])],
        &["these wait for each other: part → whole → part"],
    );
    check(
        vec![task("a").part_of("b"), task("b").part_of("a")],
        &["these wait for each other: b → a → b"],
    );
}

#[test]
fn tasks_become_ready_as_others_are_completed() {
    let mut plan = release();
    assert_eq!(plan.ready(), ["write", "logo"], "what most hangs on comes first");
    assert_eq!(plan.waits_for("announce"), ["logo", "ship"]);
    let waits = Refused::Waits { task: "check".to_owned(), needs: vec!["write".to_owned()] };
    assert_eq!(plan.start("check"), Err(waits));
    assert_eq!(plan.start("ship"), Err(Refused::HasParts("ship".to_owned())));
    finish(&mut plan, "write");
    assert_eq!((plan.status("ship"), plan.progress("ship")), (Some(Status::InProgress), Some(71)));
    assert_eq!(plan.ready(), ["logo", "check"]);
    finish(&mut plan, "logo");
    finish(&mut plan, "check");
    assert_eq!(plan.status("ship"), Some(Status::Completed));
    finish(&mut plan, "announce");
    let summary = plan.summary();
    assert_eq!((summary.completed, summary.progress, summary.stuck), (4, 100, false));
    assert_eq!(plan.critical_path(), CriticalPath::default());
}

#[test]
fn the_critical_path_shrinks_with_the_work() {
    let mut plan = release();
    let path = |plan: &Plan| {
        let CriticalPath { tasks, effort } = plan.critical_path();
        (tasks.join(" "), effort)
    };
    assert_eq!(path(&plan), ("write check announce".to_owned(), 8));
    plan.start("write").unwrap();
    plan.report("write", 80).unwrap();
    plan.report("write", 50).unwrap();
    assert_eq!(plan.progress("write"), Some(80), "it never goes back");
    assert_eq!(path(&plan), ("logo announce".to_owned(), 4), "one of five is left to write");
}

#[test]
fn a_failure_blocks_what_needs_it_until_it_is_retried() {
    let mut plan = release();
    plan.start("write").unwrap();
    plan.fail("write", "no idea").unwrap();
    finish(&mut plan, "logo");
    assert_eq!(plan.blocked(), ["announce", "check"]);
    assert_eq!(plan.status("ship"), Some(Status::Failed));
    assert!(plan.summary().stuck);
    plan.escalate("write", "needs an author").unwrap();
    assert_eq!(plan.status("ship"), Some(Status::Escalated));
    let refused = Refused::Status { task: "write".to_owned(), status: Status::Escalated };
    assert_eq!(plan.start("write"), Err(refused));
    plan.retry("write").unwrap();
    assert!(plan.blocked().is_empty() && !plan.summary().stuck);
    finish(&mut plan, "write");
    assert_eq!(plan.tasks().find(|task| task.planned.id == "write").unwrap().attempts, 2);
}

#[test]
fn a_plan_survives_being_stored() {
    let mut plan = release();
    plan.start("write").unwrap();
    let stored = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
    let circle = stored.replace(r#""id":"write""#, r#""id":"write","needs":["check"]"#);
    let error = serde_json::from_str::<Plan>(&circle).unwrap_err().to_string();
    assert!(error.contains("wait for each other"), "{error}");
}
