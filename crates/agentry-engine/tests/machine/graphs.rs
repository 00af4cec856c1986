//! Graphs by seed: the same number makes the same graph, and asks the same of it.

use agentry_engine::{Command, Request, Resume};
use serde_json::{Map, Value, json};

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[usize::try_from(self.below(items.len() as u64)).unwrap()]
    }
}

/// A scenario with two to seven nodes, and now and then a graph in a node.
pub(crate) fn scenario(seed: u64) -> Value {
    let mut dice = Dice::new(seed);
    let mut graph = graph(&mut dice, true);
    graph["name"] = format!("seed {seed}").into();
    graph["runs"] = json!([{ "input": { "log": ["in"], "n": dice.below(3) } }]);
    graph
}

/// What is done next to a thread that rests, with these questions open.
pub(crate) fn further(asked: Vec<String>, dice: &mut Dice) -> Request {
    if !asked.is_empty() && dice.chance(85) {
        let each = asked.into_iter().filter(|_| dice.chance(70)).map(|id| (id, "yes".into()));
        let resume = Some(Resume::Each(each.collect()));
        return Request::Command(Command { resume, ..Command::default() });
    }
    match dice.below(3) {
        0 => Request::Input(json!({ "log": ["more"] }).as_object().unwrap().clone()),
        _ => Request::GoOn,
    }
}

fn graph(dice: &mut Dice, outer: bool) -> Value {
    let names: Vec<String> =
        (0..2 + dice.below(6)).map(|number| char::from(b'a' + number as u8).to_string()).collect();
    let mut channels = json!({
        "log": { "reducer": "append" }, "n": { "reducer": "sum" }, "o": { "reducer": "merge" },
    });
    let mut nodes = Map::new();
    let mut edges = vec![json!(["__start__", names[0]])];
    for (place, name) in names.iter().enumerate() {
        channels[format!("k{name}")] = json!({ "reducer": "last" });
        let later = &names[place + 1..];
        nodes.insert(name.clone(), node(dice, name, (later, outer)));
        if place > 0 && dice.chance(30) {
            edges.push(json!(["__start__", name]));
        }
        for to in later {
            if dice.chance(35) {
                edges.push(json!([name, to]));
            }
        }
        let earlier = &names[..place];
        if earlier.len() > 1 && dice.chance(25) {
            edges.push(json!([[dice.pick(earlier), &earlier[0]], name]));
        }
    }
    let mut branches = Vec::new();
    if dice.chance(50) {
        let mut map: Map<String, Value> =
            (0..60).map(|n| (n.to_string(), dice.pick(&names).as_str().into())).collect();
        map.extend((60..900).map(|n| (n.to_string(), "__end__".into())));
        branches.push(json!({ "from": dice.pick(&names), "by": "n", "map": map }));
    }
    let mut graph = json!({
        "name": "inner", "channels": channels, "nodes": nodes, "edges": edges,
        "branches": branches, "recursion_limit": 12,
    });
    if dice.chance(20) {
        graph["interrupt_before"] = json!([dice.pick(&names)]);
    }
    graph
}

fn node(dice: &mut Dice, name: &str, (later, outer): (&[String], bool)) -> Value {
    if outer && dice.chance(12) {
        let mut inner = graph(dice, false);
        inner["checkpointer"] = dice.chance(30).into();
        return json!({ "subgraph": inner });
    }
    let mut values = json!({ "log": [name], "n": 1 + dice.below(3) });
    if dice.chance(30) {
        values["o"] = json!({ dice.pick(&["p", "q"]).to_owned(): name });
    }
    if dice.chance(40) {
        values[format!("k{name}")] = dice.pick(&["$n", "$log", "x"]).to_owned().into();
    }
    let mut ops = vec![json!({ "op": "write", "values": values })];
    for number in 0..if dice.chance(15) { 1 + dice.below(2) } else { 0 } {
        let question = format!("{name}{number}?");
        ops.push(json!({ "op": "interrupt", "value": question, "into": format!("k{name}") }));
    }
    if !later.is_empty() && dice.chance(12) {
        ops.push(json!({ "op": "goto", "to": dice.pick(later) }));
    } else if !later.is_empty() && dice.chance(10) {
        let args: Vec<_> = (0..dice.below(4)).map(|n| json!({ "n": n, "log": [] })).collect();
        ops.push(json!({ "op": "send", "to": dice.pick(later), "args": args }));
    }
    json!({ "do": ops, "defer": dice.chance(12) })
}
