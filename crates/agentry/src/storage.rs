//! `agentry storage`: copies of the database, and whether it is whole. An instance may use it meanwhile.

use std::path::PathBuf;

use agentry_backends::sqlite;
use anyhow::{Context as _, anyhow};
use serde_json::json;

use crate::cli::{Context, Ended, Exit};
use crate::config;

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum What {
    /// Write a copy to a new file
    Backup { file: PathBuf },
    /// Read everything and report what does not fit together
    Check {
        /// Another file than the one in use: a copy, for example
        file: Option<PathBuf>,
    },
}

pub(crate) fn run(cx: &Context, what: What) -> Result<Exit, Ended> {
    match what {
        What::Backup { file } => {
            let (from, to) = (in_use(cx)?, cx.at(&file));
            let bytes =
                sqlite::back_up(&from, &to).with_context(|| format!("copy {}", from.display()))?;
            if cx.terminal.json {
                cx.terminal.object(&json!({ "file": to.display().to_string(), "bytes": bytes }));
            } else {
                cx.terminal.note(format_args!("{} has {bytes} bytes and is whole", to.display()));
            }
            Ok(Exit::Done)
        }
        What::Check { file } => {
            let path = match file {
                Some(file) => cx.at(&file),
                None => in_use(cx)?,
            };
            let problems = sqlite::check(&path).context("check the database")?;
            if cx.terminal.json {
                cx.terminal.object(&json!({ "ok": problems.is_empty(), "problems": problems }));
            } else if problems.is_empty() {
                cx.terminal.note(format_args!("{} is whole", path.display()));
            } else {
                for problem in &problems {
                    cx.terminal.data(problem);
                }
            }
            Ok(if problems.is_empty() { Exit::Done } else { Exit::Failed })
        }
    }
}

fn in_use(cx: &Context) -> Result<PathBuf, Ended> {
    match cx.config()?.storage {
        config::Storage::Sqlite(path) => Ok(path),
        config::Storage::Postgres(database) => {
            let error = anyhow!("{} has its own ways to be copied and checked", database.place);
            Err(Ended { exit: Exit::Usage, error })
        }
        config::Storage::Memory => {
            let error = anyhow!("nothing is stored: storage.url is memory:");
            Err(Ended { exit: Exit::Usage, error })
        }
    }
}
