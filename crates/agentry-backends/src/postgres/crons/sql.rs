//! One statement for each command.

pub(super) const CREATE: &str = r#"
INSERT INTO crons (tenant, id, assistant, thread, "user", schedule, timezone, payload, metadata, end_at, enabled,
  next, created, updated)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13)"#;

pub(super) const ONE: &str = r#"
SELECT id, tenant, assistant, thread, "user", schedule, timezone, payload, metadata, end_at, enabled, next, created,
  updated, revision
FROM crons WHERE tenant = $1 AND id = $2"#;

pub(super) const REPLACE: &str = r#"
UPDATE crons SET assistant = $3, thread = $4, "user" = $5, schedule = $6, timezone = $7, payload = $8,
  metadata = $9, end_at = $10, enabled = $11,
  held_until = CASE WHEN next IS NOT DISTINCT FROM $12 THEN held_until END, next = $12, updated = $13,
  revision = revision + 1
WHERE tenant = $1 AND id = $2 AND revision = $14
RETURNING id, tenant, assistant, thread, "user", schedule, timezone, payload, metadata, end_at, enabled, next,
  created, updated, revision"#;

pub(super) const AFTER: &str = r#"
SELECT id, tenant, assistant, thread, "user", schedule, timezone, payload, metadata, end_at, enabled, next, created,
  updated, revision
FROM crons
WHERE tenant = $1 AND id > $2 AND ($3::text IS NULL OR assistant = $3) AND ($4::text IS NULL OR thread = $4)
ORDER BY id LIMIT $5"#;

pub(super) const DELETE: &str = "DELETE FROM crons WHERE tenant = $1 AND id = $2 RETURNING 1";

pub(super) const FORGET_USER: &str = r#"
WITH forgotten AS (DELETE FROM crons WHERE tenant = $1 AND "user" = $2 RETURNING 1)
SELECT count(*) FROM forgotten"#;

/// Several processes ask at once; none waits for what another one takes.
pub(super) const DUE: &str = r#"
WITH ended AS (
  SELECT cron FROM crons WHERE next <= $1 AND end_at <= $1 FOR UPDATE SKIP LOCKED),
closed AS (
  UPDATE crons SET next = NULL, revision = revision + 1 FROM ended WHERE crons.cron = ended.cron),
free AS (
  SELECT cron FROM crons
  WHERE next <= $1 AND (held_until IS NULL OR held_until <= $1) AND (end_at IS NULL OR end_at > $1)
  ORDER BY next, tenant, id LIMIT $3 FOR UPDATE SKIP LOCKED)
UPDATE crons SET held_until = $2 FROM free WHERE crons.cron = free.cron
RETURNING id, tenant, assistant, thread, "user", schedule, timezone, payload, metadata, end_at, enabled, next,
  created, updated, revision"#;

pub(super) const ADVANCE: &str = "
UPDATE crons SET next = $4, held_until = NULL, revision = revision + 1
WHERE tenant = $1 AND id = $2 AND next = $3 RETURNING 1";

pub(super) const NEXT_DUE: &str =
    "SELECT min(greatest(next, held_until)) FROM crons WHERE next IS NOT NULL";
