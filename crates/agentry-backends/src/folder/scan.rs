//! Lines of the files of one kind, within bounds.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// How much of a folder one query reads at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of each file, counted from its end.
    pub file_bytes_max: u64,
    /// Of all files together; those changed last are read first.
    pub total_bytes_max: u64,
    pub files_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes_max: 64 << 20, total_bytes_max: 512 << 20, files_max: 1000 }
    }
}

/// A line and where it stands.
pub(super) struct Line<'a> {
    pub(super) bytes: &'a [u8],
    /// The file's name without its extensions.
    pub(super) stem: &'a str,
    file: &'a str,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    /// Counts from 1.
    Number(u64),
    /// In a file that was read from the middle: the first byte.
    Offset(u64),
}

impl Line<'_> {
    /// `file:line`, or `file@byte` where the lines before were not read.
    pub(super) fn handle(&self) -> String {
        match self.place {
            Place::Number(number) => format!("{}:{number}", self.file),
            Place::Offset(offset) => format!("{}@{offset}", self.file),
        }
    }
}

/// The line is not what its file should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// What was left out of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Scanned {
    pub(super) truncated: bool,
    pub(super) skipped: u64,
}

pub(super) struct Scanner {
    root: PathBuf,
    kind: &'static str,
    limits: Limits,
}

impl Scanner {
    pub(super) fn new(root: PathBuf, kind: &'static str, limits: Limits) -> Self {
        Self { root, kind, limits }
    }

    /// Shows every line to `visit`. Files are visited by name, so that the result does not depend on chance.
    pub(super) fn each_line(
        &self,
        mut visit: impl FnMut(&Line<'_>) -> Result<(), Broken>,
    ) -> io::Result<Scanned> {
        let (files, mut scanned) = self.files()?;
        for (path, bytes_max) in files {
            let name =
                path.strip_prefix(&self.root).unwrap_or(&path).to_string_lossy().into_owned();
            // Rotated away since the listing, or not ours to read: the others still count.
            let Ok((bytes, start)) = tail(&path, bytes_max) else {
                scanned.truncated = true;
                continue;
            };
            scanned.truncated |= start > 0;
            scanned.skipped += lines(&bytes, start, &name, &mut visit);
        }
        Ok(scanned)
    }

    /// The files to read, each with how much of it.
    fn files(&self) -> io::Result<(Vec<(PathBuf, u64)>, Scanned)> {
        // A missing root is an error, a missing sub-folder is not.
        std::fs::read_dir(&self.root)?;
        let own = self.root.join(self.kind);
        let folder = if own.is_dir() { own } else { self.root.clone() };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if let Ok(about) = std::fs::metadata(&path)
                && about.is_file()
                && is_lines(&path)
            {
                files.push((about.modified().ok(), about.len(), path));
            }
        }
        files.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.2.cmp(&right.2)));
        let mut scanned = Scanned { truncated: files.len() > self.limits.files_max, skipped: 0 };
        files.truncate(self.limits.files_max);

        let mut left = self.limits.total_bytes_max;
        let mut chosen = Vec::new();
        for (_, length, path) in files {
            // The room, not the length: the file may have grown by the time it is read.
            let room = self.limits.file_bytes_max.min(left);
            scanned.truncated |= room < length;
            left -= room.min(length);
            if room > 0 {
                chosen.push((path, room));
            }
        }
        chosen.sort();
        Ok((chosen, scanned))
    }
}

/// Also `app.log.1`, not `app.log.gz`.
fn is_lines(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let mut extensions = name.split('.').skip(1).collect::<Vec<_>>();
    extensions.retain(|part| !part.bytes().all(|byte| byte.is_ascii_digit()));
    extensions.last().is_some_and(|last| ["jsonl", "ndjson", "json", "log", "txt"].contains(last))
}

/// The last `bytes_max` bytes, without the piece of a line they begin with; and where they start in the file.
fn tail(path: &Path, bytes_max: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(bytes_max);
    // One byte more tells whether a line begins exactly here.
    let from = start.saturating_sub(1);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::with_capacity(usize::try_from(length - from).unwrap_or(0));
    file.take(length - from).read_to_end(&mut bytes)?;
    if start == 0 {
        return Ok((bytes, 0));
    }
    let cut = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
    bytes.drain(..cut);
    Ok((bytes, from + cut as u64))
}

/// Visits the lines and returns how many were broken. The last one does not count when it is still being written.
fn lines(
    bytes: &[u8],
    start: u64,
    file: &str,
    visit: &mut impl FnMut(&Line<'_>) -> Result<(), Broken>,
) -> u64 {
    let base = file.rsplit('/').next().unwrap_or(file);
    let stem = base.split('.').next().unwrap_or(base);
    let mut broken = 0;
    let mut offset = start;
    for (number, text) in (1..).zip(bytes.split_inclusive(|&byte| byte == b'\n')) {
        let place = if start == 0 { Place::Number(number) } else { Place::Offset(offset) };
        offset += text.len() as u64;
        let whole = text.ends_with(b"\n");
        let text = text.trim_ascii();
        if !text.is_empty() && visit(&Line { bytes: text, stem, file, place }).is_err() && whole {
            broken += 1;
        }
    }
    broken
}
