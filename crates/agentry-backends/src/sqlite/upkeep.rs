//! Copies of the file while it is in use, and whether all in it fits together.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use agentry_core::audit::Verifier;
use agentry_core::{Code, Failure, Fault, Retry, ThreadId};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Result, params};

use super::SqliteStore;
use super::schema::{OpenError, open_reader, recognise};
use crate::large::digests;

/// More of one kind are not told one by one.
const TOLD_MAX: i64 = 20;

#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    #[error("{} is not there; name the file of a database", .0.display())]
    Missing(PathBuf),
    #[error("{} is there already; name another file", .0.display())]
    Exists(PathBuf),
    #[error(transparent)]
    Unknown(#[from] OpenError),
    #[error("{}: {reason}", .path.display())]
    Failed { path: PathBuf, reason: String },
    #[error("the copy is damaged and was removed: {0}")]
    Damaged(String),
}

impl Failure for UpkeepError {
    fn code(&self) -> Code {
        match self {
            Self::Unknown(problem) => problem.code(),
            Self::Missing(_) | Self::Exists(_) | Self::Failed { .. } | Self::Damaged(_) => {
                Code("storage_unavailable")
            }
        }
    }

    fn fault(&self) -> Fault {
        Fault::Caller
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl SqliteStore {
    /// Writes a copy of what is stored now to a new file. Nobody waits for it.
    pub async fn back_up(&self, to: impl Into<PathBuf>) -> Result<u64, UpkeepError> {
        let (from, to) = (self.readers.path().to_owned(), to.into());
        let copying = {
            let to = to.clone();
            tokio::task::spawn_blocking(move || back_up(&from, &to))
        };
        copying.await.map_err(|lost| UpkeepError::Failed { path: to, reason: lost.to_string() })?
    }
}

/// Writes a copy of a database, also of one that another process uses, to a new file; answers how many bytes it has.
///
/// It reads one state of the database from beginning to end, as any reader does, so nobody waits for it; only the
/// write-ahead log is not emptied as long. The copy has its name when it is whole, checked and on the disk.
pub fn back_up(from: &Path, to: &Path) -> Result<u64, UpkeepError> {
    let connection = open(from)?;
    if to.exists() {
        return Err(UpkeepError::Exists(to.to_owned()));
    }
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let failed = |reason: String| UpkeepError::Failed { path: part.clone(), reason };
    // What is left of a copy that was broken off.
    if part.exists() {
        fs::remove_file(&part).map_err(|problem| failed(problem.to_string()))?;
    }
    let name = part.to_str().ok_or_else(|| failed("its name is not Unicode".to_owned()))?;
    let copied = connection.execute("VACUUM INTO ?1", [name]);
    copied.map_err(|problem| failed(problem.to_string()))?;
    let problems = check(&part)?;
    if let Some(problem) = problems.into_iter().next() {
        let _ = fs::remove_file(&part);
        return Err(UpkeepError::Damaged(problem));
    }
    let finish = || {
        let file = File::open(&part)?;
        file.sync_all()?;
        fs::rename(&part, to)?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
        Ok(file.metadata()?.len())
    };
    finish().map_err(|problem: std::io::Error| failed(problem.to_string()))
}

/// What is wrong with a database, also with one that another process uses: nothing, if all is well.
pub fn check(path: &Path) -> Result<Vec<String>, UpkeepError> {
    let connection = open(path)?;
    let look = || {
        let transaction = connection.unchecked_transaction()?;
        let mut problems = pages(&transaction)?;
        for (what, sql) in RULES {
            problems.extend(broken(&transaction, what, sql)?);
        }
        problems.extend(blobs(&transaction)?);
        problems.extend(audit(&transaction)?);
        Ok(problems)
    };
    look().map_err(|problem: rusqlite::Error| UpkeepError::Failed {
        path: path.to_owned(),
        reason: problem.to_string(),
    })
}

fn open(path: &Path) -> Result<Connection, UpkeepError> {
    if !path.is_file() {
        return Err(UpkeepError::Missing(path.to_owned()));
    }
    let failed = |problem: rusqlite::Error| UpkeepError::Failed {
        path: path.to_owned(),
        reason: problem.to_string(),
    };
    let connection = open_reader(path).map_err(failed)?;
    recognise(&connection, path).map_err(failed)??;
    Ok(connection)
}

fn pages(connection: &Connection) -> Result<Vec<String>> {
    let mut found = connection.prepare("PRAGMA integrity_check(20)")?;
    let found = found.query_map([], |row| row.get::<_, String>(0))?;
    let found: Vec<_> = found.collect::<Result<_>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

/// What must not be there; each finds the id of a thread and a number.
const RULES: [(&str, &str); 6] = [
    (
        "builds on an entry that is not there",
        "SELECT t.id, e.seq FROM entries e JOIN threads t USING (thread)
         WHERE e.parent <> 0
           AND NOT EXISTS (SELECT 1 FROM entries p WHERE p.thread = e.thread AND p.seq = e.parent)
           AND NOT EXISTS (SELECT 1 FROM snapshots s WHERE s.thread = e.thread AND s.seq = e.seq)",
    ),
    (
        "builds on a later entry",
        "SELECT t.id, e.seq FROM entries e JOIN threads t USING (thread) WHERE e.parent >= e.seq",
    ),
    (
        "belongs to no thread",
        "SELECT zeroblob(16), e.seq FROM entries e
         WHERE e.thread NOT IN (SELECT thread FROM threads UNION SELECT thread FROM leftovers)",
    ),
    (
        "is not readable",
        "SELECT t.id, e.seq FROM entries e JOIN threads t USING (thread)
         WHERE NOT json_valid(e.body) OR (e.holes IS NULL AND NOT json_valid(e.writes))
            OR NOT json_valid(coalesce(e.events, '[]')) OR NOT json_valid(coalesce(e.checkpoints, '[]'))",
    ),
    (
        "is a checkpoint of another entry",
        "SELECT t.id, c.seq FROM checkpoints c JOIN threads t USING (thread)
         WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE e.thread = c.thread AND e.seq = c.seq)",
    ),
    (
        "is where a run began and was never reached",
        "SELECT t.id, r.base FROM thread_runs r JOIN threads t USING (thread)
         WHERE r.base > max(t.floor, coalesce(
           (SELECT max(seq) FROM entries e WHERE e.thread = t.thread), 0))",
    ),
];

fn broken(connection: &Connection, what: &str, sql: &str) -> Result<Vec<String>> {
    let mut found = connection.prepare(&format!("{sql} LIMIT {TOLD_MAX}"))?;
    let found = found.query_map([], |row| {
        let (thread, seq): ([u8; 16], i64) = (row.get(0)?, row.get(1)?);
        Ok(format!("entry {seq} of thread {} {what}", ThreadId::from_bytes(thread)))
    })?;
    found.collect()
}

fn blobs(connection: &Connection) -> Result<Vec<String>> {
    let mut named = connection.prepare(
        "SELECT t.id, t.thread, seq, holes FROM entries JOIN threads t USING (thread)
         WHERE holes IS NOT NULL
         UNION ALL SELECT t.id, t.thread, seq, holes FROM snapshots JOIN threads t USING (thread)
         WHERE holes IS NOT NULL",
    )?;
    let mut named = named.query([])?;
    let mut problems = Vec::new();
    while let Some(row) = named.next()?
        && problems.len() < TOLD_MAX as usize
    {
        let ValueRef::Blob(holes) = row.get_ref(3)? else { continue };
        let (id, thread, seq): ([u8; 16], i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        for digest in digests(holes) {
            let there = connection
                .prepare_cached("SELECT 1 FROM blobs WHERE thread = ?1 AND digest = ?2")?
                .query_row(params![thread, digest], |_| Ok(()))
                .optional()?;
            if there.is_none() {
                let thread = ThreadId::from_bytes(id);
                problems
                    .push(format!("a large value of entry {seq} of thread {thread} is missing"));
            }
        }
    }
    Ok(problems)
}

fn audit(connection: &Connection) -> Result<Option<String>> {
    let mut verifier = Verifier::default();
    let mut after = 0;
    loop {
        let page = super::read::audit(connection, after, 1_000)?;
        let Some(last) = page.last() else { return Ok(None) };
        after = last.number;
        for record in &page {
            if let Err(broken) = verifier.check(record) {
                return Ok(Some(format!("audit log: {broken}")));
            }
        }
    }
}

#[cfg(test)]
mod tests;
