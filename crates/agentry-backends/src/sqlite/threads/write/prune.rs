//! What is taken away from a thread's history.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agentry_core::run::Seq;
use agentry_core::thread::{Checkpoint, Line, RunStatus, Snapshot, States};
use agentry_core::threads::{From, Keep};
use agentry_core::{CheckpointId, RunId, ThreadId};
use rusqlite::{OptionalExtension as _, Result, params};

use super::super::codes::{self, IDLE, INTERRUPTED, READY, WAITING};
use super::super::command::Whole;
use super::super::read::line;
use super::{Work, unreadable, unwritable};

/// The shape of a thread's history: what each entry builds on, and which checkpoints it has.
struct Shape {
    parents: BTreeMap<i64, i64>,
    checkpoints: BTreeMap<i64, Vec<Checkpoint>>,
}

impl Shape {
    /// Of each namespace the newest checkpoint, and where it is.
    fn newest(&self) -> HashMap<&str, (i64, CheckpointId)> {
        let mut newest = HashMap::new();
        for (seq, checkpoints) in &self.checkpoints {
            for checkpoint in checkpoints {
                newest.insert(checkpoint.ns.as_str(), (*seq, checkpoint.id));
            }
        }
        newest
    }

    /// Entries without a checkpoint that build on one of `from`, directly or over others like them; and `from`.
    fn with_progress(&self, from: impl IntoIterator<Item = i64>) -> BTreeSet<i64> {
        let mut kept: BTreeSet<i64> = from.into_iter().collect();
        let mut builds = kept.clone();
        for (seq, parent) in &self.parents {
            if !self.checkpoints.contains_key(seq) && builds.contains(parent) {
                builds.insert(*seq);
                kept.insert(*seq);
            }
        }
        kept
    }
}

