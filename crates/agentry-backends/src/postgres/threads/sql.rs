//! The statements. What they mean is in `functions.sql`, and in the later steps that replace a function of it: steps are never edited.

pub(super) const COMMITS: &str = "
SELECT place, verdict, cancel, inbox
FROM commits($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15::text[]::jsonb[])";

pub(super) const JOURNALS: &str =
    "SELECT place, verdict, cancel, inbox FROM journals($1, $2, $3, $4)";

pub(super) const ACT: &str = "SELECT said::text FROM act($1::text[]::jsonb[])";

pub(super) const CLAIM: &str = "
SELECT 'yours', thread, fence FROM claim($1, $2, coalesce($3, moment()), $4, $5, $6, $7, $8)";

/// When the first in the line became ready; with nobody in it, the given moment.
pub(super) const OLDEST: &str = "SELECT least(min(since), $1) FROM ready";

pub(super) const TAKE: &str =
    "SELECT state, thread, fence FROM take($1, $2, coalesce($3, moment()), $4)";

pub(super) const RENEW: &str = "SELECT lease($1, coalesce($2, moment()), $3)";

pub(super) const RELEASE: &str = "SELECT give_back($1)";

pub(super) const SUCCEED: &str = "
SELECT give_back(w.worker) FROM (SELECT worker FROM workers ORDER BY worker) AS w
WHERE (w.worker = $1 OR starts_with(w.worker, $2)) AND NOT starts_with(w.worker, $3)";

pub(super) const MAIL: &str = "
SELECT t.id FROM threads t CROSS JOIN LATERAL (SELECT * FROM facts(t.thread, 0) OFFSET 0) AS f
WHERE t.worker = $1 AND t.news AND (f.fresh AND NOT f.running OR f.answered OR f.cancel OR f.unread)
ORDER BY t.thread";

pub(super) const NEXT_WAKE: &str = "SELECT wake_at FROM threads WHERE wake_at IS NOT NULL AND worker IS NULL ORDER BY wake_at LIMIT 1";

pub(super) const NUMBER: &str = "SELECT thread FROM threads WHERE id = $1";

pub(super) const THREADS: &str = "
SELECT t.thread, t.id, t.tenant, t.status, t.graph, t.version, t.metadata, t.created, t.wake_at, t.keep_for,
  CASE WHEN t.worker IS NULL THEN t.updated ELSE greatest(t.updated, e.at) END,
  CASE WHEN t.worker IS NULL THEN t.seq ELSE greatest(t.seq, e.seq) END
FROM threads t
LEFT JOIN LATERAL (
  SELECT e.at, e.seq FROM entries e WHERE t.worker IS NOT NULL AND e.thread = t.thread ORDER BY e.seq DESC LIMIT 1) AS e ON true
WHERE t.thread = ANY ($1)";

pub(super) const SNAPSHOTS: &str = "
SELECT t.thread, s.seq, s.holes, s.body, s.states
FROM unnest($1::bigint[]) AS t (thread)
CROSS JOIN LATERAL (
  SELECT * FROM snapshots s WHERE s.thread = t.thread ORDER BY s.seq DESC LIMIT 1) AS s";

/// With those that a newest snapshot makes unnecessary left out.
pub(super) const ENTRIES: &str = "
SELECT e.thread, e.seq, e.parent, e.at, e.run, e.checkpoints, e.holes, e.body, e.writes
FROM unnest($1::bigint[]) AS t (thread)
CROSS JOIN LATERAL (
  SELECT * FROM entries e WHERE e.thread = t.thread AND e.seq >= coalesce(
    (SELECT s.seq FROM snapshots s WHERE s.thread = t.thread ORDER BY s.seq DESC LIMIT 1), 0)
  ORDER BY e.seq) AS e";

pub(super) const JOURNAL: &str = "SELECT thread, key, value FROM effects WHERE thread = ANY ($1)";

pub(super) const INBOX: &str = "
SELECT thread, id, channel, payload, at FROM inbox
WHERE thread = ANY ($1) AND NOT consumed ORDER BY thread, number";

pub(super) const QUESTIONS: &str = "
SELECT q.thread, t.id, q.id, q.run, q.ns, q.node, q.question, q.schema, q.opened, q.deadline, q.on_timeout, q.escalations,
  q.answer
