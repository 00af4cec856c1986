//! Graphs as data, from the terminal and over HTTP.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ANSWERS, CONFIG, Running, agentry, finish, get, post, wait_for};

/// What `agentry init` writes, with a provider that needs no network.
fn project(storage: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, said) = run(folder.path(), &["init"]);
    assert_eq!(code, Some(0), "{said}");
    std::fs::write(folder.path().join("agentry.toml"), CONFIG.replace("memory:", storage)).unwrap();
    std::fs::write(folder.path().join("answers.toml"), ANSWERS).unwrap();
    folder
}

fn graph(folder: &TempDir, name: &str, text: &str) {
    std::fs::write(folder.path().join("graphs").join(name), text).unwrap();
}

/// Exit code, stdout and stderr.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = agentry(folder);
    command.args(arguments).env("TOKEN", "sesame");
    let output = finish(command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const GREET: &str = r#"
output = "draft"
[input]
topic = "string"
[state]
draft = "last"
[nodes.write]
kind = "prompt"
prompt = "Say something about {{ input.topic }}."
into = "draft"
[nodes.shout]
kind = "set"
values = { draft = "draft + '!'" }
[[edges]]
from = "write"
to = "shout"
"#;

#[test]
fn a_graph_runs_from_the_terminal() {
    let folder = project("memory:");
    graph(&folder, "greet.toml", GREET);
    let folder = folder.path();
    let (code, told, said) = run(folder, &["run", "greet", "topic=hello"]);
    assert_eq!((code, told.as_str()), (Some(0), "Hello to you.!\n"), "{said}");
    for line in ["write: begun", "write: done", "shout: done"] {
        assert!(said.contains(line), "{said}");
    }
    let arguments = ["run", "greet", "--input", r#"{"topic":"hello"}"#, "--json", "-q"];
    let (code, told, said) = run(folder, &arguments);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["status"], "success");
    assert_eq!(told["output"], "Hello to you.!");
    assert!(told["run_id"].is_string() && told["thread_id"].is_string(), "{told}");

    // The model is overloaded, and is not asked again.
    let (code, told, said) = run(folder, &["run", "greet", "topic=overload"]);
    assert_eq!((code, told.as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("write: failed") && said.contains("slow down"), "{said}");
}

#[test]
fn the_agent_that_is_always_there_is_asked_from_the_terminal() {
    let folder = project("memory:");
    let (code, told, said) = run(folder.path(), &["run", "agent", "say", "hello"]);
    assert_eq!((code, told.as_str()), (Some(0), "Hello to you.\n"), "{said}");
    let (code, told, said) = run(folder.path(), &["run", "agent", "say", "hello", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["output"], "Hello to you.");
    let (code, _, said) = run(folder.path(), &["run", "agent"]);
    assert!(code == Some(2) && said.contains("say what `agent` is asked"), "{said}");
}

#[test]
fn what_cannot_run_is_refused_before_anything_runs() {
    let folder = project("memory:");
    graph(&folder, "greet.toml", GREET);
    let check = |arguments: &[&str], expected: &str| {
        let (code, told, said) = run(folder.path(), arguments);
        assert_eq!((code, told.as_str()), (Some(2), ""), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    check(&["run", "great"], "there is no graph `great`; there are: greet, review");
    check(&["run", "greet"], "the input `topic` is missing");
    check(&["run", "greet", "topic=hello", "tone=loud"], "there is no input `tone`");
    check(&["run", "greet", "--input", "{"], "--input is no JSON");
    check(&["run", "greet", "hello"], "`hello` is not of the form KEY=VALUE");

    let broken = GREET.replace("input.topic", "topik").replace("\"shout\"", "\"shoot\"");
    graph(&folder, "broken.toml", &broken);
    graph(&folder, "tools.toml", "[nodes.a]\nkind = \"tool\"\ntool = \"hammer\"\n");
    for command in ["serve", "check", "run"] {
        let arguments = if command == "run" { vec!["run", "greet"] } else { vec![command] };
        check(&arguments, "graphs/broken.toml:9:34: there is no `topik`");
        check(&arguments, "^^^^^");
        check(&arguments, "shoot");
        check(&arguments, "there is no tool `hammer`");
    }
}

#[test]
fn a_run_from_the_terminal_waits_for_its_answer() {
    let folder = project("sqlite:agentry.db");
    let (code, told, said) = run(folder.path(), &["run", "review", "topic=hello", "--ephemeral"]);
    assert_eq!((code, told.as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("nothing is kept"), "{said}");

    let (code, told, said) = run(folder.path(), &["run", "review", "topic=hello"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("approve asks: Publish this text about hello?"), "{said}");
    assert!(said.contains("draft: Hello to you."), "{said}");
    let words: Vec<&str> = told.split_whitespace().collect();
    let ["run", waiting, "of", "thread", thread, "waits"] = words.as_slice() else {
        panic!("{told}");
    };
    assert!(said.contains(&format!("agentry runs resume {waiting} --answer approve")), "{said}");

    let (waiting, thread) = ((*waiting).to_owned(), (*thread).to_owned());
    let serving = Running::again(folder);
    let url = format!("http://{}", serving.address);
    let arguments = ["runs", "resume", &waiting, "--answer", "approve", "--url", &url];
    let (code, _, said) = run(serving.folder.path(), &arguments);
    assert_eq!(code, Some(0), "{said}");
    let state = get(&format!("/threads/{thread}/state"));
    let values = wait_for("the answer to count", || {
        let (_, state) = serving.json(&state);
        (state["next"] == json!([])).then(|| state["values"].clone())
    });
    assert_eq!(values["published"], true);
    assert_eq!(values["draft"], "Hello to you.");

    // One file, one process: that is said.
    let (code, _, said) = run(serving.folder.path(), &["run", "review", "topic=hello"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in use by process") && said.contains("--ephemeral"), "{said}");
}

#[test]
fn a_graph_is_an_assistant() {
    let folder = project("memory:");
    let serving = Running::again(folder);
    let (status, schemas) = serving.json(&get("/assistants/review/schemas"));
    assert_eq!(status, 200, "{schemas}");
    assert_eq!(schemas["input_schema"]["required"], json!(["topic"]));
    assert_eq!(schemas["state_schema"]["properties"]["wishes"]["items"]["type"], "string");
    let (_, drawn) = serving.json(&get("/assistants/review/graph"));
    let nodes = drawn["nodes"].as_array().unwrap();
    let approve = nodes.iter().find(|node| node["id"] == "approve").unwrap();
    assert_eq!(approve["data"], json!({ "id": ["human"], "name": "approve" }));

    let (_, thread) = serving.json(&post("/threads", "{}"));
    let id = thread["thread_id"].as_str().unwrap();
    let wait = |body: &Value| {
        let answer = serving.exchange(&post(&format!("/threads/{id}/runs/wait"), body.to_string()));
        let status = answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap();
        // The body comes in pieces, with blanks for as long as it takes.
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let (first, last) = (body.find('{').unwrap(), body.rfind('}').unwrap());
        (status, serde_json::from_str::<Value>(&body[first..=last]).unwrap())
    };
    let (status, refused) = wait(&json!({ "assistant_id": "review", "input": { "subject": 1 } }));
    assert!(status >= 400 && refused.to_string().contains("`topic` is missing"), "{refused}");
    let (status, asked) = wait(&json!({ "assistant_id": "review", "input": { "topic": "hello" } }));
    assert_eq!(status, 200, "{asked}");
    let question = &asked["__interrupt__"][0]["value"];
    assert_eq!(question["question"], "Publish this text about hello?");
    assert_eq!(question["state"]["draft"], "Hello to you.");
    let resume = json!({
        "assistant_id": "review",
        "command": { "resume": { "decision": "modify", "reason": "hello again" } },
    });
    let (status, again) = wait(&resume);
    assert_eq!(status, 200, "{again}");
    assert_eq!(again["wishes"], json!(["hello again"]));
    assert_eq!(again["published"], false);
    let (status, values) =
        wait(&json!({ "assistant_id": "review", "command": { "resume": "approve" } }));
    assert_eq!(status, 200, "{values}");
    assert_eq!(values["published"], true);
}

const TONED: &str = r#"
output = "said"
[config]
tone = "string"
[state]
said = "last"
[nodes.write]
kind = "set"
values = { said = "'in a ' + config.tone + ' tone'" }
[nodes.ask]
kind = "human"
question = "Was that {{ config.tone }}?"
[nodes.wet]
kind = "set"
values = { said = "said + ', and wet: ' + config.tone" }
[[edges]]
from = "write"
to = "ask"
when = "config.tone != 'dry'"
[[edges]]
from = "ask"
to = "wet"
"#;

#[test]
fn a_run_goes_by_what_it_was_configured_with() {
    let folder = project("memory:");
    graph(&folder, "toned.toml", TONED);
    let (code, told, said) =
        run(folder.path(), &["run", "toned", "--settings", r#"{"tone":"dry"}"#]);
    assert_eq!((code, told.as_str()), (Some(0), "in a dry tone\n"), "{said}");
    for (settings, expected) in [
        ("{}", "the setting `tone` is missing"),
        ("[]", "--settings is no object"),
        ("{", "--settings is no JSON"),
    ] {
        let (code, _, said) = run(folder.path(), &["run", "toned", "--settings", settings]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }

    let serving = Running::again(folder);
    let (_, schemas) = serving.json(&get("/assistants/toned/schemas"));
    let tone = &schemas["context_schema"]["properties"]["tone"];
    assert_eq!(tone["type"], "string", "{schemas}");
    let (_, thread) = serving.json(&post("/threads", "{}"));
    let path = format!("/threads/{}/runs", thread["thread_id"].as_str().unwrap());
    let begin = |body: Value| serving.json(&post(&path, body.to_string()));
    let over = |run: &Value| {
        let path = format!("{path}/{}/join", run["run_id"].as_str().unwrap());
        serving.exchange(&get(&path))
    };
    let config = |tone: Value| json!({ "configurable": { "tone": tone, "more": 1 } });
    let (status, refused) =
        begin(json!({ "assistant_id": "toned", "input": {}, "config": config(json!(7)) }));
    assert_eq!(status, 422, "{refused}");
    assert!(refused.to_string().contains("the setting `tone` is an integer"), "{refused}");
    let (status, run) =
        begin(json!({ "assistant_id": "toned", "input": {}, "config": config(json!("warm")) }));
    assert_eq!(status, 200, "{run}");
    let asked = over(&run);
    assert!(asked.contains("in a warm tone"), "{asked}");
    // Who answers need not say again what the run goes by.
    let (status, run) = begin(json!({ "assistant_id": "toned", "command": { "resume": "yes" } }));
    assert_eq!(status, 200, "{run}");
    let ended = over(&run);
    assert!(ended.contains("in a warm tone, and wet: warm"), "{ended}");
}

#[test]
fn a_graph_calls_the_services_that_it_may() {
    let service = Running::start();
    let folder = project("memory:");
    let text = r#"
output = "[answer.status, answer.body.status]"
[input]
url = "string"
[state]
answer = { type = "object" }
[nodes.ask]
kind = "http"
url = "${input.url}"
headers = { authorization = { secret = "env:TOKEN", prefix = "Bearer " } }
into = "answer"
"#;
    graph(&folder, "fetch.toml", text);
    let url = format!("url=http://{}/health", service.address);
    let (code, told, said) = run(folder.path(), &["run", "fetch", &url]);
    assert_eq!((code, told.as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("not of the public internet") && said.contains("[graphs]"), "{said}");

    let config = format!("{CONFIG}\n[graphs]\nhosts = [\"127.0.0.1\"]\n");
    std::fs::write(folder.path().join("agentry.toml"), config).unwrap();
    let (code, told, said) = run(folder.path(), &["run", "fetch", &url, "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["output"][0], 200, "{told}");
}
