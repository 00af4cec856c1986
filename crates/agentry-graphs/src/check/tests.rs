use std::collections::BTreeMap;

use agentry_core::tool::{Effect, Risks, ToolSpec};
use serde_json::json;

use crate::{Catalogue, File, Graphs};

fn catalogue() -> Catalogue {
    let calculator = ToolSpec {
        name: "calculator".to_owned(),
        description: "does sums".to_owned(),
        parameters: json!({
            "type": "object",
            "properties": { "expression": { "type": "string" }, "digits": { "type": "integer" } },
            "required": ["expression"],
            "additionalProperties": false,
        }),
        effect: Effect::Read,
        risks: Risks::default(),
    };
    Catalogue {
        models: Some(["default", "fast"].map(str::to_owned).into()),
        agents: Some(BTreeMap::from([("researcher".to_owned(), crate::types::Type::Text)])),
        tools: Some(BTreeMap::from([("calculator".to_owned(), calculator)])),
    }
}

fn problems(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<File> = files
        .iter()
        .map(|(name, text)| File { name: (*name).to_owned(), text: (*text).to_owned() })
        .collect();
    let Err(wrong) = Graphs::read(&files, &catalogue()) else { return Vec::new() };
    let shown = wrong.iter().flat_map(|problems| {
        problems.shown().into_iter().map(|one| serde_json::to_value(one).unwrap())
    });
    let shown = shown.map(|one| {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let at = format!("{}:{}", one["line"], one["column"]);
        format!(
            "{at} {}{}",
            text("message"),
            match text("help") {
                help if help.is_empty() => help,
                help => format!(" ({help})"),
            }
        )
    });
    shown.collect()
}

/// Checks the problems of one graph, as `line:column message (help)`.
fn check(text: &str, expected: &[&str]) {
    assert_eq!(problems(&[("graph.toml", text.trim_start())]), expected, "{text}");
}

#[test]
fn a_good_graph_has_no_problems() {
    check(GOOD, &[]);
}

const GOOD: &str = r#"
name = "review"
start = "write"
output = "draft"
[input]
topic = "string"
[state]
draft = "last"
notes = { reducer = "append", type = "string", default = [] }
rounds = "sum"
[nodes.write]
kind = "prompt"
system = "You write."
prompt = """
Write about {{ input.topic }}.
{% for note in notes %}- {{ note }}
{% endfor %}"""
into = "draft"
retry = { attempts = 3, backoff = "1s" }
[nodes.count]
kind = "set"
values = { rounds = "1" }
[nodes.approve]
kind = "human"
question = "Publish this?"
show = ["draft"]
options = ["approve", "modify", "reject"]
deadline = "1h"
on_timeout = "reject"
[nodes.note]
kind = "set"
values = { notes = "string(answer.reason)" }
[[edges]]
from = "write"
to = "count"
[[edges]]
from = "count"
to = "approve"
[[edges]]
from = "approve"
to = "note"
when = "answer.decision == 'modify' && rounds < 3.0"
[[edges]]
from = "note"
to = "write"
"#;

#[test]
fn names_that_nothing_has_are_found() {
    check(
        r#"
[nodes.write]
kind = "promt"
[nodes.think]
kind = "prompt"
model = "fats"
prompt = "About {{ topik }} and {{ nothing_like_it }}."
into = "dratf"
[nodes.sum]
kind = "tool"
tool = "calculatr"
[nodes.find]
kind = "agent"
agent = "nobody"
input = "${draft.x} ${topix}"
[nodes.inner]
kind = "graph"
graph = "unheard"
on_error = { goto = "nowhere" }
[state]
topic = "lats"
draft = { type = "strin" }
[[edges]]
from = "thnik"
to = "sum"
when = "draff == 1"
"#,
        &[
            "2:8 `nodes.write.kind` is \"promt\", which is no kind of node (did you mean `prompt`?)",
            "5:9 there is no model `fats` (did you mean `fast`?)",
            "6:20 there is no `topik` in the state (declare it under [state]; there are draft, errors, input)",
            "6:36 there is no `nothing_like_it` in the state (declare it under [state]; there are draft, errors, input)",
            "7:8 there is no `dratf` in the state (did you mean `draft`?)",
            "10:8 there is no tool `calculatr` (did you mean `calculator`?)",
            "13:9 there is no agent `nobody` (there are researcher)",
            "14:23 there is no `topix` in the state (declare it under [state]; there are draft, errors, input)",
            "17:9 there is no graph `unheard` (there are graph)",
            "18:21 there is no node `nowhere` (there are find, inner, sum, think, write)",
            "20:9 `state.topic` is \"lats\", which is no reducer (did you mean `last`?)",
            "21:18 `state.draft.type` is \"strin\", which is no type (did you mean `string`?)",
            "23:8 there is no node `thnik` (did you mean `think`?)",
            "25:9 there is no `draff` in the state (did you mean `draft`?)",
        ],
    );
}

