//! One child process.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use tokio::sync::oneshot;

use super::ShopConfig;
use crate::deployment::{self, Launch};
use crate::process::{Command, Ready};
use crate::{Error, Service};

const READY_WITHIN: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// A child that is killed and reaped when this is dropped, whatever the reason.
pub(super) struct Instance {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Instance {
    /// Resolves when the process listens.
    pub(super) async fn start(
        config: &ShopConfig,
        launch: &Launch,
    ) -> Result<(Self, Ready), Error> {
        let service = launch.service;
        let path = config.folder.join("launch").join(format!("{service}.json"));
        deployment::write(&path, launch)?;
        let complaints = config.folder.join("stderr").join(format!("{service}.txt"));
        let stderr = File::create(&complaints)
            .map_err(|source| Error::file("create", &complaints, source))?;

        let mut command = std::process::Command::new(&config.program);
        command
            .args(&config.args_prefix)
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr);
        // An interrupt from the terminal is for the parent, which then stops its children in order.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .map_err(|source| Error::Spawn { program: config.program.clone(), source })?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let instance = Self { child, stdin };

        let ready = first_line(stdout);
        match tokio::time::timeout(READY_WITHIN, ready).await {
            Ok(Ok(ready)) => Ok((instance, ready)),
            Ok(Err(_)) => {
                let said = std::fs::read_to_string(&complaints).unwrap_or_default();
                Err(not_ready(service, &format!("it ended early: {}", said.trim())))
            }
            Err(_) => {
                Err(not_ready(service, &format!("nothing heard for {} s", READY_WITHIN.as_secs())))
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Whether the command was handed over.
    pub(super) fn tell(&mut self, command: &Command) -> bool {
        let (Some(stdin), Ok(line)) = (&mut self.stdin, serde_json::to_string(command)) else {
            return false;
        };
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).is_ok()
    }

    /// Waits for a process that was told to stop; what is left of it after `patience` is killed.
    pub(super) async fn retire(mut self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        while self.is_alive() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Both fail only when the process is gone already.
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn not_ready(service: Service, reason: &str) -> Error {
    Error::NotReady { service, reason: reason.to_owned() }
}

/// A thread per child reads its standard output; it ends with the child.
fn first_line(stdout: Option<ChildStdout>) -> oneshot::Receiver<Ready> {
    let (tx, rx) = oneshot::channel();
    std::thread::spawn(move || {
        let Some(stdout) = stdout else { return };
        let mut tx = Some(tx);
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(ready) = serde_json::from_str::<Ready>(&line)
                && let Some(tx) = tx.take()
            {
                let _abandoned = tx.send(ready);
            }
        }
    });
    rx
}