impl Work<'_> {
    pub(super) fn prune(&mut self, thread: ThreadId, keep: Keep) -> Result<u64> {
        let Some(row) = self.row(thread)? else { return Ok(0) };
        if row.worker.is_some() || [READY, WAITING].contains(&row.status) {
            return Ok(0);
        }
        let to_come = self.exists(
            "SELECT EXISTS (SELECT 1 FROM thread_runs WHERE thread = ?1 AND status < 2 AND status = 0)",
            [row.thread],
        )?;
        if to_come {
            return Ok(0);
        }
        self.fix_floor(row.thread)?;
        self.desk.drop_head(thread);
        match keep {
            Keep::Latest => self.keep_latest(row.thread),
            Keep::Nothing => self.keep_nothing(row.thread),
        }
    }

    /// The number of the last entry is known without it.
    fn fix_floor(&self, thread: i64) -> Result<()> {
        self.execute(
            "UPDATE threads SET updated = h.at, floor = h.seq
             FROM (SELECT seq, at FROM entries WHERE thread = ?1 ORDER BY seq DESC LIMIT 1) h
             WHERE thread = ?1 AND floor < h.seq",
            [thread],
        )
        .map(drop)
    }

    fn keep_nothing(&self, thread: i64) -> Result<u64> {
        self.execute(
            "INSERT INTO bygone (thread, fence, first, last)
             SELECT thread, fence, min(seq), max(seq) FROM entries WHERE thread = ?1 GROUP BY fence
             ON CONFLICT (thread, fence) DO UPDATE
               SET first = min(first, excluded.first), last = max(last, excluded.last)",
            [thread],
        )?;
        let removed = self.execute("DELETE FROM entries WHERE thread = ?1", [thread])?;
        for rest in [
            "DELETE FROM snapshots WHERE thread = ?1",
            "DELETE FROM blobs WHERE thread = ?1",
            "DELETE FROM checkpoints WHERE thread = ?1",
            "DELETE FROM authors WHERE thread = ?1",
            "DELETE FROM questions WHERE thread = ?1",
            "DELETE FROM effects WHERE thread = ?1",
            "UPDATE inbox SET consumed = 0, payload = '' WHERE thread = ?1 AND consumed IS NULL",
        ] {
            self.execute(rest, [thread])?;
        }
        self.rest(thread)?;
        Ok(removed as u64)
    }

    /// Nothing is left that it could wait for but a run that may begin later.
    fn rest(&self, thread: i64) -> Result<()> {
        self.execute(
            "UPDATE threads SET status = ?2, queued = 0, wake_at = (
               SELECT min(not_before) FROM thread_runs r
               WHERE r.thread = ?1 AND r.status < 2 AND r.status = 0
                 AND NOT EXISTS (SELECT 1 FROM thread_runs o
                                 WHERE o.thread = ?1 AND o.status < 2 AND o.status = 1))
             WHERE thread = ?1",
            [thread, IDLE],
        )
        .map(drop)
    }

    fn shape(&self, thread: i64) -> Result<Shape> {
        let mut shape = Shape { parents: BTreeMap::new(), checkpoints: BTreeMap::new() };
        let mut entries = self
            .connection
            .prepare_cached("SELECT seq, parent, checkpoints FROM entries WHERE thread = ?1")?;
        let mut entries = entries.query([thread])?;
        while let Some(row) = entries.next()? {
            let seq = row.get(0)?;
            shape.parents.insert(seq, row.get(1)?);
            if let Some(checkpoints) = row.get_ref(2)?.as_str_or_null()? {
                let checkpoints = serde_json::from_str(checkpoints).map_err(unreadable)?;
                shape.checkpoints.insert(seq, checkpoints);
            }
        }
        Ok(shape)
    }

    fn keep_latest(&mut self, thread: i64) -> Result<u64> {
        let shape = self.shape(thread)?;
        let newest = shape.newest();
        let mut kept = shape.with_progress(newest.values().map(|(seq, _)| *seq));
        kept.extend(shape.parents.keys().next_back());
        for seq in &kept {
            let parent = shape.parents.get(seq).copied().unwrap_or(0);
            if parent != 0 && !kept.contains(&parent) {
                self.cut(thread, *seq)?;
            }
        }
        let removed: Vec<i64> =
            shape.parents.keys().filter(|seq| !kept.contains(seq)).copied().collect();
        for seq in &removed {
            self.remove_entry(thread, *seq)?;
        }
        let newest: BTreeSet<CheckpointId> = newest.values().map(|(_, id)| *id).collect();
        for (seq, checkpoints) in &shape.checkpoints {
            let left: Vec<&Checkpoint> =
                checkpoints.iter().filter(|it| newest.contains(&it.id)).collect();
            if kept.contains(seq) && left.len() < checkpoints.len() {
                self.set_checkpoints(thread, *seq, &left)?;
            }
        }
        self.drop_blobs(thread, "SELECT digest FROM blobs WHERE thread = ?1")?;
        Ok(removed.len() as u64)
    }

    /// What it builds on goes: its whole state is stored with it.
    fn cut(&self, thread: i64, seq: i64) -> Result<()> {
        let known = self.exists(
            "SELECT EXISTS (SELECT 1 FROM snapshots WHERE thread = ?1 AND seq = ?2)",
            [thread, seq],
        )?;
        if !known {
            let number = u64::try_from(seq).unwrap_or(0);
            let Line { snapshot, entries } =
                line::line(self.connection, thread, Seq(number), From::Snapshot)?;
            let mut states: States = snapshot.map(|it| it.states).unwrap_or_default();
            let body = entries.last().map(|entry| entry.body.clone()).unwrap_or_default();
            for write in entries.into_iter().flat_map(|entry| entry.writes) {
                write.delta.apply(states.entry(write.ns).or_default(), write.channel);
            }
            let folded = Snapshot { seq: Seq(number), states, body };
            let whole = Whole::new(&folded)
                .map_err(|problem| rusqlite::Error::ToSqlConversionFailure(Box::new(problem)))?;
            self.keep_snapshot(thread, &whole)?;
        }
        self.execute("UPDATE snapshots SET kept = 1 WHERE thread = ?1 AND seq = ?2", [thread, seq])
            .map(drop)
    }

    fn remove_entry(&self, thread: i64, seq: i64) -> Result<()> {
        self.execute(
            "INSERT INTO bygone (thread, fence, first, last)
             SELECT thread, fence, seq, seq FROM entries WHERE thread = ?1 AND seq = ?2
             ON CONFLICT (thread, fence) DO UPDATE
               SET first = min(first, excluded.first), last = max(last, excluded.last)",
            [thread, seq],
        )?;
        for rest in [
            "DELETE FROM entries WHERE thread = ?1 AND seq = ?2",
            "DELETE FROM snapshots WHERE thread = ?1 AND seq = ?2",
        ] {
            self.execute(rest, [thread, seq])?;
        }
        self.set_checkpoints(thread, seq, &[])
    }

    fn set_checkpoints(&self, thread: i64, seq: i64, left: &[&Checkpoint]) -> Result<()> {
        let text = serde_json::to_string(left).map_err(unwritable)?;
        self.execute("DELETE FROM checkpoints WHERE thread = ?1 AND seq = ?2", [thread, seq])?;
        let mut marks = left.iter().map(|it| it.id);
        let first = marks.next();
        self.execute(
            "UPDATE entries SET checkpoint = ?3, checkpoints = ?4 WHERE thread = ?1 AND seq = ?2",
            params![
                thread,
                seq,
                first.as_ref().map(|mark| mark.as_bytes().as_slice()),
                first.map(|_| text)
            ],
        )?;
        for mark in marks {
            self.execute(
                "INSERT INTO checkpoints (thread, id, seq) VALUES (?1, ?2, ?3)",
                params![thread, mark.as_bytes(), seq],
            )?;
        }
        Ok(())
    }

    pub(super) fn delete_run(&mut self, run: RunId) -> Result<bool> {
        let known: Option<(i64, i64, i64)> = self
            .connection
            .prepare_cached("SELECT run, thread, status FROM thread_runs WHERE id = ?1")?
            .query_row([run.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let (threads, number) = match known {
            Some((_, _, status)) if !codes::to_run_status(status).is_over() => return Ok(false),
            Some((number, thread, _)) => (vec![thread], Some(number)),
            None => (self.threads_of(run)?, None),
        };
        for thread in &threads {
            self.fix_floor(*thread)?;
            self.stop_waiting(*thread, run)?;
            self.forget_entries(*thread, run)?;
            self.execute(
                "DELETE FROM questions WHERE thread = ?1 AND run = ?2",
                params![thread, run.as_bytes()],
            )?;
        }
        if let Some(number) = number {
            self.execute("DELETE FROM thread_runs WHERE run = ?1", [number])?;
        }
        self.desk.drop_heads();
        Ok(number.is_some() || !threads.is_empty())
    }

    fn threads_of(&self, run: RunId) -> Result<Vec<i64>> {
        let mut threads =
            self.connection.prepare_cached("SELECT thread FROM authors WHERE run = ?1")?;
        let threads = threads.query_map([run.as_bytes()], |row| row.get(0))?;
        threads.collect()
    }

    /// A thread that waits for a person in this run waits no more.
    fn stop_waiting(&self, thread: i64, run: RunId) -> Result<()> {
        let waits = self.exists(
            "SELECT EXISTS (SELECT 1 FROM threads WHERE thread = ?1 AND status = ?2)
               AND coalesce((SELECT id = ?3 AND status = ?4 FROM thread_runs
                             WHERE thread = ?1 AND base IS NOT NULL
                             ORDER BY base DESC, run DESC LIMIT 1), 0)",
            params![thread, INTERRUPTED, run.as_bytes(), codes::run_status(RunStatus::Interrupted)],
        )?;
        if waits { self.rest(thread) } else { Ok(()) }
    }

    /// Those that others build on stay, without their checkpoints: also the head of a thread that a worker has, and one that stands
    /// for what was before it.
    fn forget_entries(&self, thread: i64, run: RunId) -> Result<()> {
        let shape = self.shape(thread)?;
        let mut found = self.connection.prepare_cached(
            "SELECT seq FROM entries WHERE thread = ?1 AND run = ?2 ORDER BY seq DESC",
        )?;
        let found = found.query_map(params![thread, run.as_bytes()], |row| row.get(0))?;
        let found = found.collect::<Result<Vec<i64>>>()?;
        let mut children: HashMap<i64, usize> = HashMap::new();
        for parent in shape.parents.values() {
            *children.entry(*parent).or_default() += 1;
        }
        let is_held = self.exists(
            "SELECT EXISTS (SELECT 1 FROM threads WHERE thread = ?1 AND worker IS NOT NULL)",
            [thread],
        )?;
        let held = shape.parents.keys().next_back().copied().filter(|_| is_held);
        let is_cut = |seq: &i64| {
            let parent = shape.parents.get(seq).copied().unwrap_or(0);
            parent != 0 && !shape.parents.contains_key(&parent)
        };
        let mut all = true;
        for seq in found {
            let builds = children.get(&seq).copied().unwrap_or(0) > 0;
            if builds || held == Some(seq) || is_cut(&seq) {
                all = false;
                self.set_checkpoints(thread, seq, &[])?;
                continue;
            }
            self.remove_entry(thread, seq)?;
            if let Some(parent) = shape.parents.get(&seq)
                && let Some(count) = children.get_mut(parent)
            {
                *count -= 1;
            }
        }
        if all {
            self.execute(
                "DELETE FROM authors WHERE run = ?1 AND thread = ?2",
                params![run.as_bytes(), thread],
            )?;
        }
        self.drop_blobs(thread, "SELECT digest FROM blobs WHERE thread = ?1")
    }
}
