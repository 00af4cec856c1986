//! Tickets and messages as files, for whoever has given us no credentials: one file for each key, there completely or not at
//! all, and never a second one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use agentry_core::outbound::{Error, Messages, Receipt, Tickets};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::keyed;

/// Writes each ticket into a folder.
#[derive(Debug, Clone)]
pub struct FileTickets(Sink);

/// Writes each message into a folder.
#[derive(Debug, Clone)]
pub struct FileMessages(Sink);

impl FileTickets {
    /// The folder is made when the first ticket comes.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(Sink::new(folder))
    }
}

impl FileMessages {
    /// The folder is made when the first message comes.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(Sink::new(folder))
    }
}

#[async_trait]
impl Tickets for FileTickets {
    async fn open(&self, key: &str, body: &Value) -> Result<Receipt, Error> {
        self.0.keep(key, json!({"key": key, "ticket": body})).await
    }
}

#[async_trait]
impl Messages for FileMessages {
    async fn post(&self, key: &str, body: &Value) -> Result<Receipt, Error> {
        self.0.keep(key, json!({"key": key, "message": body})).await
    }
}

/// A folder with one JSON file for each key.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    folder: PathBuf,
}

impl Sink {
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where the file of `key` is, whether it was written now or before.
    pub(crate) async fn keep(&self, key: &str, content: Value) -> Result<Receipt, Error> {
        let target = || format!("the folder {}", self.folder.display());
        let file = self.folder.join(format!("{}.json", keyed::name(key)));
        let path = file.clone();
        let work = tokio::task::spawn_blocking(move || write_once(&path, &content));
        match work.await.map_err(io::Error::other).flatten() {
            Ok(()) => {
                let id = file
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned())
                    .unwrap_or_default();
                let link = std::path::absolute(&file).unwrap_or(file).display().to_string();
                Ok(Receipt { id, link })
            }
            // Trying again is safe: the file is there or it is not.
            Err(error) => Err(Error::Unavailable { target: target(), reason: error.to_string() }),
        }
    }
}

/// Makes `path` with `content` unless it exists. Under its name there is never half a file.
fn write_once(path: &Path, content: &Value) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    let draft = Draft::write(folder, content)?;
    match fs::hard_link(&draft.path, path) {
        Ok(()) => {}
        // Somebody was faster: theirs is as good as ours.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        // File systems without links. Two writers of one key, if there are, replace each other's equal files.
        Err(_) => fs::rename(&draft.path, path)?,
    }
    File::open(folder)?.sync_all()
}

/// A complete, synced file under a name that nobody else uses. It is removed at the end.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn write(folder: &Path, content: &Value) -> io::Result<Self> {
        let (path, mut file) = Self::create(folder)?;
        let draft = Self { path };
        serde_json::to_writer_pretty(&mut file, content)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        Ok(draft)
    }
}

impl Draft {
    /// Another process may have our id, in another container, or have had it and died: its drafts are left alone.
    fn create(folder: &Path) -> io::Result<(PathBuf, File)> {
        let mut number = 0_u32;
        loop {
            let path = folder.join(format!(".draft-{}-{number}.tmp", std::process::id()));
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((path, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 10_000 => {
                    number += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests;