FROM questions q JOIN threads t ON t.thread = q.thread
WHERE q.thread = ANY ($1) AND q.closing IS NULL ORDER BY q.thread, q.number";

pub(super) const RUNS: &str = "
SELECT r.thread, t.id, r.id, r.tenant, r.key, r.graph, r.version, r.status, r.input, r.multitask, r.priority, r.metadata,
  r.created, r.updated, r.not_before, r.deadline, r.base, r.cancel, r.reason, r.ephemeral
FROM threads t CROSS JOIN LATERAL (
  SELECT * FROM runs r WHERE r.thread = t.thread AND r.status IN ('pending', 'running')
  UNION
  SELECT * FROM runs r WHERE r.id = last_begun(t.thread)) AS r
WHERE t.thread = ANY ($1) ORDER BY r.thread, r.number";

pub(super) const PIECES: &str =
    "SELECT thread, digest, value FROM pieces WHERE thread = $1 AND digest = ANY ($2)";

/// Of one thread, between two numbers.
pub(super) const STRETCH: &str = "
SELECT thread, seq, parent, at, run, checkpoints, holes, body, writes FROM entries
WHERE thread = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq";

pub(super) const SNAPSHOTS_OF: &str = "
SELECT thread, seq, holes, body, states FROM snapshots WHERE thread = $1 AND seq = ANY ($2)";

/// How entries hang together, and which of them have a snapshot.
pub(super) const TREE: &str = "
SELECT e.seq, e.parent, e.checkpoints IS NOT NULL, s.seq IS NOT NULL FROM entries e
LEFT JOIN snapshots s ON s.thread = e.thread AND s.seq = e.seq
WHERE e.thread = $1 ORDER BY e.seq";

pub(super) const FIND_MARK: &str =
    "SELECT seq FROM entries WHERE thread = $1 AND $2 = ANY (marks) ORDER BY seq LIMIT 1";

pub(super) const MARKED: &str = "
SELECT seq, run, at, checkpoints FROM entries
WHERE thread = $1 AND seq < $2 AND marks IS NOT NULL ORDER BY seq DESC LIMIT $3";

pub(super) const TOLD: &str = "
SELECT seq, run, events FROM entries
WHERE thread = $1 AND seq >= $2 AND events IS NOT NULL AND ($3::uuid IS NULL OR run = $3) ORDER BY seq LIMIT $4";

