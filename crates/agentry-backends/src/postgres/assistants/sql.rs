//! One statement for each command.

pub(super) const CREATE: &str = "
WITH made AS (
  INSERT INTO assistants (tenant, id, version, newest, created, updated)
  VALUES ($1, $2, 1, 1, $3, $3) ON CONFLICT (tenant, id) DO NOTHING RETURNING assistant)
INSERT INTO assistant_versions (assistant, version, graph, name, description, config, context, metadata, created)
SELECT assistant, 1, $4, $5, $6, $7, $8, $9, $3 FROM made RETURNING 1";

pub(super) const ADD_VERSION: &str = "
WITH moved AS (
  UPDATE assistants SET version = newest + 1, newest = newest + 1, updated = $3
  WHERE tenant = $1 AND id = $2 AND version = $10 RETURNING assistant, newest, created),
added AS (
  INSERT INTO assistant_versions (assistant, version, graph, name, description, config, context, metadata, created)
  SELECT assistant, newest, $4, $5, $6, $7, $8, $9, $3 FROM moved)
SELECT newest, created FROM moved";

pub(super) const SET_LATEST: &str = "
UPDATE assistants a SET version = v.version, updated = $4
FROM assistant_versions v
WHERE a.tenant = $1 AND a.id = $2 AND v.assistant = a.assistant AND v.version = $3
RETURNING a.id, v.version, graph, name, description, config, context, metadata, a.created, a.updated";

pub(super) const ONE: &str = "
SELECT a.id, v.version, graph, name, description, config, context, metadata, a.created, a.updated
FROM assistants a JOIN assistant_versions v ON v.assistant = a.assistant AND v.version = a.version
WHERE tenant = $1 AND id = $2";

pub(super) const AFTER: &str = "
SELECT a.id, v.version, graph, name, description, config, context, metadata, a.created, a.updated
FROM assistants a JOIN assistant_versions v ON v.assistant = a.assistant AND v.version = a.version
WHERE tenant = $1 AND id > $2 AND ($3::text IS NULL OR graph = $3)
ORDER BY id LIMIT $4";

pub(super) const VERSIONS: &str = "
SELECT a.id, v.version, graph, name, description, config, context, metadata, v.created, v.created
FROM assistants a JOIN assistant_versions v ON v.assistant = a.assistant
WHERE tenant = $1 AND id = $2 AND v.version < $3
ORDER BY v.version DESC LIMIT $4";

pub(super) const DELETE: &str = "DELETE FROM assistants WHERE tenant = $1 AND id = $2 RETURNING 1";