#[test]
fn types_that_cannot_fit_are_found() {
    check(
        r#"
[state]
count = { reducer = "sum", type = "string" }
total = "sum"
text = { type = "string" }
seen = { reducer = "append", type = "integer" }
flag = { type = "boolean", default = 3 }
[nodes.a]
kind = "prompt"
prompt = "x"
into = "total"
[nodes.b]
kind = "set"
values = { text = "1 + 2", seen = "'x'", total = "size(text)" }
[nodes.c]
kind = "map"
over = "text"
into = "seen"
node = { kind = "prompt", prompt = "{{ item }} {{ index }} {{ itme }}" }
[nodes.d]
kind = "tool"
tool = "calculator"
arguments = { expression = "${seen}", digit = 3 }
[[edges]]
from = "a"
to = "b"
when = "text"
[[edges]]
from = "b"
to = ["c", "d"]
when = "text > 3 && missing(text)"
"#,
        &[
            "2:35 `sum` is for a number, not for a string (choose another reducer or type)",
            "6:38 the default is an integer, not a boolean",
            "10:8 `total` takes a number, and this is a string",
            "13:19 `text` takes a string, and this is an integer",
            "13:35 `seen` takes an integer, and this is a string",
            "16:8 a map goes over a list, not a string",
            "17:8 `seen` takes an integer, and this is a string",
            "18:63 there is no `itme` in the state (did you mean `item`?)",
            "22:13 the tool `calculator` has no `digit` (did you mean `digits`?)",
            "22:13 `expression` is a list of which each item is an integer, but the tool takes a string",
            "26:8 a condition is true or false, and this is a string",
            "30:14 a string and an integer have no order",
            "30:28 there is no function `missing`; there are size, contains, startsWith, endsWith, matches, int, uint, double, string, bool, dyn, type, charAt, indexOf, lastIndexOf, lowerAscii, upperAscii, substring, trim, split, join, reverse",
        ],
    );
}

#[test]
fn ways_that_lead_nowhere_are_found() {
    let node = |name: &str| format!("[nodes.{name}]\nkind = \"set\"\nvalues = {{}}\n");
    let nodes = |names: &[&str]| names.iter().map(|name| node(name)).collect::<String>();
    let edge =
        |from: &str, to: &str, more: &str| format!("[[edges]]\nfrom = {from}\nto = {to}\n{more}\n");
    check(
        &(nodes(&["a", "b", "c"]) + &edge("\"a\"", "\"b\"", "")),
        &[
            "1:8 no edge leads to `a`, nor to `c` (say where a run begins, as in start = \"NODE\" or start = [\"ONE\", \"OTHER\"])",
            "7:8 no edge leads to `c`, nor to `a` (say where a run begins, as in start = \"NODE\" or start = [\"ONE\", \"OTHER\"])",
        ],
    );
    check(
        &("start = \"a\"\n".to_owned() + &nodes(&["a", "b", "c"]) + &edge("\"a\"", "\"b\"", "")),
        &["8:8 no way leads to `c` (let an edge lead there, or name it in `start`)"],
    );
    check(
        &(nodes(&["a", "b", "c"])
            + &edge("\"a\"", "\"b\"", "")
            + &edge("\"b\"", "\"c\"", "")
            + &edge("\"c\"", "\"b\"", "")),
        &[
            "1:8 `a` never comes to an end (give one edge of the circle a condition, or lead to END)",
            "4:8 `b` never comes to an end (give one edge of the circle a condition, or lead to END)",
            "7:8 `c` never comes to an end (give one edge of the circle a condition, or lead to END)",
        ],
    );
    check(
        &(nodes(&["a", "b", "c"])
            + &edge("\"a\"", "\"b\"", "when = \"true\"")
            + &edge("\"a\"", "\"c\"", "")
            + &edge("\"b\"", "\"c\"", "otherwise = true")
            + &edge("[\"b\", \"c\"]", "\"START\"", "when = \"true\"")),
        &[
            "14:1 other edges of `a` have conditions; and this one? (say `otherwise = true` if it is for when none of them holds)",
            "18:1 no other edge of `b` has a condition (remove `otherwise`, or give another edge a `when`)",
            "22:1 an edge that waits for several nodes has no condition (let it lead to a `set` node whose edges have the conditions)",
            "24:6 no edge may be here: `START`",
        ],
    );
    check("name = \"empty\"", &["1:8 this graph has no nodes (add one under [nodes.NAME])"]);
}

