//! Definitions that change while an instance serves; tools and agents that they name.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::{ANSWERS, CONFIG, Running, agentry, finish, get, kill, post, wait_for};

fn project(more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{CONFIG}\n{more}");
    std::fs::write(folder.path().join("agentry.toml"), config).unwrap();
    std::fs::write(folder.path().join("answers.toml"), ANSWERS).unwrap();
    for name in ["graphs", "agents"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    folder
}

fn said(text: &str) -> String {
    format!(
        "output = \"said\"\non_change = \"pin\"\n[state]\nsaid = \"last\"\n[nodes.ask]\nkind = \"human\"\nquestion = \"Go on?\"\n\
         [nodes.say]\nkind = \"set\"\nvalues = {{ said = \"'{text}'\" }}\n[[edges]]\nfrom = \"ask\"\nto = \"say\"\n"
    )
}

fn definitions(server: &Running) -> Value {
    let (_, status) = server.json(&get("/v1/status"));
    let found = status.to_string();
    assert!(found.contains("definitions"), "{found}");
    status
}

/// What comes of it, which is sent in chunks.
fn waited(server: &Running, thread: &str, body: &str) -> Value {
    let answer = server.exchange(&post(&format!("/threads/{thread}/runs/wait"), body));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let found = answer.find('{').zip(answer.rfind('}'));
    let json = found.and_then(|(from, to)| answer.get(from..=to)).unwrap_or("null");
    serde_json::from_str(json).unwrap()
}

/// Asks on a thread, and answers: what is said in the end.
fn finished(server: &Running, thread: &str) -> Value {
    let body = json!({ "assistant_id": "talk", "command": { "resume": "yes" } }).to_string();
    waited(server, thread, &body)["said"].clone()
}

fn begun(server: &Running) -> String {
    let (_, thread) = server.json(&post("/threads", "{}"));
    let thread = thread["thread_id"].as_str().unwrap().to_owned();
    let body = json!({ "assistant_id": "talk", "input": {} }).to_string();
    waited(server, &thread, &body);
    thread
}

#[test]
fn a_changed_graph_is_for_new_runs_and_a_broken_one_changes_nothing() {
    let folder = project("");
    let file = folder.path().join("graphs/talk.toml");
    std::fs::write(&file, said("one")).unwrap();
    let server = Running::again(folder);
    let before = begun(&server);

    std::fs::write(&file, said("two").replace("kind = \"set\"", "kind = \"ste\"")).unwrap();
    let shown = wait_for("the problem", || {
        let status = definitions(&server).to_string();
        status.contains("no kind of node").then_some(status)
    });
    assert!(shown.contains("graphs/talk.toml:9:8"), "{shown}");
    assert_eq!(finished(&server, &begun(&server)), "one");

    std::fs::write(&file, said("three")).unwrap();
    kill(server.pid(), "HUP");
    wait_for("the new version", || (finished(&server, &begun(&server)) == "three").then_some(()));
    assert!(!definitions(&server).to_string().contains("no kind of node"));
    assert_eq!(finished(&server, &before), "one", "a thread stays with its version");

    let added = said("four").replace("Go on?", "Really?");
    std::fs::write(file.with_file_name("other.toml"), added).unwrap();
    wait_for("the new graph", || {
        let (_, found) = server.json(&get("/assistants/other/schemas"));
        (found["graph_id"] == "other").then_some(())
    });
    kill(server.pid(), "TERM");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn a_run_goes_to_the_instance_that_has_the_database() {
    let folder = project("");
    let config = CONFIG.replace("memory:", "sqlite:agentry.db");
    std::fs::write(folder.path().join("agentry.toml"), &config).unwrap();
    std::fs::write(folder.path().join("graphs/talk.toml"), said("one")).unwrap();
    let now = "output = \"said\"\n[state]\nsaid = \"last\"\n[nodes.say]\nkind = \"set\"\nvalues = { said = \"'at once'\" }\n";
    std::fs::write(folder.path().join("graphs/now.toml"), now).unwrap();
    let server = Running::again(folder);
    let run = |graph: &str, listen: &str| {
        let mut command = agentry(server.folder.path());
        command.args(["run", graph]).env("AGENTRY__SERVER__LISTEN", listen);
        let output = finish(command);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, told, noted) = run("now", &server.address);
    assert_eq!((code, told.as_str()), (Some(0), "at once\n"), "{noted}");
    let (code, told, noted) = run("talk", &server.address);
    assert_eq!(code, Some(0), "{noted}");
    assert!(told.contains(" waits") && noted.contains("Go on?"), "{told} {noted}");
    assert!(noted.contains("agentry runs resume"), "{noted}");
    let (code, _, noted) = run("now", "127.0.0.1:1");
    assert!(code != Some(0) && noted.contains("--ephemeral"), "{noted}");
    kill(server.pid(), "TERM");
    assert_eq!(server.end().0, Some(0));
}

/// Answers every request with one body, and hands out what it was asked.
fn service(body: &'static str) -> (u16, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut asked = Vec::new();
            let mut buffer = [0; 4096];
            while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => asked.extend_from_slice(buffer.get(..count).unwrap()),
                }
            }
            let length = body.len();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
            let answer = format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes());
            if tell.send(String::from_utf8_lossy(&asked).into_owned()).is_err() {
                break;
            }
        }
    });
    (port, told)
}

