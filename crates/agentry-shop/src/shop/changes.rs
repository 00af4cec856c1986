//! The record of what was changed.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::clock;
use crate::{Error, Service};

pub(super) struct Changes {
    path: PathBuf,
    file: File,
}

pub(super) struct Event<'a> {
    pub(super) service: Service,
    pub(super) kind: &'static str,
    pub(super) summary: String,
    pub(super) revision: &'a str,
    pub(super) previous: &'a str,
}

impl Changes {
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let folder = folder.join("changes");
        std::fs::create_dir_all(&folder)
            .map_err(|source| Error::file("create", &folder, source))?;
        let path = folder.join("changes.jsonl");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|source| Error::file("open", &path, source))?;
        Ok(Self { path, file })
    }

    pub(super) fn append(&self, event: Event<'_>) -> Result<(), Error> {
        let Event { service, kind, summary, revision, previous } = event;
        let line = json!({
            "timestamp": clock::rfc3339(clock::now()),
            "service": service,
            "kind": kind,
            "summary": summary,
            "revision": revision,
            "previous": previous,
        });
        (&self.file)
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|source| Error::file("append to", &self.path, source))
    }
}
