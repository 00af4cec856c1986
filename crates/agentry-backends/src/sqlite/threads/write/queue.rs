//! Who may work on which thread: claims in turn, leases, and what happens when they are over.

use std::collections::HashSet;

use agentry_core::run::Fence;
use agentry_core::threads::{Claim, life};
use agentry_core::{ThreadId, Timestamp};
use rusqlite::{OptionalExtension as _, Result, params};

use super::super::codes::{FAILED, IDLE, INTERRUPTED, PRIORITIES};
use super::super::command::{Grip, Threaded};
use super::{Row, Work};

/// So many threads whose moment has come are put into the queue by one claim.
const WOKEN_MAX: i64 = 1_000;

/// A thread at the head of what its tenant has waiting.
struct Candidate {
    thread: i64,
    id: ThreadId,
    since: i64,
    fence: i64,
}

/// Of one claim: who asks, and what for.
struct Asked<'a> {
    claim: &'a Claim,
    programs: Vec<i64>,
    claimed: Vec<(ThreadId, Fence)>,
    /// Who was served, in order.
    served: Vec<String>,
}

impl Asked<'_> {
    fn is_full(&self) -> bool {
        self.claimed.len() >= self.claim.threads_max
    }
}

impl Work<'_> {
    pub(super) fn claim(&mut self, claim: &Claim) -> Result<Vec<(ThreadId, Fence)>> {
        self.end_leases(claim)?;
        self.wake_due(claim.now)?;
        let mut programs = Vec::new();
        for program in &claim.programs {
            programs.extend(self.desk.find_program(self.connection, program)?);
        }
        programs.sort_unstable();
        programs.dedup();
        let mut asked = Asked { claim, programs, claimed: Vec::new(), served: Vec::new() };
        for priority in PRIORITIES {
            self.claim_in_turn(&mut asked, priority)?;
        }
        for tenant in &asked.served {
            let turn = self.desk.queues(self.connection)?.serve(tenant);
            self.execute(
                "INSERT INTO served (tenant, turn) VALUES (?1, ?2)
                 ON CONFLICT (tenant) DO UPDATE SET turn = excluded.turn",
                params![tenant, turn],
            )?;
        }
        if !asked.claimed.is_empty() {
            self.renew(&claim.worker, claim.lease_until)?;
        }
        Ok(asked.claimed)
    }

    /// One thread of each tenant, then one more of those that have more, and so on.
    fn claim_in_turn(&mut self, asked: &mut Asked<'_>, priority: i64) -> Result<()> {
        let mut round = Vec::new();
        let mut place: Option<(i64, i64, String)> = None;
        // One that waits for several programs has several places.
        let mut seen = HashSet::new();
        while !asked.is_full() {
            let queues = self.desk.queues(self.connection)?;
            let Some(next) = queues.next(&asked.programs, priority, place.as_ref()) else { break };
            if seen.insert(next.2.clone())
                && let Some(candidate) = self.candidate(asked, priority, &next.2)?
            {
                self.hand_out(asked, &candidate)?;
                asked.served.push(next.2.clone());
                round.push((next.0, next.2.clone()));
            }
            place = Some(next);
        }
        while !asked.is_full() && !round.is_empty() {
            let mut candidates = Vec::new();
            for (turn, tenant) in round {
                if let Some(candidate) = self.candidate(asked, priority, &tenant)? {
                    candidates.push((turn, tenant, candidate));
                }
            }
            candidates.sort_by_key(|(turn, _, it)| (*turn, it.since, it.id));
            round = Vec::new();
            for (turn, tenant, candidate) in candidates {
                if asked.is_full() {
                    break;
                }
                self.hand_out(asked, &candidate)?;
                asked.served.push(tenant.clone());
                round.push((turn, tenant));
            }
        }
        Ok(())
    }

    /// What the tenant has waited with for longest. Where it turns out to have nothing, it is no longer asked.
    fn candidate(
        &mut self,
        asked: &Asked<'_>,
        priority: i64,
        tenant: &str,
    ) -> Result<Option<Candidate>> {
        let mut best: Option<Candidate> = None;
        for program in &asked.programs {
            let mut any = false;
            let mut find = self.connection.prepare_cached(
                "SELECT thread, id, since, fence, worker FROM threads
                 WHERE queued = 1 AND program = ?1 AND priority = ?2 AND tenant = ?3
                 ORDER BY since, thread",
            )?;
            let mut rows = find.query(params![program, priority, tenant])?;
            while let Some(row) = rows.next()? {
                any = true;
                let worker: Option<&str> = row.get_ref(4)?.as_str_or_null()?;
                if let Some(worker) = worker
                    && (worker == asked.claim.worker || self.has_lease(worker)?)
                {
                    continue;
                }
                let found = Candidate {
                    thread: row.get(0)?,
                    id: ThreadId::from_bytes(row.get(1)?),
                    since: row.get(2)?,
                    fence: row.get(3)?,
                };
                let earlier = best
                    .as_ref()
                    .is_none_or(|best| (found.since, found.id) < (best.since, best.id));
                if earlier {
                    best = Some(found);
                }
                break;
            }
            if !any {
                self.desk.queues(self.connection)?.leave((*program, priority), tenant);
            }
        }
        Ok(best)
    }

    fn hand_out(&mut self, asked: &mut Asked<'_>, candidate: &Candidate) -> Result<()> {
        let Candidate { thread, id, since: _, fence } = candidate;
        self.execute(
            "UPDATE threads SET fence = ?2, worker = ?3, queued = 0, status = 1, wake_at = NULL
             WHERE thread = ?1",
            params![thread, fence + 1, asked.claim.worker],
        )?;
        self.desk.drop_head(*id);
        asked.claimed.push((*id, Fence(u64::try_from(fence + 1).unwrap_or(0))));
        Ok(())
    }

    /// Threads of workers whose lease is over go back into the queue. They stay theirs until somebody takes them.
    fn end_leases(&mut self, claim: &Claim) -> Result<()> {
        let mut over = self
            .connection
            .prepare_cached("SELECT worker FROM leases WHERE until <= ?1 AND worker <> ?2")?;
        let over =
            over.query_map(params![claim.now.as_micros(), claim.worker], |row| row.get(0))?;
        for worker in over.collect::<Result<Vec<String>>>()? {
            self.execute("DELETE FROM leases WHERE worker = ?1", [&worker])?;
            self.queue_up(
                "UPDATE threads SET queued = 1 WHERE worker = ?1 AND status = 1 AND queued = 0
                 RETURNING program, priority, tenant, since",
                [&worker],
            )?;
        }
        Ok(())
    }

    /// `update` answers with program, priority, tenant and since of what it has put into the queue.
    fn queue_up(&mut self, update: &str, values: impl rusqlite::Params) -> Result<()> {
        let mut queued = self.connection.prepare_cached(update)?;
        let mut queued = queued.query(values)?;
        while let Some(row) = queued.next()? {
            let Some(program) = row.get(0)? else { continue };
            let queues = self.desk.queues(self.connection)?;
            queues.join((program, row.get(1)?), row.get_ref(2)?.as_str()?, row.get(3)?);
        }
        Ok(())
    }

    /// They wait since their moment came. What they were waiting for is forgotten only when somebody takes them.
    fn wake_due(&mut self, now: Timestamp) -> Result<()> {
        self.queue_up(
            "UPDATE threads SET queued = 1, since = wake_at WHERE thread IN (
               SELECT thread FROM threads
               WHERE queued = 0 AND wake_at IS NOT NULL AND wake_at <= ?1 AND status <> 1
                 AND (worker IS NULL OR worker NOT IN (SELECT worker FROM leases))
               ORDER BY wake_at LIMIT ?2)
             RETURNING program, priority, tenant, since",
            [now.as_micros(), WOKEN_MAX],
        )
    }

    pub(super) fn take(&mut self, thread: ThreadId, claim: &Claim) -> Result<Grip> {
        let Some(mut row) = self.row(thread)? else { return Ok(Grip::NoThread) };
        let rests = [IDLE, INTERRUPTED, FAILED].contains(&row.status);
        if !rests || self.is_held(&row, claim.now)? {
            return Ok(Grip::Busy);
        }
        row.fence += 1;
        row.worker = Some(claim.worker.clone());
        row.queued = false;
        self.save(&row)?;
        self.renew(&claim.worker, claim.lease_until)?;
        self.desk.drop_head(thread);
        Ok(Grip::Yours(Fence(u64::try_from(row.fence).unwrap_or(0))))
    }

    fn is_held(&self, row: &Row, now: Timestamp) -> Result<bool> {
        let Some(worker) = &row.worker else { return Ok(false) };
        let until: Option<i64> = self
            .connection
            .prepare_cached("SELECT until FROM leases WHERE worker = ?1")?
            .query_row([worker], |row| row.get(0))
            .optional()?;
        Ok(until.is_some_and(|until| until > now.as_micros()))
    }

    pub(super) fn renew(&self, worker: &str, until: Timestamp) -> Result<Threaded> {
        self.execute(
            "INSERT INTO leases (worker, until) VALUES (?1, ?2)
             ON CONFLICT (worker) DO UPDATE SET until = excluded.until",
            params![worker, until.as_micros()],
        )?;
        Ok(Threaded::Stored)
    }

    pub(super) fn succeed(&mut self, name: &str, worker: &str) -> Result<Threaded> {
        let former: Vec<String> = {
            let mut found = self.connection.prepare_cached(
                "SELECT worker FROM (SELECT worker FROM threads WHERE worker IS NOT NULL
                                     UNION SELECT worker FROM leases)
                 WHERE (worker = ?1 OR substr(worker, 1, length(?2)) = ?2)
                   AND substr(worker, 1, length(?3)) <> ?3",
            )?;
            let found = found.query_map([name, &life(name, ""), worker], |row| row.get(0))?;
            found.collect::<Result<_>>()?
        };
        for worker in former {
            self.release(&worker)?;
        }
        Ok(Threaded::Stored)
    }

    pub(super) fn release(&mut self, worker: &str) -> Result<Threaded> {
        self.queue_up(
            "UPDATE threads SET worker = NULL, queued = (status = 1) OR queued WHERE worker = ?1
             RETURNING CASE WHEN queued THEN program END, priority, tenant, since",
            [worker],
        )?;
        self.execute("DELETE FROM leases WHERE worker = ?1", [worker])?;
        self.desk.drop_heads();
        Ok(Threaded::Stored)
    }
}
