//! A PostgreSQL cluster of our own, as durable as a real one.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::net;
use crate::watchdog::{Guarded, Watched};
use crate::workspace::on_path;

const USER: &str = "agentry";

/// Makes the cluster and becomes its server.
const SCRIPT: &str = r#"
"$1" --username "$4" --auth trust --encoding UTF8 --locale C --pgdata "$3" &&
exec "$2" -D "$3" -p "$5" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=on
"#;

/// The newest server: Debian keeps each version in a folder that is not on PATH.
pub(super) fn find() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse::<f64>().ok()?,
                entry.path().join("bin/postgres"),
            ))
        })
        .filter(|(_, program)| program.is_file() && program.with_file_name("initdb").is_file())
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, program)| program)
        .or_else(|| on_path(&["postgres"]))
}

pub(super) fn start(program: &Path, folder: &Path) -> Result<(String, Guarded)> {
    let initdb = match program.with_file_name("initdb") {
        beside if beside.is_file() => beside,
        _ => on_path(&["initdb"]).context("there is a `postgres` but no `initdb`")?,
    };
    let role = Role::choose()?;
    let data = role.folder(folder)?;
    let port = net::free_port()?;
    let mut server = role
        .run(Path::new("sh"))
        .args(["-c", SCRIPT, "postgres"])
        .args([initdb.as_path(), program, &data])
        .args([USER, &port.to_string()])
        .log(&folder.join("postgres.log"))
        .current_dir(&data)
        // The fast shutdown: it does not wait for clients.
        .end_with("INT", Duration::from_secs(10))
        .remove(&data)
        .spawn()?;
    server.ready_within(Duration::from_secs(120), || greet(net::loopback(port), USER))?;
    Ok((format!("postgres://{USER}@127.0.0.1:{port}/postgres"), server))
}

/// As whom it runs: PostgreSQL refuses to be root.
enum Role {
    Ourselves,
    Other { user: &'static str, uid: u32, gid: u32 },
}

impl Role {
    fn choose() -> Result<Self> {
        if id(&["-u"])? != 0 {
            return Ok(Self::Ourselves);
        }
        for user in ["postgres", "nobody"] {
            if let (Ok(uid), Ok(gid)) = (id(&["-u", user]), id(&["-g", user])) {
                return Ok(Self::Other { user, uid, gid });
            }
        }
        bail!(
            "PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`"
        )
    }

    fn words(&self) -> Vec<OsString> {
        let words = match self {
            Self::Ourselves => Vec::new(),
            Self::Other { uid, gid, .. } if on_path(&["setpriv"]).is_some() => vec![
                "setpriv".to_owned(),
                format!("--reuid={uid}"),
                format!("--regid={gid}"),
                "--clear-groups".to_owned(),
                "--".to_owned(),
            ],
            Self::Other { user, .. } => ["runuser", "-u", user, "--"].map(str::to_owned).to_vec(),
        };
        words.into_iter().map(OsString::from).collect()
    }

    fn run(&self, program: &Path) -> Watched {
        let mut words = self.words();
        words.push(program.into());
        let first = words.remove(0);
        Watched::new(first).args(words)
    }

    /// An empty folder that it may write. A checkout in somebody's home is often closed to others: then a temporary one.
    fn folder(&self, parent: &Path) -> Result<PathBuf> {
        let name = format!("agentry-test-{}-postgres", std::process::id());
        for folder in [parent.join("postgres"), std::env::temp_dir().join(name)] {
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("create {}", folder.display()))?;
            let Self::Other { uid, gid, .. } = self else { return Ok(folder) };
            std::os::unix::fs::chown(&folder, Some(*uid), Some(*gid))?;
            let mut words = self.words();
            let first = words.remove(0);
            let writes = Command::new(first)
                .args(words)
                .args(["test", "-w"])
                .arg(&folder)
                .current_dir("/")
                .status();
            if writes.context("ask whether PostgreSQL may write its folder")?.success() {
                return Ok(folder);
            }
            std::fs::remove_dir(&folder)?;
        }
        bail!("PostgreSQL may write neither {} nor the temporary folder", parent.display())
    }
}

fn id(args: &[&str]) -> Result<u32> {
    let output = Command::new("id").args(args).output().context("run `id`")?;
    ensure!(output.status.success(), "`id {}` knows no such user", args.join(" "));
    String::from_utf8_lossy(&output.stdout).trim().parse().context("read what `id` says")
}

/// Logs in and waits until the server is ready for a query.
pub(super) fn greet(address: SocketAddr, user: &str) -> Result<()> {
    let mut stream = net::connect(address)?;
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for text in ["user", user, "database", "postgres", ""] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    stream.write_all(&u32::try_from(body.len() + 4)?.to_be_bytes())?;
    stream.write_all(&body)?;
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length))?.saturating_sub(4);
        ensure!(length <= 65_536, "not a PostgreSQL answer");
        let mut message = vec![0; length];
        stream.read_exact(&mut message)?;
        match kind {
            b'Z' => return Ok(()),
            b'E' => bail!("PostgreSQL says: {}", message.escape_ascii()),
            _ => {}
        }
    }
}