#[test]
fn an_agent_uses_the_tools_that_the_configuration_names() {
    let (port, told) = service("{\"count\": 3}");
    let tool = format!(
        "[tools.stock]\ndescription = \"how many there are\"\nurl = \"http://127.0.0.1:{port}/items/${{sku}}\"\n\
         headers = {{ authorization = {{ secret = \"env:TOKEN\" }} }}\n\
         parameters = {{ type = \"object\", properties = {{ sku = {{ type = \"string\" }} }}, required = [\"sku\"] }}\n"
    );
    let folder = project(&tool);
    let answers = format!(
        "{}\n{ANSWERS}",
        r#"
[[rules]]
when = { user_contains = "bolts", tool_results = true, tool_result_contains = "3" }
answer = { text = "There are three." }
[[rules]]
when = { user_contains = "bolts" }
answer = { tool_calls = [{ name = "stock", arguments = { sku = "bolt/7" } }] }
"#
    );
    std::fs::write(folder.path().join("answers.toml"), answers).unwrap();
    let agent = "persona = \"You count.\"\ntools = [\"stock\", \"calculator\"]\n";
    std::fs::write(folder.path().join("agents/keeper.toml"), agent).unwrap();
    let graph = "output = \"said\"\n[state]\nsaid = \"last\"\n[nodes.ask]\nkind = \"agent\"\nagent = \"keeper\"\ninput = \"How many bolts?\"\ninto = \"said\"\n";
    std::fs::write(folder.path().join("graphs/count.toml"), graph).unwrap();

    let mut command = agentry(folder.path());
    command.args(["run", "count"]).env("TOKEN", "sesame");
    let output = finish(command);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (told_us, noted) = (text(output.stdout), text(output.stderr));
    assert_eq!(told_us, "There are three.\n", "{noted}");
    let asked = told.recv().unwrap().to_ascii_lowercase();
    assert!(asked.starts_with("get /items/bolt%2f7 "), "{asked}");
    assert!(asked.contains("authorization: sesame"), "{asked}");
    assert!(asked.contains("idempotency-key: "), "{asked}");

    let broken = agent.replace("stock", "stcok");
    std::fs::write(folder.path().join("agents/keeper.toml"), broken).unwrap();
    let mut command = agentry(folder.path());
    command.arg("check").env("TOKEN", "sesame");
    let output = finish(command);
    let noted = text(output.stderr);
    assert_eq!(output.status.code(), Some(2), "{noted}");
    assert!(
        noted.contains("agents/keeper.toml") && noted.contains("did you mean `stock`?"),
        "{noted}"
    );
}

#[test]
fn tools_are_read_again_with_the_configuration() {
    let (first, _first) = service("{\"count\": 3}");
    let (second, _second) = service("{\"count\": 4}");
    let tool = |name: &str, port: u16| {
        format!(
            "[tools.{name}]\ndescription = \"how many there are\"\nurl = \"http://127.0.0.1:{port}/items\"\n"
        )
    };
    let folder = project(&tool("stock", first));
    let graph = "output = \"found\"\n[state]\nfound = \"last\"\n[nodes.ask]\nkind = \"tool\"\ntool = \"stock\"\ninto = \"found\"\n";
    std::fs::write(folder.path().join("graphs/count.toml"), graph).unwrap();
    let server = Running::again(folder);
    let found = || {
        let (_, thread) = server.json(&post("/threads", "{}"));
        let body = json!({ "assistant_id": "count", "input": {} }).to_string();
        waited(&server, thread["thread_id"].as_str().unwrap(), &body)["found"]["count"].clone()
    };
    let reload = |more: &str| {
        let config = server.folder.path().join("agentry.toml");
        std::fs::write(config, format!("{CONFIG}\n{more}")).unwrap();
        server.json(&post("/v1/config/reload", ""))
    };
    assert_eq!(found(), 3);

    let (status, refused) = reload(&tool("stocks", second));
    assert_eq!(status, 422, "{refused}");
    let why = refused.to_string();
    assert!(why.contains("graphs/count.toml") && why.contains("there is no tool `stock`"), "{why}");
    assert_eq!(found(), 3, "what was in force still is");

    let (status, told) = reload(&tool("stock", second));
    assert_eq!((status, &told["changed"]), (200, &json!(["tools"])), "{told}");
    wait_for("the other service", || (found() == 4).then_some(()));
    kill(server.pid(), "TERM");
    assert_eq!(server.end().0, Some(0));
}
