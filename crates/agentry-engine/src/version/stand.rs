//! Standing at an earlier moment of a thread, of whichever version of the graph it was then.

use agentry_core::run::Seq;
use agentry_core::thread::{Line, Thread};
use agentry_core::threads::{CheckpointQuery, Error, Threads};
use agentry_core::{CheckpointId, ThreadId, Timestamp};
use serde_json::Value;

use super::carry::{Past, carry};
use super::shape;
use crate::machine::moved::{MIGRATED, MIGRATION, moved};
use crate::machine::{Home, LoadError, Machine, Record};
use crate::program::Program;

/// For reading alone: with the program, or with what the log says of itself.
pub(crate) fn load(
    program: Option<&Program>,
    home: Home,
    line: &Line,
    at: Option<CheckpointId>,
) -> Result<Machine, LoadError> {
    let load = |program: &Program, line: &Line| match at {
        Some(checkpoint) => Machine::load_at(program.clone(), home, line, checkpoint),
        None => Machine::load(program.clone(), home, Record::Nothing, line),
    };
    let with = program.map(|program| load(program, line));
    match with {
        Some(Ok(machine)) => Ok(machine),
        Some(Err(unreadable @ LoadError::Unreadable { .. })) => Err(unreadable),
        Some(Err(foreign)) => {
            let shaped = shape::of(line, "").and_then(|(shape, outer)| load(&shape, &outer));
            shaped.map_err(|_| foreign)
        }
        None => {
            let (shape, outer) = shape::of(line, "")?;
            load(&shape, &outer)
        }
    }
}

/// For going on from a checkpoint: a thread that was moved since is moved again.
pub(crate) async fn stand(
    archive: &dyn Threads,
    (thread, program): (&Thread, &Program),
    (home, line): (Home, &Line),
    (checkpoint, now): (CheckpointId, Timestamp),
) -> Result<Result<Machine, LoadError>, Error> {
    let version = version_at(archive, thread, line).await?;
    if version == program.version() {
        return Ok(Machine::load_at(program.clone(), home, line, checkpoint));
    }
    let past = Past { line, at: Some(checkpoint), version: &version, program: None, home };
    Ok(carry(&past, program, now).map(|carried| carried.machine).map_err(LoadError::Unfit))
}

/// What the thread ran on at the end of the line.
async fn version_at(archive: &dyn Threads, thread: &Thread, line: &Line) -> Result<String, Error> {
    if let Some((_, to)) = line.entries.iter().rev().find_map(moved) {
        return Ok(to);
    }
    let now = thread.program.as_ref().map(|pinned| pinned.version.clone()).unwrap_or_default();
    let end = line.entries.last().map(|entry| entry.seq);
    let end = end.or_else(|| line.snapshot.as_ref().map(|it| it.seq)).unwrap_or(Seq(0));
    // Of those that came later the first one says what it was before. A branch of its own may be of a later version than
    // that; its line would have said so.
    let moves = moves(archive, thread.id).await?;
    let next = moves.into_iter().filter(|it| it.seq > end).min_by_key(|it| it.seq);
    Ok(next.map_or(now, |next| next.from))
}

pub(super) struct Move {
    pub seq: Seq,
    pub from: String,
}

const MOVES_MAX: usize = 1_000;

/// How the thread came to its version, newest first.
pub(super) async fn moves(archive: &dyn Threads, thread: ThreadId) -> Result<Vec<Move>, Error> {
    let metadata = [(MIGRATED.to_owned(), Value::Bool(true))].into_iter().collect();
    let query = CheckpointQuery { metadata, max: MOVES_MAX, ..CheckpointQuery::default() };
    let found = archive.checkpoints(thread, query).await?.into_iter();
    let from = |value: &Value| value.get("from")?.as_str().map(str::to_owned);
    let moves = found.filter_map(|found| {
        let from = found.checkpoint.metadata.get(MIGRATION).and_then(from)?;
        Some(Move { seq: found.seq, from })
    });
    Ok(moves.collect())
}
