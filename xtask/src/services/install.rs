//! Installing what is missing, where we know how: on Debian and its children.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::terminal::say;
use crate::watchdog::Watched;
use crate::workspace::on_path;

const SCRIPT: &str = include_str!("install.sh");

pub(super) fn packages(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    ensure!(
        Path::new("/etc/debian_version").exists() && on_path(&["apt-get"]).is_some(),
        "tests need {list}; this system has no apt-get, so install them yourself and put them on PATH \
         (or set the AGENTRY_TEST_… variables to nothing to skip the tests that need them)"
    );
    say(&format!("installing {list}"));
    let root =
        Command::new("id").arg("-u").output().context("run `id`")?.stdout.trim_ascii() == b"0";
    let shell = if root {
        Watched::new("sh")
    } else {
        ensure!(
            on_path(&["sudo"]).is_some(),
            "tests need {list}; run `apt-get install {list}` as root first"
        );
        Watched::new("sudo").args(["-n", "sh"])
    };
    shell
        .args(["-c", SCRIPT, "install"])
        .args(packages)
        // A package manager that is killed half-way leaves a mess.
        .end_with("TERM", Duration::from_secs(120))
        .spawn()?
        .finish_within(Duration::from_secs(1200))
        .with_context(|| format!("install {list}; as root, `apt-get install {list}` shows why"))
}
