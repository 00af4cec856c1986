//! Proves that the servers which `cargo xtask test` starts are there and speak.

use super::*;

fn address(variable: &str) -> Option<(String, std::net::SocketAddr)> {
    let Some(url) = std::env::var_os(variable).filter(|url| !url.is_empty()) else {
        say(&format!("skipped: {variable} is not set; `cargo xtask test` sets it"));
        return None;
    };
    let url = url.into_string().unwrap();
    let rest = url.split_once("://").unwrap().1;
    let (credentials, host) = rest.split_once('@').unwrap_or(("", rest));
    let host = host.split('/').next().unwrap();
    let address = std::net::ToSocketAddrs::to_socket_addrs(host).unwrap().next().unwrap();
    Some((credentials.split(':').next().unwrap().to_owned(), address))
}

#[test]
fn redis_answers_a_ping() {
    let Some((_, address)) = address(REDIS_URL) else { return };
    redis::ping(address).unwrap();
}

#[test]
fn postgres_accepts_a_login() {
    let Some((user, address)) = address(POSTGRES_URL) else { return };
    postgres::greet(address, &user).unwrap();
}

#[test]
fn the_clients_of_python_and_node_are_there() {
    let import = "import openai, anthropic; openai.OpenAI; anthropic.Anthropic";
    let modules =
        "import('openai').then(() => import('ai')).then(() => import('@ai-sdk/openai-compatible'))";
    for (variable, program, args) in
        [(PYTHON, "", ["-c", import]), (NODE, "bin/node", ["-e", modules])]
    {
        let Some(place) = std::env::var_os(variable).filter(|place| !place.is_empty()) else {
            say(&format!("skipped: {variable} is not set; `cargo xtask test` sets it"));
            continue;
        };
        let place = PathBuf::from(place);
        let mut command = match program {
            "" => Command::new(place),
            program => {
                let mut node = Command::new(place.join(program));
                node.current_dir(place);
                node
            }
        };
        let output = command.args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_named_program_runs() {
    for variable in [PROMETHEUS, ALERTMANAGER, PYTHON] {
        match std::env::var_os(variable).filter(|program| !program.is_empty()) {
            Some(program) => {
                let output = Command::new(program).arg("--version").output().unwrap();
                assert!(output.status.success(), "{variable}");
            }
            None => say(&format!("skipped: {variable} is not set; `cargo xtask test` sets it")),
        }
    }
}