#[test]
fn what_is_written_wrongly_is_pointed_at() {
    check(
        r#"
[nodes.a]
kind = "prompt"
prompt = "{{ x "
into = "b"
colour = "red"
[nodes.b-1]
kind = "human"
question = "{% if %}"
deadline = "1h"
[nodes.c]
kind = "human"
question = "ok?"
on_timeout = "no"
escalate = [{ to = "lead", in = "1h" }]
[nodes.d]
kind = "set"
values = { b = "1 +" }
[nodes.e]
kind = "human"
question = "ok?"
options = ["yes", "no"]
deadline = "5m"
on_timeout = "yse"
[nodes."bad name"]
kind = "set"
values = {}
[state]
b = "last"
in = "last"
[[edges]]
from = "a"
"#,
        &[
            "3:14 unexpected end of input, expected end of variable block",
            "5:1 unknown key `colour` in `nodes.a` (there are kind, into, model, system, prompt, temperature, tokens_max, schema, timeout, retry, cache, required, on_error)",
            "8:19 unexpected end of block",
            "9:12 the deadline passes, and then? `on_timeout` is missing (add the answer that counts then, as in on_timeout = \"reject\")",
            "10:8 `escalate` never happens: `deadline` is missing (add a deadline, as in deadline = \"1h\")",
            "13:14 `on_timeout` never counts: `deadline` is missing (add a deadline, as in deadline = \"1h\")",
            "14:13 `nodes.c.escalate[0]` needs `within` (add within = \"1h\")",
            "14:28 unknown key `in` in `nodes.c.escalate[0]` (there are to, within)",
            "17:19 the expression ends too soon",
            "23:14 `yse` is none of the options (there are yes, no)",
            "24:8 `bad name` cannot name a node (letters, digits, `_` and `-`, at most 64, the first one a letter)",
            "29:1 `in` means something else already (choose another name)",
            "30:1 this edge needs `to`",
        ],
    );
}

#[test]
fn secrets_in_the_clear_are_found_and_not_shown() {
    let text = r#"
[nodes.a]
kind = "http"
url = "https://me:hunter2@example.com/x?token=abc"
method = "POST"
headers = { Authorization = "Bearer abcdef", x-other = "ghp_0123456789abcdef0123" }
body = { ok = "${input.value}", key = "sk-0123456789abcdef0123" }
[nodes.b]
kind = "http"
url = "https://example.com/x?token=${input.token}"
headers = { authorization = { secret = "env:TOKEN", prefix = "Bearer " } }
[nodes.c]
kind = "http"
url = "https://example.com"
headers = { authorization = { secret = "hunter3" } }
"#;
    let chain = "chain = [\"a\", \"b\", \"c\"]\n";
    let text = chain.to_owned() + text.trim_start();
    let help =
        "(give it as a header: authorization = { secret = \"env:NAME\", prefix = \"Bearer \" })";
    check(
        &text,
        &[
            &format!("4:7 the address has a secret in it {help}"),
            &format!("6:29 the header `Authorization` holds a secret {help}"),
            &format!("6:56 this looks like a token {help}"),
            &format!("7:39 this looks like a token {help}"),
            "15:40 `nodes.c.headers.authorization.secret` holds a secret, which does not belong into the configuration (put it into a variable or a file, and write \"env:NAME\" or \"file:PATH\")",
        ],
    );
    let files = [File { name: "graph.toml".to_owned(), text }];
    let shown = Graphs::read(&files, &catalogue()).unwrap_err().first().unwrap().to_string();
    for secret in ["hunter2", "abcdef", "ghp_0", "sk-0", "hunter3"] {
        assert!(!shown.contains(secret), "{secret} is shown:\n{shown}");
    }
}

#[test]
fn graphs_are_held_against_each_other() {
    let outer = r#"
name = "outer"
[state]
text = { type = "string" }
[nodes.a]
kind = "graph"
graph = "inner"
input = { topic = 3, colour = "red" }
into = "text"
"#;
    let inner = r#"{
  "name": "inner",
  "input": { "topic": "string", "length": { "type": "integer" } },
  "state": { "count": "sum" },
  "output": "count",
  "nodes": { "again": { "kind": "graph", "graph": "middle" } }
}"#;
    let middle = r#"
