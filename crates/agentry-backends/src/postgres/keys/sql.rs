//! One statement for each change. `$1` to `$5` are the [`Links`](super::super::audit::Links): nothing happens unless the
//! audit log still ends where it ended when they were made.

/// Answers whether the log was as expected, and how many keys were made.
pub(super) const CREATE: &str = r#"
WITH head AS (SELECT 1 FROM audit_head WHERE number = $1 FOR UPDATE),
changed AS (
  INSERT INTO keys (id, digest, hint, tenant, name, team, "user", terms, created, expires)
  SELECT $6::text, $7::bytea, $8::text, $9::text, $10::text, $11::text, $12::text, $13::text,
         $14::bigint, $15::bigint
  WHERE EXISTS (SELECT FROM head) AND NOT EXISTS (
    SELECT FROM keys
    WHERE tenant = $9 AND name = $10 AND revoked IS NULL AND replaced_by IS NULL)
  RETURNING 1),
moved AS (
  UPDATE audit_head SET number = $2, digest = $3 WHERE EXISTS (SELECT FROM changed)),
logged AS (
  INSERT INTO audit (number, entry, digest)
  SELECT $1 + e.place, e.entry, e.digest
  FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS e (entry, digest, place)
  WHERE EXISTS (SELECT FROM changed)),
counted AS (
  UPDATE key_changes SET version = version + 1 WHERE EXISTS (SELECT FROM changed))
SELECT (SELECT count(*) FROM head), (SELECT count(*) FROM changed)"#;

/// Answers the same, and whether there is such a key.
pub(super) const REVOKE: &str = "
WITH head AS (SELECT 1 FROM audit_head WHERE number = $1 FOR UPDATE),
changed AS (
  UPDATE keys SET revoked = $8
  WHERE EXISTS (SELECT FROM head) AND tenant = $6 AND id = $7 AND revoked IS NULL
  RETURNING 1),
moved AS (
  UPDATE audit_head SET number = $2, digest = $3 WHERE EXISTS (SELECT FROM changed)),
logged AS (
  INSERT INTO audit (number, entry, digest)
  SELECT $1 + e.place, e.entry, e.digest
  FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS e (entry, digest, place)
  WHERE EXISTS (SELECT FROM changed)),
counted AS (
  UPDATE key_changes SET version = version + 1 WHERE EXISTS (SELECT FROM changed))
SELECT (SELECT count(*) FROM head), (SELECT count(*) FROM changed),
       EXISTS (SELECT FROM keys WHERE tenant = $6 AND id = $7)";

/// The new key takes its tenant and name from what it was made with.
pub(super) const ROTATE: &str = r#"
WITH head AS (SELECT 1 FROM audit_head WHERE number = $1 FOR UPDATE),
replaced AS (
  UPDATE keys SET replaced_by = $6, expires = least(expires, $17::bigint)
  WHERE EXISTS (SELECT FROM head) AND tenant = $9 AND id = $16
    AND revoked IS NULL AND replaced_by IS NULL
  RETURNING 1),
changed AS (
  INSERT INTO keys (id, digest, hint, tenant, name, team, "user", terms, created, expires)
  SELECT $6::text, $7::bytea, $8::text, $9::text, $10::text, $11::text, $12::text, $13::text,
         $14::bigint, $15::bigint
  FROM replaced
  RETURNING 1),
moved AS (
  UPDATE audit_head SET number = $2, digest = $3 WHERE EXISTS (SELECT FROM changed)),
logged AS (
  INSERT INTO audit (number, entry, digest)
  SELECT $1 + e.place, e.entry, e.digest
  FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS e (entry, digest, place)
  WHERE EXISTS (SELECT FROM changed)),
counted AS (
  UPDATE key_changes SET version = version + 1 WHERE EXISTS (SELECT FROM changed))
SELECT (SELECT count(*) FROM head), (SELECT count(*) FROM changed),
       EXISTS (SELECT FROM keys WHERE tenant = $9 AND id = $16)"#;

/// To have nothing to forget is to be done, too.
pub(super) const FORGET_USER: &str = r#"
WITH head AS (SELECT 1 FROM audit_head WHERE number = $1 FOR UPDATE),
changed AS (
  UPDATE keys SET "user" = NULL, terms = (terms::jsonb - 'metadata')::text,
         revoked = coalesce(revoked, $8)
  WHERE EXISTS (SELECT FROM head) AND tenant = $6 AND "user" = $7
  RETURNING 1),
moved AS (
  UPDATE audit_head SET number = $2, digest = $3 WHERE EXISTS (SELECT FROM head)),
logged AS (
  INSERT INTO audit (number, entry, digest)
  SELECT $1 + e.place, e.entry, e.digest
  FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS e (entry, digest, place)
  WHERE EXISTS (SELECT FROM head)),
counted AS (
  UPDATE key_changes SET version = version + 1 WHERE EXISTS (SELECT FROM head))
SELECT (SELECT count(*) FROM head), (SELECT count(*) FROM changed)"#;

/// The version first: what is changed in between is then seen twice, not never.
pub(super) const VERSION: &str = "SELECT version FROM key_changes";

pub(super) const KEYS: &str = r#"
SELECT id, digest, hint, tenant, name, team, "user", terms, created, expires, revoked,
       replaced_by, used
FROM keys ORDER BY key"#;

pub(super) const USED: &str = "
UPDATE keys SET used = greatest(used, uses.at)
FROM unnest($1::text[], $2::bigint[]) AS uses (id, at) WHERE keys.id = uses.id";
