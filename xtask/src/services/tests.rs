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
fn python_has_the_openai_client() {
    let Some(python) = std::env::var_os(PYTHON).filter(|program| !program.is_empty()) else {
        say(&format!("skipped: {PYTHON} is not set; `cargo xtask test` sets it"));
        return;
    };
    let output =
        Command::new(python).args(["-c", "import openai; openai.OpenAI"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
