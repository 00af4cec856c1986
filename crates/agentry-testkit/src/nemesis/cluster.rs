//! A PostgreSQL server of our own, which may be restarted.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;

/// How long it may take until a server lets one in.
const PATIENCE: Duration = Duration::from_secs(20);

/// It listens on the loopback address alone.
pub struct Cluster {
    programs: PathBuf,
    data: PathBuf,
    pub port: u16,
}

impl Cluster {
    /// The newest version that is installed.
    pub fn programs() -> Option<PathBuf> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
        let folders = versions.map(|version| version.path().join("bin"));
        folders.filter(|folder| folder.join("initdb").is_file()).max()
    }

    pub async fn start(programs: PathBuf, folder: &Path) -> Self {
        let data = folder.join("data");
        std::fs::create_dir(&data).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Self { programs, data, port };
        if root() {
            let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(folder, all).unwrap();
            let owner = Command::new("chown").arg("postgres").arg(&cluster.data).status().await;
            assert!(owner.unwrap().success());
        }
        let words = ["--username=agentry", "--auth=trust", "--encoding=UTF8", "--locale=C"];
        cluster.run("initdb", &words).await;
        cluster.up().await;
        cluster
    }

    pub fn url(&self, port: u16) -> String {
        format!("postgres://agentry@127.0.0.1:{port}/postgres?connections=3&writers=2")
    }

    /// As after a power cut: nothing is written first.
    pub async fn restart(&self) {
        self.run("pg_ctl", &["stop", "-w", "-m", "immediate"]).await;
        self.up().await;
    }

    pub async fn stop(&self) {
        self.run("pg_ctl", &["stop", "-w", "-m", "immediate"]).await;
    }

    async fn up(&self) {
        let options =
            format!("-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories=", self.port);
        let log = self.data.join("log");
        let log = log.to_str().unwrap();
        self.run("pg_ctl", &["start", "-w", "-o", &options, "-l", log]).await;
    }

    async fn run(&self, program: &str, words: &[&str]) {
        let program = self.programs.join(program);
        let mut command = if root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg("-D").arg(&self.data).args(words).current_dir("/");
        // What it starts must not keep our own output open.
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().await.unwrap();
        assert!(status.success(), "{words:?}");
    }

    /// What the server answers, once it lets one in: a row a line.
    pub async fn ask(&self, sql: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let port = self.port.to_string();
        loop {
            let mut command = Command::new(self.programs.join("psql"));
            command.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"]);
            command.args(["--host=127.0.0.1", "--port", &port, "--username=agentry"]);
            let answer = command.args(["--command", sql, "postgres"]).output().await.unwrap();
            if answer.status.success() {
                return String::from_utf8(answer.stdout).unwrap().trim().to_owned();
            }
            let problem = String::from_utf8_lossy(&answer.stderr);
            assert!(Instant::now() < deadline, "{sql}: {problem}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}
