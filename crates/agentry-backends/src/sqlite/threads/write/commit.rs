//! Commits and remembered effects: the way that every step takes.

use std::collections::HashSet;

use agentry_core::ThreadId;
use agentry_core::run::{Closing, Committed, Fence};
use agentry_core::thread::{Checkpoint, EPHEMERAL_KEPT_FOR, Next, Rest, RunChange};
use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension as _, Result, params};

use super::super::super::command::signed;
use super::super::super::read::parse;
use super::super::codes::{self, READY};
use super::super::command::{Decision, Opened, Threaded, Whole};
use super::super::desk::Head;
use super::{Row, Work, micros};
use crate::large::{self, Hole};

impl Work<'_> {
    pub(super) fn commit(&mut self, decision: &Decision) -> Result<Threaded> {
        let Some(head) = self.head(decision.thread)? else {
            return Ok(Threaded::Committed(Committed::Fenced));
        };
        if let Some(refused) = self.refuses(&head, decision)? {
            return Ok(refused);
        }
        self.insert(&head, decision)?;
        let mut head =
            Head { seq: decision.seq, kept: true, author: decision.run.or(head.author), ..head };
        if decision.is_plain() {
            self.desk.remember(decision.thread, head);
            let Head { cancel, inbox, .. } = head;
            return Ok(Threaded::Committed(Committed::Applied { cancel, inbox }));
        }
        self.change(head.thread, decision)?;
        self.chain.link(self.connection, &decision.audit)?;
        let again = self.go_on(&head, decision)?;
        let news = self.news(head.thread, decision.at)?;
        (head.cancel, head.inbox) = (news.cancel, news.message || news.answer);
        match decision.next {
            Next::Running => self.desk.remember(decision.thread, head),
            Next::Rest { .. } => self.desk.drop_head(decision.thread),
        }
        let inbox = head.inbox || again;
        Ok(Threaded::Committed(Committed::Applied { cancel: head.cancel, inbox }))
    }

    fn refuses(&self, head: &Head, decision: &Decision) -> Result<Option<Threaded>> {
        let Decision { seq, parent, fence, .. } = decision;
        if *seq <= head.seq {
            let same = self.exists(
                "SELECT EXISTS (SELECT 1 FROM entries WHERE thread = ?1 AND seq = ?2 AND fence = ?3)
                   OR EXISTS (SELECT 1 FROM bygone WHERE thread = ?1 AND fence = ?3
                                AND ?2 BETWEEN first AND last)",
                params![head.thread, seq, fence],
            )?;
            if same {
                return Ok(Some(Threaded::Committed(Committed::Duplicate)));
            }
        }
        if !head.held || head.fence != *fence {
            return Ok(Some(Threaded::Committed(Committed::Fenced)));
        }
        let closed = decision.closed.iter().filter_map(|(id, closing)| match closing {
            Closing::Answered | Closing::Withdrawn => None,
            Closing::Expired | Closing::Replaced => Some(id),
        });
        for id in closed.chain(decision.postponed.iter().map(|(id, _)| id)) {
            let answered = self.exists(
                "SELECT EXISTS (SELECT 1 FROM questions WHERE thread = ?1 AND id = ?2
                   AND closing IS NULL AND answer IS NOT NULL)",
                params![head.thread, id],
            )?;
            if answered {
                return Ok(Some(Threaded::Committed(Committed::Stale)));
            }
        }
        if *seq != head.seq + 1 {
            return Ok(Some(Threaded::Committed(Committed::Stale)));
        }
        let known = *parent == 0
            || (*parent == head.seq && head.kept)
            || self.exists(
                "SELECT EXISTS (SELECT 1 FROM entries WHERE thread = ?1 AND seq = ?2)",
                params![head.thread, parent],
            )?;
        if !known {
            return Ok(Some(Threaded::Refused(format!("the thread has no entry {parent}"))));
        }
        for RunChange { run, .. } in &decision.runs {
            let known = self.exists(
                "SELECT EXISTS (SELECT 1 FROM thread_runs WHERE id = ?1 AND thread = ?2)",
                params![run.as_bytes(), head.thread],
            )?;
            if !known {
                return Ok(Some(Threaded::Refused(format!("the thread has no run {run}"))));
            }
        }
        Ok(None)
    }

    fn insert(&self, head: &Head, decision: &Decision) -> Result<()> {
        let thread = head.thread;
        let run = decision.run.as_ref().map(|run| run.as_bytes().as_slice());
        let mut marks = decision.marks.iter();
        let first = marks.next().map(|mark| mark.as_bytes().as_slice());
        self.execute(
            "INSERT INTO entries (thread, seq, parent, fence, at, run, checkpoint, checkpoints,
               events, holes, body, writes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                thread,
                decision.seq,
                decision.parent,
                decision.fence,
                decision.at,
                run,
                first,
                decision.checkpoints,
                decision.events,
                decision.writes.holes(),
                decision.body,
                decision.writes.text
            ],
        )?;
        for mark in marks {
            self.execute(
                "INSERT OR REPLACE INTO checkpoints (thread, id, seq) VALUES (?1, ?2, ?3)",
                params![thread, mark.as_bytes(), decision.seq],
            )?;
        }
        if decision.run != head.author
            && let Some(run) = decision.run
        {
            self.execute(
                "INSERT OR IGNORE INTO authors (run, thread) VALUES (?1, ?2)",
                params![run.as_bytes(), thread],
            )?;
        }
        for Hole { digest, value, .. } in &decision.writes.holes {
            self.execute(
                "INSERT INTO blobs (thread, digest, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT (thread, digest) DO UPDATE SET derived = 0 WHERE derived = 1",
                params![thread, digest, value],
            )?;
        }
        if let Some(snapshot) = &decision.snapshot {
            self.snapshot(thread, snapshot)?;
        }
        Ok(())
    }

    /// Of each line only the newest one stays, beside those that cannot be made again and those that pruning would keep.
    fn snapshot(&self, thread: i64, snapshot: &Whole) -> Result<()> {
        self.keep_snapshot(thread, snapshot)?;
        let mut older = self.connection.prepare_cached(
            "SELECT seq FROM snapshots WHERE thread = ?1 AND seq < ?2 AND kept = 0 AND seq >= coalesce(
               (SELECT max(seq) FROM entries WHERE thread = ?1 AND seq <= ?2 AND parent <> seq - 1), 0)",
        )?;
        let older = older.query_map(params![thread, snapshot.seq], |row| row.get(0))?;
        let mut removed = false;
        for seq in older.collect::<Result<Vec<i64>>>()? {
            if !self.has_newest_checkpoint(thread, seq)? {
                self.execute(
                    "DELETE FROM snapshots WHERE thread = ?1 AND seq = ?2",
                    [thread, seq],
                )?;
                removed = true;
            }
        }
        let derived = "SELECT EXISTS (SELECT 1 FROM blobs WHERE thread = ?1 AND derived = 1)";
        if removed && self.exists(derived, [thread])? {
            self.drop_blobs(thread, "SELECT digest FROM blobs WHERE thread = ?1 AND derived = 1")?;
        }
        Ok(())
    }

    /// Whether a checkpoint of this entry may be the newest of its namespace. Only so many entries are looked through: one
    /// snapshot too many does no harm.
    fn has_newest_checkpoint(&self, thread: i64, seq: i64) -> Result<bool> {
        const LOOKED_AT: i64 = 256;
        let mut found = self.connection.prepare_cached(
            "SELECT checkpoints, seq = ?2 FROM entries WHERE thread = ?1 AND seq >= ?2
               AND checkpoints IS NOT NULL ORDER BY seq LIMIT ?3",
        )?;
        let mut found = found.query([thread, seq, LOOKED_AT])?;
        let mut open: Option<HashSet<String>> = None;
        while let Some(row) = found.next()? {
            let checkpoints: Vec<Checkpoint> = parse(row, 0)?;
            let namespaces = checkpoints.into_iter().map(|checkpoint| checkpoint.ns);
            match &mut open {
                None if row.get(1)? => open = Some(namespaces.collect()),
                None => return Ok(false),
                Some(open) => {
                    for ns in namespaces {
                        open.remove(&ns);
                    }
                    if open.is_empty() {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(open.is_some())
    }

    pub(super) fn keep_snapshot(&self, thread: i64, snapshot: &Whole) -> Result<()> {
        let known = "SELECT EXISTS (SELECT 1 FROM blobs WHERE thread = ?1 AND digest = ?2)";
        for Hole { digest, value, .. } in &snapshot.states.holes {
            if !self.exists(known, params![thread, digest])? {
                self.execute(
                    "INSERT INTO blobs (thread, digest, derived, value) VALUES (?1, ?2, 1, ?3)",
                    params![thread, digest, value],
                )?;
            }
        }
        let states = &snapshot.states;
        self.execute(
            "INSERT INTO snapshots (thread, seq, holes, body, states) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (thread, seq) DO UPDATE
               SET holes = excluded.holes, body = excluded.body, states = excluded.states",
            params![thread, snapshot.seq, states.holes(), snapshot.body, states.text],
        )
        .map(drop)
    }

    /// Of the blobs that `candidates` finds, removes those that neither an entry nor a snapshot names.
    pub(super) fn drop_blobs(&self, thread: i64, candidates: &str) -> Result<()> {
        let mut found = self.connection.prepare_cached(candidates)?;
        let found = found.query_map([thread], |row| row.get::<_, Vec<u8>>(0))?;
        let mut unnamed: HashSet<Vec<u8>> = found.collect::<Result<_>>()?;
        let mut named = self.connection.prepare_cached(
            "SELECT holes FROM entries WHERE thread = ?1 AND holes IS NOT NULL
             UNION ALL SELECT holes FROM snapshots WHERE thread = ?1 AND holes IS NOT NULL",
        )?;
        let mut named = named.query([thread])?;
        while let Some(row) = named.next()? {
            if let ValueRef::Blob(holes) = row.get_ref(0)? {
                for digest in large::digests(holes) {
                    unnamed.remove(digest);
                }
            }
        }
        for digest in unnamed {
            self.execute(
                "DELETE FROM blobs WHERE thread = ?1 AND digest = ?2",
                params![thread, digest],
            )?;
        }
        Ok(())
    }

    /// What a commit changes beside its entry.
    fn change(&self, thread: i64, decision: &Decision) -> Result<()> {
        for RunChange { run, status, base, reason } in &decision.runs {
            self.execute(
                "UPDATE thread_runs SET status = ?2, base = coalesce(?3, base), reason = ?4,
                   updated = ?5 WHERE id = ?1",
                params![
                    run.as_bytes(),
                    codes::run_status(*status),
                    base.map(|base| signed(base.0)),
                    reason,
                    decision.at
                ],
            )?;
        }
        for (id, closing) in &decision.closed {
            self.execute(
                "UPDATE questions SET closing = ?3
                 WHERE thread = ?1 AND id = ?2 AND closing IS NULL",
                params![thread, id, codes::closing(*closing)],
            )?;
        }
        for (id, deadline) in &decision.postponed {
            self.execute(
                "UPDATE questions SET deadline = ?3, escalations = escalations + 1
                 WHERE thread = ?1 AND id = ?2 AND closing IS NULL",
                params![thread, id, micros(*deadline)],
            )?;
        }
        for opened in &decision.opened {
            self.open(thread, opened)?;
        }
        // The id stays, so that the message is known when it comes again.
        for id in &decision.consumed {
            self.execute(
                "UPDATE inbox SET consumed = ?3, payload = ''
                 WHERE thread = ?1 AND id = ?2 AND consumed IS NULL",
                params![thread, id, decision.seq],
            )?;
        }
        for key in &decision.forgotten {
            self.execute(
                "DELETE FROM effects WHERE thread = ?1 AND key = ?2",
                params![thread, key],
            )?;
        }
        Ok(())
    }

    fn open(&self, thread: i64, opened: &Opened) -> Result<()> {
        let Opened { interrupt, question, schema, on_timeout, answer } = opened;
        self.execute(
            "DELETE FROM questions WHERE thread = ?1 AND id = ?2",
            params![thread, interrupt.id],
        )?;
        self.execute(
            "INSERT INTO questions (thread, id, run, ns, node, asked, schema, opened, deadline,
               on_timeout, escalations, answer)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                thread,
                interrupt.id,
                interrupt.run.as_bytes(),
                interrupt.ns,
                interrupt.node,
                question,
                schema,
                interrupt.opened.as_micros(),
                micros(interrupt.deadline),
                on_timeout,
                interrupt.escalations,
                answer
            ],
        )
        .map(drop)
    }

    /// Whether the thread was to rest and is ready.
    fn go_on(&mut self, head: &Head, decision: &Decision) -> Result<bool> {
        let Some(mut row) = self.row(decision.thread)? else { return Ok(false) };
        let before = (row.program, row.priority);
        if let Some(program) = &decision.program {
            let program = self.desk.program(self.connection, program)?;
            self.execute(
                "UPDATE thread_runs SET program = ?2 WHERE thread = ?1 AND status <= 2",
                [row.thread, program],
            )?;
            row.program = Some(program);
        }
        self.follow_runs(&mut row)?;
        let Next::Rest { status, wake_at } = decision.next else {
            if before != (row.program, row.priority) {
                self.save(&row)?;
            }
            return Ok(false);
        };
        let news = self.news(head.thread, decision.at)?;
        let listens = match status {
            Rest::Waiting | Rest::Interrupted => true,
            Rest::Idle | Rest::Failed => false,
        };
        let wanted = news.answer || news.cancel || news.due || (listens && news.message);
        row.worker = None;
        row.queued = wanted;
        if wanted {
            (row.status, row.wake_at, row.since) = (READY, None, decision.at);
        } else {
            row.status = codes::rest(status);
            row.wake_at = micros(wake_at).into_iter().chain(news.later).min();
        }
        self.save(&row)?;
        self.settle(&row, decision)?;
        Ok(wanted)
    }

    fn settle(&self, row: &Row, decision: &Decision) -> Result<()> {
        let over = self.exists(
            "SELECT EXISTS (SELECT 1 FROM thread_runs WHERE thread = ?1 AND ephemeral)
               AND NOT EXISTS (SELECT 1 FROM thread_runs WHERE thread = ?1 AND status < 2)
               AND NOT coalesce((SELECT status = 2 FROM thread_runs
                                 WHERE thread = ?1 AND base IS NOT NULL
                                 ORDER BY base DESC, run DESC LIMIT 1), 0)",
            [row.thread],
        )?;
        let kept = over.then(|| i64::try_from(EPHEMERAL_KEPT_FOR.as_micros()).unwrap_or(i64::MAX));
        self.execute(
            "UPDATE threads SET updated = ?2, floor = ?3, keep_for = coalesce(?4, keep_for)
             WHERE thread = ?1",
            params![row.thread, decision.at, decision.seq, kept],
        )
        .map(drop)
    }

    pub(super) fn journal(
        &mut self,
        (thread, fence): (ThreadId, Fence),
        key: &str,
        value: Option<&str>,
    ) -> Result<Committed> {
        let Some(head) = self.head(thread)? else { return Ok(Committed::Fenced) };
        if !head.held || head.fence != signed(fence.0) {
            return Ok(Committed::Fenced);
        }
        let found: Option<bool> = self
            .connection
            .prepare_cached("SELECT value IS NOT NULL FROM effects WHERE thread = ?1 AND key = ?2")?
            .query_row(params![head.thread, key], |row| row.get(0))
            .optional()?;
        match (found, value) {
            (Some(_), None) => return Ok(Committed::Stale),
            (Some(true), Some(_)) => return Ok(Committed::Duplicate),
            (None, _) | (Some(false), Some(_)) => {}
        }
        self.execute(
            "INSERT INTO effects (thread, key, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (thread, key) DO UPDATE SET value = excluded.value",
            params![head.thread, key, value],
        )?;
        Ok(Committed::Applied { cancel: head.cancel, inbox: head.inbox })
    }
}

impl Decision {
    /// Nothing but an entry, a snapshot and events: what most steps are.
    fn is_plain(&self) -> bool {
        matches!(self.next, Next::Running)
            && self.runs.is_empty()
            && self.opened.is_empty()
            && self.closed.is_empty()
            && self.postponed.is_empty()
            && self.consumed.is_empty()
            && self.forgotten.is_empty()
            && self.audit.is_empty()
            && self.program.is_none()
    }
}