pub(super) const CREATE: &str = "
INSERT INTO threads (id, tenant, since, created, updated, keep_for, metadata, members)
VALUES ($1, $2, $3, $3, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING RETURNING 1";

pub(super) const LIST: &str = "
SELECT t.thread, t.id, t.tenant, t.status, t.graph, t.version, t.metadata, t.created, t.wake_at, t.keep_for,
  l.updated, l.seq
FROM threads t
CROSS JOIN LATERAL (
  SELECT CASE WHEN t.worker IS NULL THEN t.updated ELSE greatest(t.updated,
      (SELECT e.at FROM entries e WHERE e.thread = t.thread ORDER BY e.seq DESC LIMIT 1)) END AS updated,
    CASE WHEN t.worker IS NULL THEN t.seq ELSE greatest(t.seq,
      (SELECT e.seq FROM entries e WHERE e.thread = t.thread ORDER BY e.seq DESC LIMIT 1)) END AS seq) AS l
WHERE ($1::text IS NULL OR t.tenant = $1) AND ($2::text IS NULL OR t.status = $2) AND ($3::text IS NULL OR t.graph = $3)
  AND t.members @> $4 AND ($5::uuid[] IS NULL OR t.id = ANY ($5))
ORDER BY
  CASE WHEN $6 = 'created' AND $7 THEN t.created END DESC, CASE WHEN $6 = 'created' AND NOT $7 THEN t.created END,
  CASE WHEN $6 = 'updated' AND $7 THEN l.updated END DESC, CASE WHEN $6 = 'updated' AND NOT $7 THEN l.updated END,
  CASE WHEN $7 THEN t.id END DESC, CASE WHEN NOT $7 THEN t.id END
OFFSET $8 LIMIT $9";

pub(super) const COUNT: &str = "
SELECT count(*) FROM threads t
WHERE ($1::text IS NULL OR t.tenant = $1) AND ($2::text IS NULL OR t.status = $2) AND ($3::text IS NULL OR t.graph = $3)
  AND t.members @> $4 AND ($5::uuid[] IS NULL OR t.id = ANY ($5))";

pub(super) const METADATA: &str =
    "SELECT thread, metadata FROM threads WHERE id = $1 FOR NO KEY UPDATE";

pub(super) const DESCRIBE: &str =
    "UPDATE threads SET metadata = $2, members = $3, updated = $4 WHERE thread = $1";

pub(super) const COPY: &str = "SELECT copy_thread($1, $2::text::jsonb)";

pub(super) const DELETE: &str = "SELECT delete_thread($1)";

pub(super) const SWEEP: &str = "SELECT sweep($1, $2)";

pub(super) const RETIRE: &str = "SELECT retire($1, $2)";

pub(super) const DELETE_RUN: &str = "SELECT delete_run($1)";

pub(super) const PRUNE_ALL: &str = "SELECT prune_all($1)";

pub(super) const RUN: &str = "
SELECT r.thread, t.id, r.id, r.tenant, r.key, r.graph, r.version, r.status, r.input, r.multitask, r.priority, r.metadata,
  r.created, r.updated, r.not_before, r.deadline, r.base, r.cancel, r.reason, r.ephemeral
FROM runs r JOIN threads t ON t.thread = r.thread WHERE r.id = $1";

pub(super) const LIST_RUNS: &str = "
SELECT r.thread, t.id, r.id, r.tenant, r.key, r.graph, r.version, r.status, r.input, r.multitask, r.priority, r.metadata,
  r.created, r.updated, r.not_before, r.deadline, r.base, r.cancel, r.reason, r.ephemeral
FROM runs r JOIN threads t ON t.thread = r.thread
WHERE ($1::text IS NULL OR r.tenant = $1) AND ($2::uuid IS NULL OR t.id = $2) AND ($3::text IS NULL OR r.graph = $3)
  AND ($4::text IS NULL OR r.status = $4) AND r.members @> $5 AND ($6::uuid IS NULL OR r.id < $6)
ORDER BY r.id DESC OFFSET $7 LIMIT $8";

pub(super) const ASKED: &str = "
SELECT q.thread, t.id, q.id, q.run, q.ns, q.node, q.question, q.schema, q.opened, q.deadline, q.on_timeout, q.escalations,
  q.answer
FROM questions q JOIN threads t ON t.thread = q.thread
WHERE q.closing IS NULL AND q.answer IS NULL AND q.question IS NOT NULL AND ($1::uuid IS NULL OR t.id = $1)
ORDER BY q.opened, t.id, q.id LIMIT $2";

/// A thread that may be pruned, locked.
pub(super) const AT_REST: &str = "
SELECT thread FROM threads
WHERE id = $1 AND worker IS NULL AND status IN ('idle', 'interrupted', 'failed') FOR NO KEY UPDATE";

pub(super) const TO_COME: &str =
    "SELECT 1 FROM runs WHERE thread = $1 AND status = 'pending' LIMIT 1";

pub(super) const CUT: &str = "
INSERT INTO snapshots (thread, seq, needed, holes, body, states) VALUES ($1, $2, true, $3, $4, $5)
ON CONFLICT (thread, seq) DO UPDATE SET needed = true";

pub(super) const ADD_PIECE: &str =
    "INSERT INTO pieces (thread, digest, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

pub(super) const DROP_ENTRIES: &str = "
WITH gone AS (DELETE FROM entries WHERE thread = $1 AND seq <> ALL ($2) RETURNING 1) SELECT count(*) FROM gone";

pub(super) const DROP_SNAPSHOTS: &str =
    "DELETE FROM snapshots WHERE thread = $1 AND seq <> ALL ($2)";

pub(super) const MARK_AGAIN: &str =
    "UPDATE entries SET marks = $3::text::uuid[], checkpoints = $4 WHERE thread = $1 AND seq = $2";

pub(super) const HOLES: &str = "
SELECT holes FROM entries WHERE thread = $1 AND holes IS NOT NULL
UNION ALL SELECT holes FROM snapshots WHERE thread = $1 AND holes IS NOT NULL";

pub(super) const DROP_PIECES: &str = "DELETE FROM pieces WHERE thread = $1 AND digest <> ALL ($2)";
