//! The file: who may open it, what is in it, and how an older one is brought forward.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentry_core::{Code, Failure, Fault, Retry};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// `AGRY`: tells our files from other programs' databases.
const APPLICATION: i32 = 0x4147_5259;
pub(super) const BUSY: Duration = Duration::from_secs(5);
const STATEMENTS_CACHED: usize = 256;

/// Each brings a file from the version of its index to the next one. They are never edited, only added to.
const MIGRATIONS: [&str; 10] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
    include_str!("schema/7.sql"),
    include_str!("schema/8.sql"),
    include_str!("schema/9.sql"),
    include_str!("schema/10.sql"),
];

/// Why a database file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{} is in use by process {holder}; stop that process or give this one another file",
        .path.display()
    )]
    InUse { path: PathBuf, holder: String },
    #[error("{} is locked by another program; close that program and try again", .path.display())]
    Locked { path: PathBuf },
    #[error("{} cannot be written; check the permissions of the file and its folder", .path.display())]
    ReadOnly { path: PathBuf },
    #[error("{} is not an Agentry database; name another file", .path.display())]
    Foreign { path: PathBuf },
    #[error(
        "{} was written by a newer Agentry (schema {found}, this one knows {known}); use the newer program",
        .path.display()
    )]
    Newer { path: PathBuf, found: i64, known: usize },
    #[error("{} cannot be opened: {reason}", .path.display())]
    Unusable { path: PathBuf, reason: String },
}

impl Failure for OpenError {
    fn code(&self) -> Code {
        match self {
            Self::InUse { .. } | Self::Locked { .. } => Code("storage_in_use"),
            Self::ReadOnly { .. } => Code("storage_read_only"),
            Self::Foreign { .. } | Self::Newer { .. } => Code("storage_incompatible"),
            Self::Unusable { .. } => Code("storage_unavailable"),
        }
    }

    fn fault(&self) -> Fault {
        Fault::Caller
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// Held as long as the store is open.
pub(super) struct Lock {
    _file: File,
}

/// Symbolic links must not lead to two locks for one file.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    let unusable = |reason: std::io::Error| OpenError::Unusable {
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    if path.is_dir() {
        let reason = "it is a folder".to_owned();
        return Err(OpenError::Unusable { path: path.to_owned(), reason });
    }
    if path.exists() {
        return path.canonicalize().map_err(unusable);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new(".")).canonicalize().map_err(unusable)?;
    Ok(folder.join(path.file_name().unwrap_or_default()))
}

pub(super) fn lock(path: &Path) -> Result<Lock, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let read_only = |problem: &std::io::Error| match problem.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly { path: path.to_owned() }
        }
        _ => OpenError::Unusable { path: path.to_owned(), reason: problem.to_string() },
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(PathBuf::from(name)).map_err(|problem| read_only(&problem))?;
    match file.try_lock() {
        Ok(()) => {
            let written = file
                .set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| write!(file, "{}", std::process::id()));
            written.map_err(|problem| read_only(&problem))?;
            Ok(Lock { _file: file })
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who it is only makes the message better.
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.is_empty() { "unknown".to_owned() } else { holder };
            Err(OpenError::InUse { path: path.to_owned(), holder })
        }
        Err(TryLockError::Error(problem)) => Err(read_only(&problem)),
    }
}

/// The one connection that writes and checkpoints, with the schema of today.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let prepare = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        configure(&connection)?;
        if connection.is_readonly("main")? {
            return Ok(Err(OpenError::ReadOnly { path: path.to_owned() }));
        }
        if let Err(refused) = recognise(&connection, path)? {
            return Ok(Err(refused));
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
        // Its room is given back when it was larger for a while.
        connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        migrate(&mut connection)?;
        Ok(Ok(connection))
    };
    prepare().map_err(|problem: rusqlite::Error| describe(path, &problem))?
}

pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // Else some statements are planned again whenever a value that they are given differs from the one before, in case
    // another index fits that one.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

pub(super) fn recognise(
    connection: &Connection,
    path: &Path,
) -> rusqlite::Result<Result<(), OpenError>> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && number("application_id")? != i64::from(APPLICATION) {
        return Ok(Err(OpenError::Foreign { path: path.to_owned() }));
    }
    let (found, known) = (number("user_version")?, MIGRATIONS.len());
    if usize::try_from(found).map_or(true, |found| found > known) {
        return Ok(Err(OpenError::Newer { path: path.to_owned(), found, known }));
    }
    Ok(Ok(()))
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(found).unwrap_or(0);
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

fn describe(path: &Path, problem: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match problem.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => OpenError::Foreign { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked { path },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => OpenError::ReadOnly { path },
        _ => OpenError::Unusable { path, reason: problem.to_string() },
    }
}