[nodes.a]
kind = "map"
over = "[1]"
into = "all"
node = { kind = "graph", graph = "inner" }
[state]
all = "last"
"#;
    let files = [
        ("outer.toml", outer.trim_start()),
        ("inner.json", inner),
        ("middle.toml", middle.trim_start()),
    ];
    let expected = [
        "7:9 `topic` is an integer, but the graph takes a string",
        "7:9 the graph `inner` needs `length` (add length = ... to its input)",
        "7:9 the graph `inner` takes no `colour` (there are length, topic)",
        "8:8 `text` takes a string, and this is a number",
        "6:51 this graph runs inside of itself: inner → middle → inner (graphs are not recursive: loop with an edge instead)",
        "5:34 this graph runs inside of itself: middle → inner → middle (graphs are not recursive: loop with an edge instead)",
        "5:34 the graph `inner` needs `topic` (add topic = ... to its input)",
    ];
    let found = problems(&files);
    let mut sorted: Vec<&str> = found.iter().map(String::as_str).collect();
    let mut expected = expected.to_vec();
    expected.push("5:34 the graph `inner` needs `length` (add length = ... to its input)");
    sorted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sorted, expected);
    let twice = [("a.toml", GOOD.trim_start()), ("b.toml", GOOD.trim_start())];
    assert_eq!(
        problems(&twice),
        ["1:8 another file has a graph `review` too (give it another name)"]
    );
}

#[test]
fn fields_that_are_not_there_are_found_in_templates_too() {
    let graph = |prompt: &str| {
        format!(
            "[input]\ntopic = \"string\"\n[state]\nx = \"last\"\n[nodes.a]\nkind = \"prompt\"\nprompt = \"{prompt}\"\ninto = \"x\"\n"
        )
    };
    check(&graph("{{ input.topic }} {{ x.any.thing }}"), &[]);
    check(
        &graph("{{ input.topci }}"),
        &["7:14 `input.topci`: there is no `topci` (did you mean `topic`?)"],
    );
    check(
        &graph("{% if input.length %}{% endif %}"),
        &["7:17 `input.length`: there is no `length` (there are topic)"],
    );
    check(&graph("{{ input.topic.title }}"), &["7:14 `input.topic.title` leads into a string"]);
}

#[test]
fn what_an_agent_comes_to_must_fit() {
    check(
        r#"
[state]
count = { type = "integer" }
[nodes.a]
kind = "agent"
agent = "researcher"
input = "How many?"
into = "count"
"#,
        &["7:8 `count` takes an integer, and this is a string"],
    );
}

#[test]
fn what_has_others_inside_has_a_time_and_attempts_too() {
    let map = |more: &str| {
        format!(
            "[state]\nall = \"append\"\n[nodes.a]\nkind = \"map\"\nover = \"input.items\"\ninto = \"all\"\n{more}\n\
             node = {{ kind = \"prompt\", prompt = \"{{{{ item }}}}\" }}\n"
        )
    };
    check(&map("timeout = \"1m\"\nretry = { attempts = 2 }"), &[]);
    check(&map("retry = { attempts = 0 }"), &["7:22 `nodes.a.retry.attempts` must be at least 1"]);
}

#[test]
fn a_conversation_takes_texts_and_messages() {
    let graph = |value: &str| {
        format!(
            "[state]\nmessages = \"messages\"\n[nodes.a]\nkind = \"set\"\nvalues = {{ messages = \"{value}\" }}\n"
        )
    };
    check(&graph("'hello'"), &[]);
    check(&graph("[{'type': 'human', 'content': 'hello'}]"), &[]);
    check(&graph("7"), &["5:23 `messages` takes an object, and this is an integer"]);
}

#[test]
fn what_runs_go_by_is_declared() {
    let graph = |config: &str, value: &str| {
        format!(
            "[config]\n{config}\n[state]\nx = \"last\"\n[nodes.a]\nkind = \"set\"\nvalues = {{ x = \"{value}\" }}\n"
        )
    };
    check(&graph("tone = \"string\"", "config.tone + '!'"), &[]);
    check(
        &graph("tone = \"string\"", "config.tune"),
        &["7:23 there is no `tune` here; there are `tone`"],
    );
    check(
        &graph("n = { type = \"integer\", default = \"x\" }", "1"),
        &["2:35 the default is a string, not an integer"],
    );
    let without = "[state]\nx = \"last\"\n[nodes.a]\nkind = \"prompt\"\nprompt = \"{{ config.tone }}\"\ninto = \"x\"\n";
    check(
        without,
        &[
            "5:14 this graph declares nothing that runs go by (declare it: [config] with NAME = \"TYPE\")",
        ],
    );
    check(
        "[state]\nconfig = \"last\"\n[nodes.a]\nkind = \"set\"\nvalues = {}\n",
        &["2:1 `config` means something else already (choose another name)"],
    );
}
