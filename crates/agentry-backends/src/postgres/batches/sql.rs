//! One statement for each command. What is over of a batch is counted in the statement that makes it so, and always after its
//! items are locked.

pub(super) const CREATE: &str = r#"
WITH made AS (
  INSERT INTO batches (id, tenant, key_id, name, team, "user", terms, endpoint, input_file, metadata, created,
    expires, keep_until, finished, total)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) RETURNING batch)
INSERT INTO batch_items (batch, number, custom_id, url, body)
SELECT batch, place - 1, custom_id, url, body
FROM made, unnest($16::text[], $17::text[], $18::bytea[]) WITH ORDINALITY AS i (custom_id, url, body, place)"#;

pub(super) const BATCH: &str = r#"
SELECT id, tenant, key_id, name, team, "user", terms, endpoint, input_file, metadata, created, expires,
  keep_until, cancelled, finished, total, completed, failed, dropped
FROM batches WHERE tenant = $1 AND id = $2"#;

pub(super) const BATCHES: &str = r#"
SELECT id, tenant, key_id, name, team, "user", terms, endpoint, input_file, metadata, created, expires,
  keep_until, cancelled, finished, total, completed, failed, dropped
FROM batches
WHERE tenant = $1 AND ($2::text IS NULL OR batch < (SELECT batch FROM batches WHERE tenant = $1 AND id = $2))
ORDER BY batch DESC LIMIT $3"#;

pub(super) const RESULTS: &str = "
SELECT number, custom_id, status, answer, dropped FROM batch_items
WHERE batch = (SELECT batch FROM batches WHERE tenant = $1 AND id = $2) AND number >= $3 AND state = 2
ORDER BY number LIMIT $4";

pub(super) const CANCEL: &str = "
WITH known AS (SELECT batch, finished IS NULL AS open FROM batches WHERE tenant = $1 AND id = $2),
gone AS (
  UPDATE batch_items SET state = 2, holder = NULL, lease_until = NULL, body = '', dropped = 'cancelled'
  WHERE batch = (SELECT batch FROM known WHERE open) AND state < 2 AND (state = 0 OR lease_until <= $3)
  RETURNING 1),
counted AS (SELECT count(*) AS items FROM gone),
closed AS (
  UPDATE batches b SET cancelled = coalesce(b.cancelled, $3), dropped = b.dropped + items,
    finished = CASE WHEN b.completed + b.failed + b.dropped + items = b.total THEN $3 END
  FROM counted
  WHERE b.batch = (SELECT batch FROM known WHERE open) AND b.finished IS NULL)
SELECT count(*) FROM known";

pub(super) const WAITING: &str = "
SELECT id, tenant FROM (
  SELECT batch, id, tenant, row_number() OVER (PARTITION BY tenant ORDER BY batch) AS place
  FROM batches b
  WHERE finished IS NULL AND cancelled IS NULL AND expires > $1 AND EXISTS (
    SELECT 1 FROM batch_items i
    WHERE i.batch = b.batch AND state < 2 AND (state = 0 OR lease_until <= $1))) AS open
WHERE place <= $2 ORDER BY batch";

pub(super) const CLAIM: &str = r#"
WITH b AS (
  SELECT batch, tenant, key_id, name, team, "user", terms FROM batches
  WHERE id = $1 AND finished IS NULL AND cancelled IS NULL AND expires > $3),
next AS (
  SELECT i.batch, i.number FROM batch_items i JOIN b USING (batch)
  WHERE state < 2 AND (state = 0 OR lease_until <= $3)
  ORDER BY number LIMIT 1 FOR UPDATE OF i SKIP LOCKED)
UPDATE batch_items i SET state = 1, holder = $2, lease_until = $4, claim = i.claim + 1
FROM next, b
WHERE i.batch = next.batch AND i.number = next.number
RETURNING i.number, b.tenant, b.key_id, b.name, b.team, b."user", b.terms, i.claim, i.url, i.body, i.tries"#;

