//! Gateways by others, measured beside ours when `bench/peers/install.sh` has installed them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::config::{KEY, MODELS};
use super::load::Target;
use super::sides::{Side, log};
use crate::{Connection, Server};

pub(crate) struct Peer {
    name: &'static str,
    /// Below the folder of peers.
    program: &'static str,
    command: fn(Command, Start<'_>) -> Result<Launch>,
}

/// What a peer has to know to start.
pub(crate) struct Start<'a> {
    installed: &'a Path,
    mock: &'a str,
    port: &'a str,
    folder: &'a Path,
}

struct Launch {
    command: Command,
    /// Sent with every request.
    headers: Vec<(&'static str, String)>,
}

pub(crate) enum Started {
    Running(Box<Side>),
    Absent(String),
}

pub(crate) const PEERS: [Peer; 3] = [
    Peer { name: "sglang-router", program: "sglang-router/bin/python", command: sglang_router },
    Peer {
        name: "portkey",
        program: "portkey/node_modules/@portkey-ai/gateway/build/start-server.js",
        command: portkey,
    },
    Peer { name: "litellm", program: "litellm/bin/litellm", command: litellm },
];

/// Python takes its time.
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) fn start(
    peer: &Peer,
    pinned: impl Fn(&Path) -> Command,
    mock: &str,
    folder: &Path,
) -> Result<Started> {
    let Peer { name, program, command } = peer;
    let program = home().join(program);
    // The installation's last step leaves a mark.
    if !home().join(name).join("installed").exists() {
        let why = format!("{name} is not installed: bench/peers/install.sh {name} does it");
        return Ok(Started::Absent(why));
    }
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = port.context("find a free port")?.port().to_string();
    // Scripts run in the interpreter that is found on the path.
    let script = program.extension().is_some_and(|extension| extension == "js");
    let launched = if script { pinned(Path::new("node")) } else { pinned(&program) };
    let start = Start { installed: &program, mock, port: &port, folder };
    let Launch { mut command, headers } = command(launched, start)?;
    command.current_dir(folder).stderr(log(folder, name)?);
    let address = format!("127.0.0.1:{port}");
    let probe = |address: &str| answers(address, &headers);
    match Server::start_at(command, &address, PATIENCE, probe) {
        Ok(server) => {
            let target =
                headers.iter().try_fold(Target::at(&address)?, |target, (name, value)| {
                    target.with(name, value)
                })?;
            Ok(Started::Running(Box::new(Side { name, server, target, is_ours: false })))
        }
        Err(error) => Ok(Started::Absent(format!("{name} did not start: {error:#}"))),
    }
}

/// Outside the tree: `$AGENTRY_PEERS`, else `~/.cache/agentry-peers`.
fn home() -> PathBuf {
    if let Some(folder) = std::env::var_os("AGENTRY_PEERS") {
        return folder.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    cache.unwrap_or_else(home).join("agentry-peers")
}

/// Whether a whole call goes through.
fn answers(address: &str, headers: &[(&'static str, String)]) -> bool {
    let body = format!(
        r#"{{"model":"{}","messages":[{{"role":"user","content":"are you there?"}}]}}"#,
        super::config::WHOLE
    );
    let Ok(mut connection) = Connection::open(address) else { return false };
    let mut all = vec![("authorization", format!("Bearer {KEY}"))];
    all.extend(headers.iter().cloned());
    let answered = connection.request_with(&all, "POST", "/v1/chat/completions", &body);
    matches!(answered, Ok((200, _)))
}

fn sglang_router(mut command: Command, start: Start<'_>) -> Result<Launch> {
    command
        .args(["-m", "sglang_router.launch_router", "--worker-urls"])
        .arg(format!("http://{}", start.mock))
        .args(["--host", "127.0.0.1", "--port", start.port])
        .args(["--policy", "round_robin", "--log-level", "error"]);
    Ok(Launch { command, headers: Vec::new() })
}

fn portkey(mut command: Command, start: Start<'_>) -> Result<Launch> {
    command.arg(start.installed).arg(format!("--port={}", start.port)).arg("--headless");
    let headers = vec![
        ("x-portkey-provider", "openai".to_owned()),
        ("x-portkey-custom-host", format!("http://{}/v1", start.mock)),
    ];
    Ok(Launch { command, headers })
}

fn litellm(mut command: Command, start: Start<'_>) -> Result<Launch> {
    let models: String = MODELS
        .iter()
        .map(|model| {
            format!(
                "  - model_name: {model}\n    litellm_params:\n      model: openai/{model}\n      \
                 api_base: http://{}/v1\n      api_key: {KEY}\n",
                start.mock
            )
        })
        .collect();
    let path = start.folder.join("litellm.yaml");
    std::fs::write(&path, format!("model_list:\n{models}")).context("write litellm.yaml")?;
    command.arg("--config").arg(&path).args(["--host", "127.0.0.1", "--port", start.port]);
    command.env("LITELLM_MASTER_KEY", KEY).env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
    command.env("LITELLM_LOG", "ERROR");
    Ok(Launch { command, headers: Vec::new() })
}
