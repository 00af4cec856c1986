//! A file that grows by whole lines.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::Error;

/// Lines that wait for the disk beyond this many bytes are dropped.
const BUFFER_BYTES_MAX: usize = 8 << 20;

/// Appends whole lines, so that two processes of a service can share the file while one replaces the other.
pub(crate) struct Lines {
    path: PathBuf,
    file: File,
    buffer: Mutex<Vec<u8>>,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|source| Error::file("create", folder, source))?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|source| Error::file("open", path, source))?;
        Ok(Self { path: path.to_owned(), file, buffer: Mutex::default() })
    }

    pub(crate) fn push<T: Serialize>(&self, line: &T) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.len() + text.len() <= BUFFER_BYTES_MAX {
            buffer.append(&mut text);
        }
    }

    pub(crate) fn flush(&self) -> Result<(), Error> {
        let text = std::mem::take(&mut *self.buffer.lock().unwrap_or_else(PoisonError::into_inner));
        (&self.file).write_all(&text).map_err(|source| Error::file("append to", &self.path, source))
    }
}