pub(super) const RENEW: &str =
    "UPDATE batch_items SET lease_until = $2 WHERE holder = $1 AND state = 1";

pub(super) const RELEASE: &str = "
WITH released AS (
  UPDATE batch_items SET state = 0, holder = NULL, lease_until = NULL
  WHERE holder = $1 AND state = 1 RETURNING 1)
SELECT count(*) FROM released";

pub(super) const FINISH: &str = "
WITH over AS (
  UPDATE batch_items SET state = 2, holder = NULL, lease_until = NULL, body = '', status = $4, answer = $5
  WHERE batch = (SELECT batch FROM batches WHERE id = $1) AND number = $2 AND claim = $3 AND state = 1
  RETURNING batch)
UPDATE batches b SET completed = b.completed + $6, failed = b.failed + 1 - $6,
  finished = CASE WHEN b.completed + b.failed + b.dropped + 1 = b.total THEN $7::bigint END
FROM over WHERE b.batch = over.batch RETURNING 1";

pub(super) const PUT_BACK: &str = "
UPDATE batch_items SET state = 0, holder = NULL, lease_until = NULL, tries = $4
WHERE batch = (SELECT batch FROM batches WHERE id = $1) AND number = $2 AND claim = $3 AND state = 1";

pub(super) const SWEEP: &str = "
WITH open AS (
  SELECT batch, CASE WHEN cancelled IS NULL THEN 'expired' ELSE 'cancelled' END AS why FROM batches
  WHERE finished IS NULL AND (cancelled IS NOT NULL OR expires <= $1)),
gone AS (
  UPDATE batch_items i SET state = 2, holder = NULL, lease_until = NULL, body = '', dropped = why
  FROM open
  WHERE i.batch = open.batch AND state < 2 AND (state = 0 OR lease_until <= $1) RETURNING i.batch),
counted AS (SELECT batch, count(*) AS items FROM gone GROUP BY batch),
closed AS (
  UPDATE batches b SET dropped = b.dropped + items,
    finished = CASE WHEN b.completed + b.failed + b.dropped + items = b.total THEN $1 END
  FROM counted WHERE b.batch = counted.batch)
SELECT count(*) FROM gone";

pub(super) const PUT_FILE: &str = r#"
INSERT INTO batch_files (id, tenant, "user", name, created, keep_until, content, bytes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"#;

pub(super) const FILE: &str = r#"
SELECT id, tenant, "user", name, coalesce(bytes, length(content)::bigint), created, keep_until FROM batch_files
WHERE tenant = $1 AND id = $2"#;

pub(super) const FILES: &str = r#"
SELECT id, tenant, "user", name, coalesce(bytes, length(content)::bigint), created, keep_until FROM batch_files
WHERE tenant = $1 AND ($2::text IS NULL OR file < (SELECT file FROM batch_files WHERE tenant = $1 AND id = $2))
ORDER BY file DESC LIMIT $3"#;

pub(super) const CONTENT: &str = "SELECT content FROM batch_files WHERE tenant = $1 AND id = $2";

pub(super) const DELETE_FILE: &str =
    "DELETE FROM batch_files WHERE tenant = $1 AND id = $2 RETURNING 1";

pub(super) const FORGET_EXPIRED: &str = "
WITH batches AS (DELETE FROM batches WHERE keep_until <= $1 RETURNING 1),
files AS (DELETE FROM batch_files WHERE keep_until <= $1 RETURNING 1)
SELECT (SELECT count(*) FROM batches) + (SELECT count(*) FROM files)";

pub(super) const FORGET_USER: &str = r#"
WITH batches AS (DELETE FROM batches WHERE tenant = $1 AND "user" = $2 RETURNING 1),
files AS (DELETE FROM batch_files WHERE tenant = $1 AND "user" = $2 RETURNING 1)
SELECT (SELECT count(*) FROM batches) + (SELECT count(*) FROM files)"#;
