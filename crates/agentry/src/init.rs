//! `agentry init`: a configuration to begin with, or one made from another gateway's.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde_json::json;

use crate::cli::{Context, Ended, Exit};
use crate::graphs;

mod litellm;
mod scaffold;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to put it [default: here]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Make it from a LiteLLM proxy's config.yaml
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
}

const FILE: &str = "agentry.toml";

pub(crate) fn run(cx: &Context, options: &Options) -> Result<Exit, Ended> {
    let usage = |error| Ended { exit: Exit::Usage, error };
    let (text, notes) = match &options.from {
        None => (scaffold::scaffold(&cx.environment), Vec::new()),
        Some(path) => {
            let text = read(&cx.at(path)).map_err(usage)?;
            let imported = litellm::import(&text);
            let imported = imported.map_err(|why| usage(anyhow!("{} {why}", path.display())))?;
            (imported.toml, imported.notes)
        }
    };
    let folder = match &options.folder {
        Some(folder) => cx.at(folder),
        None => cx.at(Path::new("")),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let file = folder.join(FILE);
    write_new(&file, &text).map_err(usage)?;
    if options.from.is_none() {
        let (name, text) = scaffold::GRAPH;
        let graphs = folder.join(graphs::FOLDER);
        std::fs::create_dir_all(&graphs).with_context(|| format!("create {}", graphs.display()))?;
        write_new(&graphs.join(name), text).map_err(usage)?;
    }
    if cx.terminal.json {
        cx.terminal.object(&json!({ "file": file.display().to_string(), "notes": notes }));
        return Ok(Exit::Done);
    }
    for note in &notes {
        cx.terminal.note(note);
    }
    cx.terminal.data(format_args!("{} is written; next: agentry check", file.display()));
    Ok(Exit::Done)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    String::from_utf8(bytes)
        .map_err(|_| anyhow!("{} is not UTF-8: save the file as UTF-8", path.display()))
}

/// What is there already is somebody's work.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow!("{} is there already: move it away, or name another folder", path.display())
        }
        _ => anyhow!("{} cannot be written: {error}", path.display()),
    })?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))
}
