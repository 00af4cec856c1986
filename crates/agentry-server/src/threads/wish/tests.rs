use serde_json::json;

use super::*;

fn read(body: Value) -> Wish {
    serde_json::from_value(body).unwrap()
}

#[test]
fn what_is_to_be_done_is_input_a_command_or_to_go_on() {
    let check =
        |body: Value, expected: Work| assert_eq!(read(body.clone()).work(), Ok(expected), "{body}");
    let command = |update: Vec<(&str, Value)>, goto: Vec<Goto>, resume: Option<Resume>| {
        let update = update.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Work::Command(Command { update, goto, resume })
    };
    check(json!({}), Work::Continue);
    check(json!({ "input": null, "command": {} }), Work::Continue);
    check(json!({ "input": { "n": 1 } }), Work::Input(json!({ "n": 1 })));
    check(
        json!({ "messages": [{ "role": "user", "content": "hi" }, { "role": "assistant", "content": "yes" }] }),
        Work::Input(json!({ "messages": [
            { "content": "hi", "type": "human" }, { "content": "yes", "type": "ai" },
        ] })),
    );
    check(
        json!({ "command": { "resume": null } }),
        command(vec![], vec![], Some(Resume::One(Value::Null))),
    );
    check(
        json!({ "command": { "resume": "yes" } }),
        command(vec![], vec![], Some(Resume::One(json!("yes")))),
    );
    let named = Map::from_iter([("q1".to_owned(), json!(true))]);
    check(
        json!({ "command": { "resume": { "q1": true } } }),
        command(vec![], vec![], Some(Resume::Named(named))),
    );
    check(
        json!({ "command": { "update": [["a", 1], ["a", 2]], "goto": "next" } }),
        command(vec![("a", json!(1)), ("a", json!(2))], vec![Goto::Node("next".to_owned())], None),
    );
    check(
        json!({ "command": { "update": { "a": 1 }, "goto": [{ "node": "next", "input": { "n": 1 } }, "end"] } }),
        command(
            vec![("a", json!(1))],
            vec![
                Goto::Send { node: "next".to_owned(), input: json!({ "n": 1 }) },
                Goto::Node("end".to_owned()),
            ],
            None,
        ),
    );
}

#[test]
fn what_does_not_fit_names_the_parameter() {
    let check = |body: Value, param: &str| {
        let wish = read(body.clone());
        let all = [
            wish.work().map(|_| ()),
            wish.modes().map(|_| ()),
            wish.from().map(|_| ()),
            wish.steps_max().map(|_| ()),
            wish.multitask().map(|_| ()),
            wish.absent().map(|_| ()),
            wish.disconnected().map(|_| ()),
            wish.completed().map(|_| ()),
            wish.after().map(|_| ()),
            wish.check_durability(),
            wish.breakpoints().map(|_| ()),
        ];
        let problems: Vec<Refusal> = all.into_iter().filter_map(Result::err).collect();
        let params: Vec<_> = problems.iter().map(|problem| problem.told().param).collect();
        assert_eq!(params, [Some(param)], "{body}");
    };
    check(json!({ "command": { "update": 7 } }), "command.update");
    check(json!({ "command": { "update": [["a"]] } }), "command.update");
    check(json!({ "command": { "goto": 7 } }), "command.goto");
    check(json!({ "input": 7, "messages": [] }), "input");
    check(json!({ "stream_mode": "value" }), "stream_mode");
    check(json!({ "stream_mode": ["values", 7] }), "stream_mode");
    check(json!({ "checkpoint_id": "first" }), "checkpoint_id");
    check(json!({ "config": { "recursion_limit": 0 } }), "config.recursion_limit");
    check(json!({ "multitask_strategy": "hope" }), "multitask_strategy");
    check(json!({ "if_not_exists": "cry" }), "if_not_exists");
    check(json!({ "on_disconnect": "wait" }), "on_disconnect");
    check(json!({ "on_completion": "archive" }), "on_completion");
    check(json!({ "after_seconds": -1 }), "after_seconds");
    check(json!({ "after_seconds": 1e12 }), "after_seconds");
    check(json!({ "durability": "maybe" }), "durability");
    check(json!({ "interrupt_before": 7 }), "interrupt_before");
    check(json!({ "interrupt_after": ["a", 7] }), "interrupt_after");
}

#[test]
fn whoever_speaks_the_agent_protocol_gets_its_defaults() {
    let check = |body: Value, expected: (&str, Multitask, Disconnected)| {
        let wish = read(body.clone());
        let read = (wish.assistant(), wish.multitask().unwrap(), wish.disconnected().unwrap());
        assert_eq!(read, expected, "{body}");
    };
    check(json!({}), ("agent", Multitask::Reject, Disconnected::Cancel));
    check(json!({ "agent_id": "a" }), ("a", Multitask::Reject, Disconnected::Cancel));
    check(json!({ "assistant_id": "b" }), ("b", Multitask::Enqueue, Disconnected::Continue));
    check(
        json!({ "assistant_id": "b", "multitask_strategy": "rollback", "on_disconnect": "cancel" }),
        ("b", Multitask::Rollback, Disconnected::Cancel),
    );
}

#[test]
fn a_run_may_go_on_from_any_checkpoint() {
    let id = "0192f000-0000-7000-8000-000000000001";
    let check = |body: Value, expected: Option<(&str, &str)>| {
        let expected = expected
            .map(|(ns, id)| Place { ns: ns.to_owned(), at: At::Checkpoint(id.parse().unwrap()) });
        assert_eq!(read(body.clone()).from(), Ok(expected), "{body}");
    };
    check(json!({}), None);
    check(json!({ "checkpoint": { "checkpoint_ns": "" } }), None);
    check(json!({ "checkpoint_id": id }), Some(("", id)));
    check(
        json!({ "checkpoint": { "checkpoint_id": id, "checkpoint_ns": "child:1", "thread_id": "t" } }),
        Some(("child:1", id)),
    );
    check(json!({ "config": { "configurable": { "checkpoint_id": id } } }), Some(("", id)));
}
