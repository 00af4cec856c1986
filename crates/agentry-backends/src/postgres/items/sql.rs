//! One statement for each command.

/// What is deleted is not put, so both see the rows that they should. Rows are locked in one order.
pub(super) const WRITE: &str = "
WITH gone AS (
  DELETE FROM items USING unnest($3::text[], $4::text[]) AS g (namespace, key)
  WHERE items.tenant = $1 AND items.namespace = g.namespace AND items.key = g.key)
INSERT INTO items AS i (tenant, namespace, key, value, fields, created, updated, ttl, expires)
SELECT $1, p.namespace, p.key, p.value, p.fields, $2, $2, p.ttl, p.expires
FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bigint[])
  WITH ORDINALITY AS p (namespace, key, value, fields, ttl, expires, place)
ORDER BY p.place
ON CONFLICT (tenant, namespace, key) DO UPDATE SET
  value = excluded.value, fields = excluded.fields, updated = excluded.updated, ttl = excluded.ttl,
  created = CASE WHEN i.expires <= $2 THEN $2 ELSE i.created END, expires = excluded.expires";

pub(super) const ITEM: &str = "
SELECT namespace, key, value, fields, created, updated, ttl, expires FROM items
WHERE tenant = $1 AND namespace = $2 AND key = $3 AND (expires IS NULL OR expires > $4)";

pub(super) const PLAIN: &str = "
SELECT namespace, key, value, fields, created, updated, ttl, expires FROM items
WHERE tenant = $1 AND namespace >= $2 AND namespace < $3 AND (expires IS NULL OR expires > $4)
ORDER BY updated DESC, namespace, key LIMIT $6 OFFSET $5";

pub(super) const AFTER: &str = "
SELECT namespace, key, value, fields, created, updated, ttl, expires FROM items
WHERE tenant = $1 AND namespace < $2 AND (expires IS NULL OR expires > $3) AND (namespace, key) > ($4, $5)
ORDER BY namespace, key LIMIT $6";

pub(super) const NAMESPACES: &str = "
SELECT DISTINCT namespace FROM items
WHERE tenant = $1 AND namespace >= $2 AND namespace < $3 AND (expires IS NULL OR expires > $4)
  AND namespace > $5
ORDER BY namespace LIMIT $6";

pub(super) const REFRESH: &str = "
WITH refreshed AS (
  UPDATE items SET expires = greatest(expires, $4 + ttl)
  FROM unnest($2::text[], $3::text[]) AS r (namespace, key)
  WHERE items.tenant = $1 AND items.namespace = r.namespace AND items.key = r.key AND expires > $4
  RETURNING 1)
SELECT count(*) FROM refreshed";

pub(super) const SWEEP: &str = "
WITH swept AS (
  DELETE FROM items WHERE expires <= $1 AND item IN (
    SELECT item FROM items WHERE expires <= $1 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED)
  RETURNING 1)
SELECT count(*) FROM swept";
