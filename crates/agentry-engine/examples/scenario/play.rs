//! Plays a scenario's runs and tells what came of them.

use std::sync::{Arc, PoisonError};

use agentry_core::{Clock, Timestamp};
use agentry_engine::cache::InMemory;
use agentry_engine::local::Local;
use agentry_engine::machine::view::history;
use agentry_engine::machine::{Machine, Refused, Rests, Update};
use agentry_engine::stream::Reader;
use agentry_engine::{Command, Goto, Program, Request, Resume};
use serde_json::{Map, Value, json};

use super::build::{Calls, program};
use super::shape;

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is where a program gets its time")]
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let micros = now.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
        Timestamp::from_micros(micros)
    }
}

pub(crate) async fn play(scenario: &Value) -> Result<Value, String> {
    let calls = Calls::default();
    let program = program(scenario, &calls)?;
    let cache = Arc::new(InMemory::new(1_000));
    let mut local = Local::recording(program.clone(), Arc::new(Wall)).cached(cache);
    let mut runs = Vec::new();
    for run in scenario["runs"].as_array().into_iter().flatten() {
        let from = local.log().len();
        let mut told = Map::new();
        let before = enter(&mut local, &program, run)?;
        if run.get("update_state").is_some() {
            let values = run["update_state"].as_object().cloned();
            let as_node = run["as_node"].as_str().map(str::to_owned);
            match local.update(vec![Update { values, as_node }]) {
                Ok(()) => told.insert("updated".to_owned(), true.into()),
                Err(refused) => told.insert("error".to_owned(), refusal(&refused).into()),
            };
        } else {
            let request = request(&local, run)?;
            let error = match local.run(request).await {
                Err(refused) => Some(refusal(&refused)),
                Ok(Rests::Failed(failed)) => Some(shape::error(failed.code)),
                Ok(_) => None,
            };
            match error {
                Some(error) => told.insert("error".to_owned(), error.into()),
                None => {
                    let parts = parts(before, &local, from)?;
                    told.insert("stream".to_owned(), shape::stream(&parts))
                }
            };
        }
        let view = local.machine().view("").ok_or("the thread has no state")?;
        let calls = calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        told.extend(shape::state(&view, &calls));
        runs.push(Value::Object(told));
    }
    let moments = past(&local, &program)?;
    let moments: Vec<_> = moments.iter().map(shape::moment).collect();
    Ok(json!({ "name": scenario["name"], "runs": runs, "history": moments }))
}

/// Goes back where the run says so; answers with a machine that stands where the run begins.
fn enter(local: &mut Local, program: &Program, run: &Value) -> Result<Machine, String> {
    if let Some(index) = run["from_history"].as_u64() {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let past = past(local, program)?;
        let moment = past.get(index).ok_or_else(|| format!("the history has no {index}"))?;
        local.go_back(moment.checkpoint.id).map_err(|problem| problem.to_string())?;
    }
    local.reader().map_err(|problem| problem.to_string())
}

fn past(
    local: &Local,
    program: &Program,
) -> Result<Vec<agentry_engine::machine::view::Moment>, String> {
    let entries: Vec<_> = local.log().iter().map(|logged| logged.entry.clone()).collect();
    let found = history(program, local.machine().home(), &entries, "");
    found.map_err(|problem| problem.to_string())
}

fn parts(
    before: Machine,
    local: &Local,
    from: usize,
) -> Result<Vec<agentry_engine::stream::Part>, String> {
    let mut reader = Reader::new(before);
    let mut parts = Vec::new();
    for logged in local.log().iter().skip(from) {
        let read = reader.read(&logged.entry, &logged.events);
        parts.extend(read.map_err(|problem| problem.to_string())?);
    }
    Ok(parts)
}

fn request(local: &Local, run: &Value) -> Result<Request, String> {
    if let Some(answer) = run.get("resume") {
        return Ok(resume(Resume::One(answer.clone())));
    }
    if let Some(Value::Object(answers)) = run.get("resume_map") {
        // Ids differ between engines, so answers are given by question.
        let view = local.machine().view("").ok_or("the thread has no state")?;
        let id = |question: &str| {
            let asked = view.interrupts();
            let found = asked.iter().find(|asked| asked.value == question);
            found.map_or_else(|| question.to_owned(), |asked| asked.id.clone())
        };
        let each = answers.iter().map(|(question, answer)| (id(question), answer.clone()));
        return Ok(resume(Resume::Each(each.collect())));
    }
    if let Some(command) = run.get("command") {
        let goto = match &command["goto"] {
            Value::String(node) => vec![Goto::node(node)],
            Value::Array(nodes) => nodes.iter().filter_map(Value::as_str).map(Goto::node).collect(),
            _ => Vec::new(),
        };
        let update = command["update"].as_object().cloned().unwrap_or_default();
        return Ok(Request::Command(Command { update, goto, resume: None }));
    }
    Ok(match &run["input"] {
        Value::Object(input) => Request::Input(input.clone()),
        _ => Request::GoOn,
    })
}

fn resume(resume: Resume) -> Request {
    Request::Command(Command { resume: Some(resume), ..Command::default() })
}

fn refusal(refused: &Refused) -> &'static str {
    match refused {
        Refused::Nothing | Refused::Empty => "EmptyInputError",
        Refused::Ambiguous(_) => "RuntimeError",
        Refused::Busy(_)
        | Refused::UnknownNode(_)
        | Refused::UnknownChannel(_)
        | Refused::Unfit(_)
        | Refused::WhichNode
        | Refused::UnfitAnswer { .. } => "InvalidUpdateError",
    }
}
