//! What came of a play, in words that do not depend on ids, on moments, or on which of several tasks ended first.

use std::collections::{BTreeMap, BTreeSet};

use agentry_core::ThreadId;
use agentry_core::run::Fence;
use agentry_core::thread::{EventId, Run, Told};
use agentry_core::threads::{At, From, Threads};
use agentry_engine::Program;
use agentry_engine::durable::Handle;
use agentry_engine::machine::Home;
use agentry_engine::machine::view::{Moment, history};
use serde_json::{Value, json};

const MANY: usize = 100_000;

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) runs: Vec<String>,
    pub(crate) state: Vec<String>,
    pub(crate) history: Vec<String>,
    pub(crate) events: Vec<String>,
    /// How often a task was started again without having come to anything: when its worker had died.
    pub(crate) repeated: usize,
}

impl Outcome {
    pub(crate) async fn of(
        (archive, handle): (&dyn Threads, &Handle),
        program: &Program,
        thread: ThreadId,
        runs: &[(String, Option<Run>)],
    ) -> Self {
        let told = archive.events(thread, None, EventId::default(), MANY).await.unwrap();
        let names = Names::of(&told);
        let (told, repeated) = once(told);
        let found = archive.thread(thread).await.unwrap().unwrap();
        let view = handle.state(thread, "", At::Head).await.unwrap();
        let line = archive.line(thread, At::Head, From::Root).await.unwrap().unwrap();
        let home = Home { thread, fence: Fence(0), head: found.seq };
        let spaces = line.entries.iter().flat_map(|entry| &entry.checkpoints);
        let spaces: BTreeSet<&str> = spaces.map(|checkpoint| &*checkpoint.ns).collect();
        let mut past = Vec::new();
        for ns in spaces {
            let moments = history(program, home, &line.entries, ns).unwrap();
            past.extend(moments.iter().map(|moment| names.without_ids(&checkpoint(ns, moment))));
        }
        // In a namespace one follows the other; between two of them nothing is said.
        past.sort_by(|left, right| space(left).cmp(space(right)));
        let runs = runs.iter().map(|(submitted, run)| {
            let run = run.as_ref().map(|run| json!([run.status, run.reason]));
            names.without_ids(&json!([submitted, run]))
        });
        let state = json!({ "status": found.status, "program": found.program, "view": view });
        Self {
            runs: runs.collect(),
            state: vec![names.without_ids(&state)],
            history: past,
            events: in_order(&told, &names),
            repeated,
        }
    }
}

fn checkpoint(ns: &str, moment: &Moment) -> Value {
    let Moment { checkpoint, view, .. } = moment;
    json!([
        ns,
        checkpoint.step,
        checkpoint.source,
        checkpoint.parent.is_some(),
        checkpoint.metadata,
        view
    ])
}

/// The first member of what [`checkpoint`] says.
fn space(line: &str) -> &str {
    line.split(',').next().unwrap_or_default()
}

/// What tasks are called whose ids depend on when they came to be: by their step and their place in it.
struct Names(BTreeMap<String, String>);

impl Names {
    fn of(told: &[Told]) -> Self {
        let started = told.iter().filter(|told| told.event.kind == "task.started");
        let named = started.map(|told| {
            let detail = &told.event.detail;
            let id = detail["id"].as_str().unwrap_or_default().to_owned();
            (id, format!("<{}.{}>", detail["step"], detail["slot"]))
        });
        Self(named.collect())
    }

    fn without_ids(&self, value: &Value) -> String {
        let text = value.to_string();
        let of_id = |c: char| c.is_ascii_hexdigit() || c == '-';
        let mut plain = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(begins) = rest.find(of_id) {
            let (before, from) = rest.split_at(begins);
            let (word, after) = from.split_at(from.find(|c| !of_id(c)).unwrap_or(from.len()));
            plain.push_str(before);
            let known = self.0.get(word).map(String::as_str);
            plain.push_str(known.unwrap_or(if word.len() < 32 { word } else { "ID" }));
            rest = after;
        }
        plain + rest
    }
}

/// Without the starts of tasks that a later worker had to start again; and how many those were.
fn once(told: Vec<Told>) -> (Vec<Told>, usize) {
    let (mut begun, mut kept, mut repeated) = (BTreeSet::new(), Vec::new(), 0);
    for one in told {
        let detail = &one.event.detail;
        let task = json!([detail["ns"], detail["step"], detail["slot"]]).to_string();
        match one.event.kind.as_str() {
            "task.started" if !begun.insert(task.clone()) => {
                repeated += 1;
                continue;
            }
            "task.started" => {}
            // It starts again what waited in the run before.
            "run.started" => begun.clear(),
            _ => drop(begun.remove(&task)),
        }
        kept.push(one);
    }
    (kept, repeated)
}

/// By namespace. Within one, what is said of tasks that run side by side is in the order of the tasks, and what is said of
/// one task, and of the graph, in the order in which it was said.
fn in_order(told: &[Told], names: &Names) -> Vec<String> {
    let mut spaces: BTreeMap<String, Vec<(usize, u64, String)>> = BTreeMap::new();
    let mut turns: BTreeMap<String, usize> = BTreeMap::new();
    for Told { event, .. } in told {
        let mut detail = event.detail.clone();
        // How the entry came to be that holds it, and in which namespace.
        for key in ["at", "ns"] {
            detail.as_object_mut().unwrap().remove(key);
        }
        let ns = names.without_ids(&event.detail["ns"]);
        let turn = turns.entry(ns.clone()).or_default();
        let slot = detail.get("slot").and_then(Value::as_u64);
        if slot.is_none() {
            *turn += 1;
        }
        let line = names.without_ids(&json!([ns, event.kind, detail]));
        spaces.entry(ns).or_default().push((*turn, slot.map_or(0, |slot| slot + 1), line));
    }
    let ordered = spaces.into_values().flat_map(|mut told| {
        told.sort_by_key(|(turn, slot, _)| (*turn, *slot));
        told.into_iter().map(|(_, _, line)| line)
    });
    ordered.collect()
}
