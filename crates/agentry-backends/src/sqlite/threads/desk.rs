//! What the one writer remembers between commands, so that it need not be asked for again. All of it can be read from the
//! tables, and is after a transaction was rolled back.

use std::collections::{BTreeSet, HashMap};

use agentry_core::thread::Pinned;
use agentry_core::{RunId, ThreadId};
use rusqlite::{Connection, OptionalExtension as _, Result, params};

/// A claimed thread that commits one step after the other needs its row only once.
const HEADS_MAX: usize = 16 << 10;

/// Of a thread: what a commit that changes nothing but its entries must know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub thread: i64,
    pub fence: i64,
    pub held: bool,
    /// The number of the last entry, and whether that one is kept.
    pub seq: i64,
    pub kept: bool,
    pub cancel: bool,
    pub inbox: bool,
    /// Who is known to have entries in this thread.
    pub author: Option<RunId>,
}

#[derive(Debug, Default)]
pub(in super::super) struct Desk {
    heads: HashMap<ThreadId, Head>,
    programs: HashMap<Pinned, i64>,
    pub(super) queues: Option<Queues>,
    /// There are leftovers of deleted threads.
    pub(in super::super) litter: bool,
}

impl Desk {
    /// A process that has ended may have left something to clear up.
    pub(in super::super) fn new() -> Self {
        Self { litter: true, ..Self::default() }
    }

    /// What is remembered may not be stored.
    pub(in super::super) fn forget(&mut self) {
        let Self { heads, programs, queues, litter } = self;
        heads.clear();
        programs.clear();
        *queues = None;
        *litter = true;
    }

    pub(super) fn head(&self, thread: ThreadId) -> Option<Head> {
        self.heads.get(&thread).copied()
    }

    pub(super) fn remember(&mut self, thread: ThreadId, head: Head) {
        if self.heads.len() >= HEADS_MAX {
            self.heads.clear();
        }
        self.heads.insert(thread, head);
    }

    pub(super) fn drop_head(&mut self, thread: ThreadId) {
        self.heads.remove(&thread);
    }

    pub(super) fn drop_heads(&mut self) {
        self.heads.clear();
    }

    pub(super) fn find_program(
        &mut self,
        connection: &Connection,
        program: &Pinned,
    ) -> Result<Option<i64>> {
        if let Some(number) = self.programs.get(program) {
            return Ok(Some(*number));
        }
        let number = connection
            .prepare_cached("SELECT program FROM programs WHERE graph = ?1 AND version = ?2")?
            .query_row(params![program.graph, program.version], |row| row.get(0))
            .optional()?;
        if let Some(number) = number {
            self.programs.insert(program.clone(), number);
        }
        Ok(number)
    }

    pub(super) fn program(&mut self, connection: &Connection, program: &Pinned) -> Result<i64> {
        if let Some(number) = self.find_program(connection, program)? {
            return Ok(number);
        }
        connection
            .prepare_cached("INSERT INTO programs (graph, version) VALUES (?1, ?2)")?
            .execute(params![program.graph, program.version])?;
        let number = connection.last_insert_rowid();
        self.programs.insert(program.clone(), number);
        Ok(number)
    }

    pub(super) fn queues(&mut self, connection: &Connection) -> Result<&mut Queues> {
        let queues = match self.queues.take() {
            Some(queues) => queues,
            None => Queues::load(connection)?,
        };
        Ok(self.queues.insert(queues))
    }
}

/// Which threads wait together: program and priority.
type Kind = (i64, i64);

/// Which tenants may have threads in which queue, and whose turn it is. Whoever turns out to have none is taken out then.
#[derive(Debug, Default)]
pub(super) struct Queues {
    served: HashMap<String, i64>,
    last: i64,
    /// In the order of their turns. Those that were never served come first, and whoever waits longest first of them.
    waiting: HashMap<Kind, BTreeSet<(i64, i64, String)>>,
    /// When the thread that has been in a queue for longest became ready, as far as it is known.
    since: HashMap<(Kind, String), i64>,
}

impl Queues {
    fn load(connection: &Connection) -> Result<Self> {
        let mut queues = Self::default();
        let mut served = connection.prepare_cached("SELECT tenant, turn FROM served")?;
        let served = served.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        queues.served = served.collect::<Result<_>>()?;
        queues.last = queues.served.values().copied().max().unwrap_or(0);
        let mut waiting = connection.prepare_cached(
            "SELECT program, priority, tenant, min(since) FROM threads WHERE queued = 1
             GROUP BY program, priority, tenant",
        )?;
        let mut waiting = waiting.query([])?;
        while let Some(row) = waiting.next()? {
            // Nobody can take what has never run on anything.
            let Some(program) = row.get(0)? else { continue };
            queues.join((program, row.get(1)?), row.get_ref(2)?.as_str()?, row.get(3)?);
        }
        Ok(queues)
    }

    fn turn(&self, tenant: &str) -> i64 {
        self.served.get(tenant).copied().unwrap_or(0)
    }

    /// A thread of the tenant is in the queue since then.
    pub(super) fn join(&mut self, kind: Kind, tenant: &str, since: i64) {
        let turn = self.turn(tenant);
        let known = self.since.get(&(kind, tenant.to_owned())).copied();
        if known.is_some_and(|known| known <= since) {
            return;
        }
        let queue = self.waiting.entry(kind).or_default();
        if let Some(known) = known {
            queue.remove(&(turn, known, tenant.to_owned()));
        }
        queue.insert((turn, since, tenant.to_owned()));
        self.since.insert((kind, tenant.to_owned()), since);
    }

    /// The tenant has nothing in this queue.
    pub(super) fn leave(&mut self, kind: Kind, tenant: &str) {
        let Some(since) = self.since.remove(&(kind, tenant.to_owned())) else { return };
        let turn = self.turn(tenant);
        if let Some(queue) = self.waiting.get_mut(&kind) {
            queue.remove(&(turn, since, tenant.to_owned()));
            if queue.is_empty() {
                self.waiting.remove(&kind);
            }
        }
    }

    /// Whose turn it is among those who wait for one of `programs`, later than `after`.
    pub(super) fn next(
        &self,
        programs: &[i64],
        priority: i64,
        after: Option<&(i64, i64, String)>,
    ) -> Option<(i64, i64, String)> {
        let first = |program: &i64| {
            let queue = self.waiting.get(&(*program, priority))?;
            match after {
                None => queue.first(),
                Some(after) => {
                    use std::ops::Bound::{Excluded, Unbounded};
                    queue.range((Excluded(after), Unbounded)).next()
                }
            }
        };
        programs.iter().filter_map(first).min().cloned()
    }

    /// The tenant has had its turn; the number of it is its new place.
    pub(super) fn serve(&mut self, tenant: &str) -> i64 {
        let old = self.turn(tenant);
        self.last += 1;
        for (kind, queue) in &mut self.waiting {
            let Some(since) = self.since.get(&(*kind, tenant.to_owned())) else { continue };
            if queue.remove(&(old, *since, tenant.to_owned())) {
                queue.insert((self.last, *since, tenant.to_owned()));
            }
        }
        self.served.insert(tenant.to_owned(), self.last);
        self.last
    }
}
